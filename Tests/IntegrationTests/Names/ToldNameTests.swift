import Firewall
import Model
import Testing
import Wire

@testable import NetworkManager

/// What is remembered of names that endpoints were told, and what is stored of it.
struct ToldNameTests {
    /// As kernel and store follow: what each has after some changes.
    private struct Followed {
        var told = ToldNames()
        var rows: Set<String> = []
        var inForce: [String: Set<String>] = [:]

        mutating func apply(_ change: ToldNames.Change) {
            for row in change.forgotten { rows.remove("\(row.name) \(row.address)") }
            for row in change.saved { rows.insert("\(row.name) \(row.address)") }
            for peer in change.peers { inForce["\(peer.address)"] = peer.names.isEmpty ? nil : peer.names }
            told.apply(change)
        }

        mutating func add(_ name: String, _ numbers: Range<Int>, ttl: UInt32 = 600, now: Int64 = 0) {
            let addresses = numbers.map {
                (address: IPAddress(.v4, bits: 0xcb00_0000 + UInt128($0)), ttlSeconds: ttl)
            }
            apply(told.adding(name, addresses, of: "e", now: now))
        }
    }

    @Test func `who is told ever more addresses has so many, and as many are stored`() {
        var followed = Followed()
        for start in stride(from: 0, to: 5000, by: 50) {
            followed.add("n\(start).example", start..<start + 50, now: Int64(start))
        }
        #expect(followed.told.entries["e"]?.count == ToldNames.addressLimit)
        #expect(followed.rows.count == ToldNames.addressLimit)
        #expect(followed.inForce.count == ToldNames.addressLimit)
        #expect(followed.inForce["203.0.0.0"] == nil && followed.inForce["203.0.19.135"] != nil)
    }

    @Test func `an address has so many names, and as many that linger`() {
        var followed = Followed()
        for number in 0..<100 { followed.add("n\(number).example", 0..<1, now: Int64(number)) }
        #expect(followed.rows.count == ToldNames.nameLimit)
        #expect(followed.inForce["203.0.0.0"]?.count == ToldNames.nameLimit)
        followed.apply(followed.told.ending(now: 1_000_000))
        #expect(followed.inForce.isEmpty && followed.rows.count == ToldNames.nameLimit)
        for number in 100..<200 { followed.add("n\(number).example", 0..<1, now: Int64(number)) }
        followed.apply(followed.told.ending(now: 1_000_000))
        #expect(followed.rows.count == ToldNames.nameLimit)
    }

    @Test func `a change that is undone leaves what was before`() {
        var followed = Followed()
        followed.add("a.example", 0..<3)
        let before = followed
        let change = followed.told.adding(
            "b.example", [(IPAddress(.v4, bits: 0xcb00_0001), 5)], of: "e", now: 1)
        followed.apply(change)
        #expect(followed.rows.count == 4)
        followed.apply(change.reversed)
        #expect(followed.rows == before.rows && followed.inForce == before.inForce)
        #expect(followed.told.entries == before.told.entries)
    }

    @Test
    func `a name that has ended is stored until its connections have, and opens nothing after a restart`()
        throws
    {
        let address = IPAddress(.v4, bits: 0xcb00_0000)
        var followed = Followed()
        followed.add("a.example", 0..<1)
        followed.add("b.example", 0..<1, ttl: 7200)
        followed.apply(followed.told.ending(now: 600_000))
        #expect(followed.inForce == ["203.0.0.0": ["b.example"]] && followed.rows.count == 2)

        var next = ToldNames()
        let stored = [
            ToldName(endpointID: "e", name: "a.example", address: address, until: 600_000),
            ToldName(endpointID: "e", name: "b.example", address: address, until: 7_200_000),
        ]
        #expect(next.load(stored, now: 700_000).isEmpty)
        #expect(next.entries == followed.told.entries)
        #expect(next.current == ["e": [address: ["b.example"]]])
        #expect(next.everyName(of: address, toldTo: "e") == ["a.example", "b.example"])
        #expect(next.nextEnd == 7_200_000)

        let change = next.forgettingLingering(next.lingering)
        #expect(change.forgotten == [stored[0]] && change.peers.isEmpty)
        next.apply(change)
        #expect(next.lingering.isEmpty && next.names(of: address, toldTo: "e") == ["b.example"])
    }

    @Test func `of a store that has too much the rest is forgotten`() {
        var told = ToldNames()
        let rows = (0..<5000).map {
            ToldName(
                endpointID: "e", name: "n.example", address: IPAddress(.v4, bits: 0xcb00_0000 + UInt128($0)),
                until: Int64(1000 + $0))
        }
        let rest = told.load(rows, now: 0)
        #expect(rest == Array(rows.prefix(5000 - ToldNames.addressLimit)))
        #expect(told.entries["e"]?.count == ToldNames.addressLimit)
    }
}
