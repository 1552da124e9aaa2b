import Model
import Protos
import SwiftProtobuf
import Synchronization
import Testing
import Wire

@testable import API

/// Flows over a Unix socket.
@Suite struct FlowCallTests {
    @Test func `tells what is remembered, with everything that is known, and ends`() async throws {
        try await RunningServer.with { running in
            try await running.client { client in
                let (web, db) = try await Self.members(client, running)
                await running.fabric.publish(.flow(try Self.denial(web, db)))
                await running.fabric.publish(
                    .lost(FlowLoss(time: 1_500_000, cause: .share, member: web, count: 40)))
                await running.fabric.publish(
                    .lost(FlowLoss(time: 2_000_000, cause: .connections, count: nil)))
                await running.fabric.publish(.missed(12, time: 3_000_000))
                let events = Events()
                try await client.watchFlows(.init()) { events.add($0) }

                let flow = try #require(events.all.first)
                #expect(events.all.map(\.verdict) == [.deny, .lost, .lost, .missed])
                #expect(flow.time == .with { ($0.seconds, $0.nanos) = (1, 1_000) })
                #expect(flow.endpoint == "web")
                #expect(flow.vnet == "lan")
                #expect(flow.endpointID == web.endpoint.id)
                #expect(flow.direction == .egress)
                #expect(flow.protocol == "tcp")
                #expect([flow.sourceAddress, flow.destinationAddress] == ["10.9.0.2", "10.9.0.3"])
                #expect([flow.sourcePort, flow.destinationPort] == [0, 5432])
                #expect(flow.peer == "db")
                #expect(flow.peerVnet == "lan")
                #expect(flow.peerLabels == ["app": "db"])
                #expect(flow.reason.code == "default-deny")
                #expect(flow.reason.text == "default deny (egress of web)")
                #expect(flow.count == 12)
                #expect(events.all[1].endpoint == "web")
                #expect(events.all[1].count == 40)
                #expect(events.all[1].lostBecause == "share")
                #expect(!events.all[2].hasCount, "nobody knows how many")
                #expect(events.all[3].count == 12)
                #expect(try flow.jsonString().contains("\"time\":\"1970-01-01T00:00:01.000001Z\""))
            }
        }
    }

    @Test func `follows what happens, and ends with the fabric`() async throws {
        try await RunningServer.with { running in
            try await running.client { client in
                let (web, db) = try await Self.members(client, running)
                await running.fabric.publish(.flow(try Self.denial(web, db)))
                let events = Events()
                async let watched: Void = client.watchFlows(
                    .with {
                        $0.follow = true
                        $0.endpoints = ["db"]
                    }
                ) { events.add($0) }
                try await Self.eventually { await running.fabric.watcherCount == 1 }
                var record = try Self.denial(web, db)
                record.verdict = .allow
                record.reason = nil
                await running.fabric.publish(.flow(record))
                record.peer = nil
                await running.fabric.publish(.flow(record))
                await running.fabric.endFlows()
                try await watched
                #expect(events.all.map(\.verdict) == [.allow], "no older ones, no other endpoint's")
                #expect(events.all.first?.hasReason == false)
            }
        }
    }

    @Test func `a caller that goes away is watched for no longer`() async throws {
        try await RunningServer.with { running in
            try await running.client { client in
                let watching = Task { try await client.watchFlows(.with { $0.follow = true }) { _ in } }
                try await Self.eventually { await running.fabric.watcherCount == 1 }
                watching.cancel()
                // Nothing happens that could be written in vain.
                try await Self.eventually { await running.fabric.watchersLeft == 1 }
                _ = await watching.result
            }
        }
    }

    @Test func `refuses endpoints that nobody knows, and names that are none`() async throws {
        try await RunningServer.with { running in
            try await running.client { client in
                for (name, code) in [("nobody", ForgeError.Code.notFound), ("a b", .invalidArgument)] {
                    let error = await #expect(throws: ForgeError.self) {
                        try await client.watchFlows(.with { $0.endpoints = [name] }) { _ in }
                    }
                    #expect(error?.code == code)
                    #expect(error?.message.contains("\"\(name)\"") == true)
                }
            }
        }
    }

    @Test func `names protocols, and frames that have none`() throws {
        for (etherType, number, name) in [
            (0x0800, 6, "tcp"), (0x86dd, 58, "icmpv6"), (0x0800, 47, "proto-47"), (0x0806, nil, "arp"),
            (0x88cc, nil, "0x88cc"), (0x9, nil, "0x0009"),
        ] as [(UInt16, UInt8?, String)] {
            let record = FlowRecord(
                time: 0, verdict: .deny, direction: .egress, member: nil, peer: nil, etherType: etherType,
                l4proto: number, source: nil, destination: nil)
            #expect(record.protocolName == name)
            let event = Forge_Network_V1_FlowEvent(.flow(record))
            #expect(event.sourceAddress.isEmpty)
            #expect(event.endpoint.isEmpty)
        }
    }

    private final class Events: Sendable {
        private let kept = Mutex<[Forge_Network_V1_FlowEvent]>([])
        func add(_ event: Forge_Network_V1_FlowEvent) { kept.withLock { $0.append(event) } }
        var all: [Forge_Network_V1_FlowEvent] { kept.withLock { $0 } }
    }

    private static func members(
        _ client: ForgeClient, _ running: RunningServer
    ) async throws -> (web: NetworkMember, db: NetworkMember) {
        _ = try await client.createVNet(.with { $0.name = "lan" })
        for name in ["web", "db"] {
            _ = try await client.assignEndpoint(
                .with {
                    $0.vnet = "lan"
                    $0.containerID = name
                    $0.name = name
                    $0.labels = ["app": name]
                    $0.pid = 1
                })
        }
        return (try await running.fabric.endpoint("web"), try await running.fabric.endpoint("db"))
    }

    private static func denial(_ web: NetworkMember, _ db: NetworkMember) throws -> FlowRecord {
        FlowRecord(
            time: 1_000_001, verdict: .deny, direction: .egress, member: web, peer: db, etherType: 0x0800,
            l4proto: 6, source: web.endpoint.addresses[0], destination: db.endpoint.addresses[0],
            destinationPort: 5432, reason: .defaultDeny(.egress, endpoint: "web"), count: 12)
    }

    private static func eventually(_ isSo: () async -> Bool) async throws {
        for _ in 0..<500 {
            if await isSo() { return }
            try await Task.sleep(for: .milliseconds(10))
        }
        Issue.record("it never came about")
    }
}
