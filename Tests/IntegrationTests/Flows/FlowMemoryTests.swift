import Model
import Testing
import Wire

@testable import NetworkManager

/// What flows become before anybody is told of them.
struct FlowMemoryTests {
    private static func key(_ port: UInt16) throws -> FlowKey {
        FlowKey(
            outcome: nil, direction: .egress, port: 0, etherType: 0x0800, l4proto: 17,
            source: try IPAddress("10.0.0.1"), destination: try IPAddress("10.0.0.2"), destinationPort: port)
    }

    private static func member(_ name: String) throws -> NetworkMember {
        let network = Network(
            id: "n", name: "lan", subnets: [try CIDR("10.0.0.0/24")], isolation: .peerOnly,
            defaultVerdict: .deny, mtu: 1500, labels: [:])
        return NetworkMember(
            Endpoint(
                id: name, containerID: name, networkID: "n", name: name, labels: [:], addresses: [],
                mac: MACAddress(bits: 2), interfaceName: "eth0",
                namespace: NamespaceReference(path: "", device: 0, inode: 0)), in: network)
    }

    private static func event(_ member: NetworkMember?, time: UInt64) -> FlowEvent {
        .flow(
            FlowRecord(
                time: time, verdict: .deny, direction: .egress, member: member, peer: nil, etherType: 0x0800,
                l4proto: 17, source: nil, destination: nil))
    }

    @Test func `equal flows of a window are one, in the order of their first`() throws {
        var window = FlowWindow()
        for (port, time, from) in [(80, 5, 1000), (53, 6, 1001), (80, 7, 1000), (53, 8, 1002)]
            as [(UInt16, UInt64, UInt16)]
        {
            window.add(try Self.key(port), time: time, sourcePort: from)
        }
        let new = window.takeNew(atMost: 10)
        #expect(new == [try Self.key(80), try Self.key(53)])
        #expect(window.takeNew(atMost: 10).isEmpty, "each is asked about once")
        window.resolve(new, new.map { _ in FlowMeaning(direction: .egress) })
        // Of this one nobody can say whose it is.
        window.add(try Self.key(9), time: 9, sourcePort: nil)
        window.resolve(window.takeNew(atMost: 1), [nil])
        let records = window.close()
        #expect(records.map(\.destinationPort) == [80, 53])
        #expect(records.map(\.count) == [2, 2])
        #expect(records.map(\.time) == [5, 6])
        #expect(records.map(\.sourcePort) == [1000, nil])
        #expect(window.isEmpty)
    }

    @Test func `an endpoint's events take their share of the memory, and not more`() throws {
        var memory = FlowMemory()
        let (loud, quiet) = (try Self.member("loud"), try Self.member("quiet"))
        memory.remember(Self.event(quiet, time: 0))
        for time in 1...10_000 as ClosedRange<UInt64> { memory.remember(Self.event(loud, time: time)) }
        #expect(memory.all.count == FlowMemory.share + 1)
        #expect(memory.all.first == Self.event(quiet, time: 0))
        #expect(memory.all.last == Self.event(loud, time: 10_000))
    }

    @Test func `the oldest leave a full memory`() throws {
        var memory = FlowMemory()
        let members = try (0..<40).map { try Self.member("e\($0)") }
        for time in 0..<8000 as Range<UInt64> {
            memory.remember(Self.event(members[Int(time % 40)], time: time))
        }
        #expect(memory.all.count == FlowMemory.capacity)
        #expect(memory.all.first == Self.event(members[Int((8000 - 4096) % 40)], time: 8000 - 4096))
    }

    @Test func `who misses events is told in their place`() async throws {
        let hub = FlowHub {}
        let stream = hub.watch(FlowFilter(), recent: false, follows: true)
        let most = UInt64(FlowHub.buffer)
        for time in 0..<most + 5 { hub.publish([Self.event(nil, time: time)]) }
        #expect(hub.tellMissed(), "there is no room to tell it yet")
        var reader = stream.makeAsyncIterator()
        for time in 0..<most { #expect(await reader.next() == Self.event(nil, time: time)) }
        hub.publish([Self.event(nil, time: 7777)])
        guard case .missed(5, _) = await reader.next() else {
            Issue.record("five were missed")
            return
        }
        #expect(await reader.next() == Self.event(nil, time: 7777))
        #expect(!hub.tellMissed())
        hub.close()
        #expect(await reader.next() == nil)
    }
}
