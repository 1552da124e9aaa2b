import Model
import Protos
import SwiftProtobuf
import Testing
import Wire

@testable import API

/// The client against the server over a Unix socket.
@Suite struct CallTests {
    @Test func `makes, shows, lists and removes a network`() async throws {
        try await RunningServer.with { running in
            try await running.client { client in
                let made = try await client.createVNet(
                    .with {
                        $0.name = "lan"
                        $0.subnets = ["10.1.0.0/16", "fd00:1::/64"]
                        $0.isolation = .none
                        $0.defaultVerdict = .allow
                        $0.mtu = 1400
                        $0.labels = ["tier": "front"]
                        $0.nat = true
                        $0.dns = .with {
                            $0.refusal = .refused
                            $0.upstreams = ["192.0.2.53", "[2001:db8::53]:5353"]
                        }
                    }
                ).vnet
                #expect(made.subnets == ["10.1.0.0/16", "fd00:1::/64"])
                #expect(made.gateways == ["10.1.0.1", "fd00:1::1"])
                #expect(made.isolation == .none)
                #expect(made.defaultVerdict == .allow)
                #expect(made.mtu == 1400)
                #expect(made.labels == ["tier": "front"])
                #expect(made.nat && made.hasDns && made.dns.refusal == .refused)
                #expect(made.dns.upstreams == ["192.0.2.53", "[2001:db8::53]:5353"])
                #expect(made.bridge.hasPrefix("fb"))
                #expect(try await client.getVNet(.with { $0.name = "lan" }).vnet == made)
                #expect(try await client.allVNets() == [made])
                let bridge = try await client.setupBridge(.with { $0.vnet = "lan" })
                #expect(bridge.addresses == ["10.1.0.1/16", "fd00:1::1/64"])
                #expect(bridge.bridge == made.bridge)
                _ = try await client.deleteVNet(
                    .with {
                        $0.name = "lan"
                        $0.force = true
                    })
                #expect(await running.fabric.lastForce == true)
                #expect(try await client.allVNets().isEmpty)
            }
        }
    }

    @Test func `assigns and releases an endpoint`() async throws {
        try await RunningServer.with { running in
            try await running.client { client in
                _ = try await client.createVNet(.with { $0.name = "lan" })
                let endpoint = try await client.assignEndpoint(
                    .with {
                        $0.vnet = "lan"
                        $0.containerID = "c1"
                        $0.pid = 77
                        $0.name = "web"
                        $0.addresses = ["10.9.0.5"]
                        $0.mac = "02:00:00:00:00:09"
                        $0.aliases = ["front", "www"]
                        $0.publish = ["8080:80", "[2001:db8::1]:53:5353/udp"]
                    }
                ).endpoint
                let request = await running.fabric.lastRequest
                #expect(request?.namespace == .pid(77))
                #expect(
                    request?.published.map(\.description) == [
                        "8080:80/tcp", "[2001:db8::1]:53:5353/udp",
                    ])
                let ports = try await client.publishPorts(
                    .with {
                        $0.name = "web"
                        $0.ports = ["192.0.2.1:8000-8001:80-81"]
                    }
                ).endpoint.published
                #expect(ports.map(\.hostPort) == [8000, 8001] && ports.map(\.endpointPort) == [80, 81])
                #expect(ports.allSatisfy { $0.address == "192.0.2.1" && $0.protocol == .tcp })
                #expect(request?.addresses == [try IPAddress("10.9.0.5")])
                #expect(endpoint.name == "web")
                #expect(endpoint.vnet == "lan")
                #expect(endpoint.mac == "02:00:00:00:00:09")
                #expect(endpoint.aliases == ["front", "www"])
                #expect(endpoint.addresses.map(\.gateway) == ["10.9.0.1", "fd00:9::1"])
                #expect(endpoint.addresses.map(\.prefixLength) == [24, 64])
                #expect(endpoint.hostInterfaceName.utf8.count <= 15)
                var inspected = try await client.getEndpoint(.with { $0.name = "web" }).endpoint
                #expect(inspected.limits.limits.egress.bandwidthKbit == 20_000)
                #expect(inspected.limits.rules.map(\.rule) == ["rule 2 of ingress in policy p"])
                inspected.clearLimits()
                #expect(inspected == endpoint)
                let released = try await client.releaseEndpoint(.with { $0.containerID = "c1" }).released
                #expect(released == [endpoint])
                #expect(try await client.releaseEndpoint(.with { $0.containerID = "c1" }).released.isEmpty)
            }
        }
    }

    @Test func `lists more endpoints than fit a page`() async throws {
        try await RunningServer.with { running in
            try await running.client { client in
                _ = try await client.createVNet(.with { $0.name = "lan" })
                for number in 0..<25 {
                    _ = try await client.assignEndpoint(
                        .with {
                            $0.vnet = "lan"
                            $0.containerID = "c\(number)"
                            $0.netnsPath = "/run/netns/x"
                        })
                }
                let page = try await client.listEndpoints(.with { $0.pageSize = 10 })
                #expect(page.endpoints.count == 10)
                let rest = try await client.listEndpoints(
                    .with {
                        $0.pageSize = 15
                        $0.pageToken = page.nextPageToken
                    })
                #expect(rest.endpoints.count == 15)
                #expect(rest.nextPageToken.isEmpty)
                #expect(Set((page.endpoints + rest.endpoints).map(\.containerID)).count == 25)
                #expect(try await client.allEndpoints(vnet: "lan").count == 25)
                #expect(try await client.allStatistics().count == 25)
            }
        }
    }

    @Test func `applies a document and explains what it decides`() async throws {
        try await RunningServer.with { running in
            try await running.client { client in
                _ = try await client.createVNet(.with { $0.name = "lan" })
                for name in ["web", "db"] {
                    _ = try await client.assignEndpoint(
                        .with {
                            $0.vnet = "lan"
                            $0.containerID = name
                            $0.name = name
                            $0.pid = 1
                        })
                }
                let question = Forge_Network_V1_ExplainRequest.with {
                    $0.from = "web"
                    $0.to = "db"
                    $0.protocol = .tcp
                    $0.port = 5432
                }
                let denied = try await client.explain(question)
                #expect(denied.verdict == .deny)
                #expect(denied.reasons.map(\.code) == ["default-deny"])
                #expect(denied.from.endpoint == "lan/web")
                let applied = try await client.applyFirewall(
                    .with { $0.policies = [Self.open("web"), Self.open("db")] }
                ).applied
                #expect(applied.map(\.change) == [.created, .created])
                let allowed = try await client.explain(question)
                #expect(allowed.verdict == .allow)
                #expect(allowed.reasons.map(\.code) == ["allow-rule", "allow-rule"])
                #expect(allowed.reasons.map(\.policy) == ["web", "db"])
                #expect(try await client.allPolicies().map(\.name) == ["db", "web"])
                _ = try await client.deletePolicy(.with { $0.name = "db" })
                #expect(try await client.explain(question).verdict == .deny)
            }
        }
    }

    @Test func `tells each problem of a document with its line`() async throws {
        try await RunningServer.with { running in
            try await running.client { client in
                let error = await #expect(throws: ForgeError.self) {
                    try await client.applyFirewall(
                        .with {
                            $0.document = "policy: web\nselect: {}\nfoo: 1\n"
                            $0.documentName = "web.yaml"
                        })
                }
                #expect(error?.code == .invalidArgument)
                #expect(error?.message.contains("web.yaml:3") == true)
            }
        }
    }

    @Test func `gives statistics and status with every zero`() async throws {
        try await RunningServer.with { running in
            try await running.client { client in
                _ = try await client.createVNet(.with { $0.name = "lan" })
                _ = try await client.assignEndpoint(
                    .with {
                        $0.vnet = "lan"
                        $0.containerID = "web"
                        $0.name = "web"
                        $0.pid = 1
                    })
                let statistics = try await client.allStatistics(["web"])
                #expect(statistics.first?.deniedPackets == 3)
                #expect(statistics.first?.denials.first?.reason.code == "rate-limit")
                #expect(try statistics.first?.jsonString().contains("\"rxDropped\":\"0\"") == true)
                let status = try await client.getStatus(.init())
                #expect(status.endpointCount == 1)
                #expect(status.mode == .rootless)
                #expect(status.roles.first?.uptimeMilliseconds == 1500)
                #expect(status.hasPolicyCount)
            }
        }
    }

    private static func open(_ name: String) -> Forge_Network_V1_Policy {
        .with {
            $0.name = name
            $0.selector.endpoints.names = [name]
            $0.ingress = [.init()]
            $0.egress = [.init()]
        }
    }
}
