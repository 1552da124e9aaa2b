import Forwarding
import ForwardingSupport
import LabSupport
import Model
import Namespaces
import Netlink
import NetworkManager
import Sys
import Testing
import Wire

// Inside the tests of the manager: all of them have the lab's own namespace, one at a time.
extension ManagerTests {
    /// Real packets through a whole fabric, from a client outside to an endpoint.
    @Suite(.serialized) struct PublishedPortPacketTests {
        @Test(arguments: IPFamily.allCases)
        func `the endpoint sees the client's own address and port`(family: IPFamily) async throws {
            try await PortLab.with { lab in
                try lab.publish(.tcp, 8080, to: 80)
                try lab.publish(.udp, 8080, to: 80)
                let stream = try lab.listen(.tcp, family, port: 80)
                let client = try lab.connect(.tcp, family, port: 8080)
                let accepted = try PlainSockets.accept(stream)
                #expect(accepted.peer == (try PlainSockets.local(client)))
                #expect(accepted.peer.hasPrefix(try #require(PortLab.clients[family]) + " "))
                try LabSockets.send(client, "there")
                #expect(try LabSockets.receive(accepted.socket) == "there")
                try LabSockets.send(accepted.socket, "back")
                #expect(try LabSockets.receive(client) == "back")

                let server = try lab.listen(.udp, family, port: 80)
                let sender = try lab.connect(.udp, family, port: 8080)
                for round in 0..<3 {
                    try LabSockets.send(sender, "there \(round)")
                    let datagram = try PlainSockets.receive(server)
                    #expect(datagram.text == "there \(round)")
                    #expect(datagram.peer == (try PlainSockets.local(sender)))
                    try LabSockets.send(sender, "echo")
                    try LabSockets.echoDatagram(server)
                    #expect(try LabSockets.receive(sender) == "echo")
                }
            }
        }

        @Test(arguments: IPFamily.allCases)
        func `a client on a port below 1024 is seen with it`(family: IPFamily) async throws {
            try await PortLab.with { lab in
                try lab.publish(.udp, 8080, to: 80)
                let server = try lab.listen(.udp, family, port: 80)
                let address = try #require(PortLab.clients[family])
                let host = try #require(PortLab.hosts[family])
                let sender = try lab.outside.inside { try PlainSockets.bind(.udp, address, port: 123) }
                try PlainSockets.connect(sender, host, port: 8080)
                try LabSockets.send(sender, "time?")
                #expect(try PlainSockets.receive(server).peer == "\(address) 123")
            }
        }

        @Test(arguments: IPFamily.allCases)
        func `a client on the host's loopback is seen as the gateway`(family: IPFamily) async throws {
            try await PortLab.with { lab in
                let id = try lab.publish(.tcp, 8080, to: 80)
                let server = try lab.listen(.tcp, family, port: 80)
                let client = try lab.host.inside {
                    try LabSockets.connect(.tcp, family == .v4 ? "127.0.0.1" : "::1", port: 8080)
                }
                let accepted = try PlainSockets.accept(server)
                #expect(accepted.peer.hasPrefix(try lab.gateway(family) + " "))
                try LabSockets.send(accepted.socket, "hello")
                #expect(try LabSockets.receive(client) == "hello")
                #expect(try lab.harness.counters(id).standIns == 1)
            }
        }

        @Test func `an answer comes from the address of the host that was asked`() async throws {
            try await PortLab.with { lab in
                try lab.publish(.udp, 8080, to: 80)
                let server = try lab.listen(.udp, .v4, port: 80)
                for address in ["192.0.2.2", "192.0.2.1"] {
                    let client = try lab.outside.inside {
                        try LabSockets.connect(.udp, address, port: 8080)
                    }
                    try LabSockets.send(client, "?")
                    try LabSockets.echoDatagram(server)
                    #expect(try LabSockets.receive(client) == "?")
                }
            }
        }

        @Test func `policy judges the client's own address`() async throws {
            try await PortLab.with { lab in
                let id = try lab.publish(.tcp, 8080, to: 80)
                var policy = PolicyRule(ports: [.init(.tcp, 80...80)])
                policy.peers = [.cidr(try CIDR("192.0.2.77/32"), except: [])]
                try await lab.allow(policy)
                let server = try lab.listen(.tcp, .v4, port: 80)
                let client = try lab.connect(.tcp, .v4, port: 8080)
                #expect(try PlainSockets.accept(server).peer == (try PlainSockets.local(client)))

                let stranger = try lab.outside.inside {
                    try PlainSockets.bind(.tcp, "192.0.2.78", port: 0)
                }
                try PlainSockets.connect(stranger, "192.0.2.1", port: 8080)
                #expect(throws: SystemError.self) {
                    _ = try PlainSockets.accept(server, milliseconds: 300)
                }
                let denials = try await lab.server.statistics().denials.map(\.reason)
                #expect(denials == [.defaultDeny(.ingress, endpoint: "web")])
                #expect(try lab.harness.counters(id).opened == 2)
            }
        }

        @Test func `a policy that is tightened ends the connections that it allowed`() async throws {
            try await PortLab.with { lab in
                try lab.publish(.tcp, 8080, to: 80)
                let server = try lab.listen(.tcp, .v4, port: 80)
                let client = try lab.connect(.tcp, .v4, port: 8080)
                let accepted = try PlainSockets.accept(server)
                try LabSockets.send(client, "before")
                #expect(try LabSockets.receive(accepted.socket) == "before")
                try await lab.allow(PolicyRule(ports: [.init(.tcp, 81...81)]))
                try LabSockets.send(client, "after")
                #expect(throws: SystemError.self) {
                    _ = try LabSockets.receive(accepted.socket, timeoutSeconds: 0.3)
                }
            }
        }

        @Test(arguments: IPFamily.allCases)
        func `much is passed on whole, both ways at once, and a half that has ended still receives`(
            family: IPFamily
        ) async throws {
            try await PortLab.with { lab in
                let id = try lab.publish(.tcp, 8080, to: 80)
                let server = try lab.listen(.tcp, family, port: 80)
                let client = try lab.connect(.tcp, family, port: 8080, timeoutSeconds: 20)
                let accepted = try PlainSockets.accept(server)
                let (near, far) = (client.rawValue, accepted.socket.rawValue)
                let size = 8 << 20
                let results = try PlainSockets.together([
                    { try PlainSockets.send(size, by: near) },
                    { try PlainSockets.digest(of: far) },
                    { try PlainSockets.send(size * 2, by: far) },
                    { try PlainSockets.digest(of: near) },
                ])
                #expect(results[0] == results[1] && results[0].count == size)
                #expect(results[2] == results[3] && results[2].count == size * 2)
                #expect(accepted.peer == (try PlainSockets.local(client)))
                let counters = try lab.harness.counters(id) { $0.active == 0 }
                #expect(counters.bytesIn == UInt64(size) && counters.bytesOut == UInt64(size * 2))
            }
        }

        @Test(arguments: IPFamily.allCases)
        func `a refusal of the endpoint is a reset for the client`(family: IPFamily) async throws {
            try await PortLab.with { lab in
                let id = try lab.publish(.tcp, 8080, to: 80)
                // The reset may overtake the news that the connection was made.
                do {
                    let client = try lab.connect(.tcp, family, port: 8080)
                    #expect(try PlainSockets.ending(client) == "reset")
                } catch let error as SystemError where error.errno.rawValue == 104 {}  // ECONNRESET
                #expect(try lab.harness.counters(id).failed == 1)
            }
        }

        @Test func `a thousand short connections are each seen from their own port`() async throws {
            try await PortLab.with { lab in
                let id = try lab.publish(.tcp, 8080, to: 80)
                let server = try lab.listen(.tcp, .v4, port: 80)
                for _ in 0..<1_000 {
                    let client = try lab.connect(.tcp, .v4, port: 8080)
                    let accepted = try PlainSockets.accept(server)
                    #expect(accepted.peer == (try PlainSockets.local(client)))
                    try LabSockets.send(accepted.socket, "bye")
                    try PlainSockets.finish(accepted.socket)
                    #expect(try LabSockets.receive(client) == "bye")
                    #expect(try PlainSockets.ending(client) == "end")
                }
                let counters = try lab.harness.counters(id) { $0.active == 0 }
                #expect(counters.opened == 1_000 && counters.active == 0)
                #expect(counters.failed == 0 && counters.renumbered == 0)
            }
        }

        @Test(arguments: [LabSockets.Transport.tcp, .udp])
        func `a client that comes by two ports of the host from one of its own is served by both`(
            transport: LabSockets.Transport
        ) async throws {
            try await PortLab.with { lab in
                let forward: ForwardTransport = transport == .tcp ? .tcp : .udp
                let ids = [try lab.publish(forward, 8080, to: 80), try lab.publish(forward, 8081, to: 80)]
                let server = try lab.listen(transport, .v4, port: 80)
                let sockets = try ids.indices.map { index in
                    let socket = Held(
                        try lab.outside.inside {
                            try PlainSockets.bind(forward, "192.0.2.77", port: 5000)
                        })
                    try socket.use { socket in
                        try PlainSockets.connect(socket, "192.0.2.1", port: 8080 + UInt16(index))
                        try LabSockets.send(socket, "\(index)")
                    }
                    return socket
                }
                var peers: [String] = []
                var connections: [PlainSockets.Accepted] = []
                for index in ids.indices {
                    if transport == .tcp {
                        let accepted = try PlainSockets.accept(server)
                        peers.append(accepted.peer)
                        try LabSockets.send(accepted.socket, try LabSockets.receive(accepted.socket))
                        connections.append(accepted)
                    } else {
                        try sockets[index].use { try LabSockets.send($0, "?\(index)") }
                        for _ in 0..<2 { try LabSockets.echoDatagram(server) }
                    }
                }
                for (index, socket) in sockets.enumerated() {
                    let answer = try socket.use { try LabSockets.receive($0) }
                    #expect(answer == "\(index)")
                }
                if transport == .tcp {
                    #expect(peers[0] == "192.0.2.77 5000")
                    #expect(peers[1].hasPrefix("192.0.2.77 ") && peers[1] != peers[0])
                }
                let renumbered = try ids.map { try lab.harness.counters($0).renumbered }
                #expect(renumbered == [0, 1])
                withExtendedLifetime(connections) {}
            }
        }

        @Test func `what endpoints begin themselves is nobody's answer`() async throws {
            try await PortLab.with { lab in
                // A way out, as the uplink is: a link of the fabric to outside.
                let result = try lab.outside.run(
                    "ip", "link", "add", "fabric0", "type", "veth", "peer", "name", "uplink0", "netns",
                    "/proc/\(LabSockets.ownPID)/ns/net")
                try #require(result.status.code == 0, "\(result.errors)")
                let address = try lab.address(.v4)
                for command in [
                    ["ip", "address", "add", "198.51.100.2/24", "dev", "fabric0"],
                    ["ip", "link", "set", "fabric0", "up"],
                    ["ip", "route", "add", address, "via", "198.51.100.1"],
                ] {
                    let result = try lab.outside.plan(command).run(timeoutSeconds: 10)
                    try #require(result.status.code == 0, "\(result.errors)")
                }
                try Uplink.setUp(address: "198.51.100.1")

                let id = try lab.publish(.tcp, 8080, to: 80)
                let listener = try lab.outside.inside {
                    try LabSockets.bind(.tcp, "198.51.100.2", port: 443)
                }
                // From the very port that is published.
                let out = try lab.web.namespace.inside {
                    try PlainSockets.bind(.tcp, address, port: 80)
                }
                try PlainSockets.connect(out, "198.51.100.2", port: 443)
                let accepted = try PlainSockets.accept(listener)
                #expect(accepted.peer == "\(address) 80")
                try LabSockets.send(accepted.socket, "out and back")
                #expect(try LabSockets.receive(out) == "out and back")
                #expect(try lab.harness.counters(id).opened == 0)

                // Peers inside are answered directly.
                let server = try lab.listen(.tcp, .v4, port: 80)
                let other = try ManagedContainer()
                let peer = try await lab.manager.assign(
                    containerID: "c-peer", network: "shop", namespace: .path(other.path), name: "peer")
                let client = try other.namespace.inside {
                    try LabSockets.connect(.tcp, address, port: 80, timeoutSeconds: 2)
                }
                let inside = try PlainSockets.accept(server)
                #expect(inside.peer.hasPrefix("\(peer.addresses[0]) "))
                try LabSockets.send(inside.socket, "inside")
                #expect(try LabSockets.receive(client) == "inside")
            }
        }

        @Test func `a stranger with an address of ours does not come in with it`() async throws {
            try await PortLab.with { lab in
                let id = try lab.publish(.tcp, 8080, to: 80)
                let subnet = try #require(lab.network.subnets.first { $0.family == .v4 })
                let address = try #require(subnet.address(at: 99)).description
                for (namespace, link) in [("host", "up0"), ("outside", "eth0")] {
                    let plan =
                        namespace == "host"
                        ? lab.host.plan(["ip", "route", "add", "\(address)/32", "dev", link])
                        : lab.outside.plan(["ip", "address", "add", "\(address)/32", "dev", link])
                    let result = try plan.run(timeoutSeconds: 10)
                    try #require(result.status.code == 0, "\(result.errors)")
                }
                let server = try lab.listen(.tcp, .v4, port: 80)
                let client = try lab.outside.inside {
                    try PlainSockets.bind(.tcp, address, port: 0)
                }
                try PlainSockets.connect(client, "192.0.2.1", port: 8080)
                #expect(try PlainSockets.accept(server).peer.hasPrefix(try lab.gateway(.v4) + " "))
                #expect(try lab.harness.counters(id).standIns == 1)
            }
        }

        @Test func `what is set up for published ports is found, mended, and leaves no trace`() async throws {
            let routing = PortRouting(own: [try CIDR("10.0.0.0/8"), try CIDR("fd00::/8")])
            for _ in 0..<2 { try routing.applyHere() }
            var route = try NetlinkSocket<RouteProtocol>()
            for family in IPFamily.allCases {
                let rules = try route.dump(.listRules(family)).compactMap { try RoutingRule($0) }
                #expect(
                    rules == [RoutingRule(family: family, priority: 100, mark: 0xf06e, table: 0xf06e)])
            }
            try PortRouting(own: [try CIDR("10.0.0.0/9"), try CIDR("10.128.0.0/9")]).applyHere()
            for _ in 0..<2 { try routing.removeHere() }
            for family in IPFamily.allCases {
                #expect(try route.dump(.listRules(family)).allSatisfy { try RoutingRule($0) == nil })
            }
            var netfilter = try NetlinkSocket<NetfilterProtocol>()
            #expect(try !netfilter.listTables().contains { $0.name == PortRouting.tableName })
        }
    }
}

/// The fabric's end of a link to the outside.
private enum Uplink {
    static func setUp(address: String) throws {
        var route = try NetlinkSocket<RouteProtocol>()
        let link = try Link(try #require(try route.perform(.getLink(.name("uplink0"))).first))
        try route.perform([
            .addAddress(
                InterfaceAddress(link: link.index, address: try IPAddress(address), prefixLength: 24)),
            .changeLink(.index(link.index), LinkChange(isUp: true)),
        ])
    }
}
