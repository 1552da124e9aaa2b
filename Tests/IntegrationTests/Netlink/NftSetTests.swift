import LabSupport
import Netlink
import Sys
import Testing

/// Sets as packets meet them.
@Suite(.enabled(if: PrivateNetwork.isAllowed, "needs root, or a user namespace of one's own (unshare -Urnm)"))
struct NftSetTests {
    private let table = NftFixture.table

    @Test func `ranges behind an exact prefix decide as a naive model does, through many changes`() throws {
        let network = try PrivateNetwork()
        let blocks = NftSet(
            table: table, name: "blocks", keyType: [.mark, .ipv4Addr], keyLength: 8,
            data: .value(.mark, length: 4),
            flags: .interval)
        let seen = NftSet(
            table: table, name: "seen", keyType: [.ipv4Addr, .mark], keyLength: 8, flags: .eval, size: 1000,
            elementExpressions: [.counter])
        var batch = NftFixture.output()
        batch.create(blocks)
        batch.create(seen)
        // UDP to an address is judged for identity 5; which value the map gave is written down with the
        // address.
        let isUDP: [NftExpression] = [.meta(.l4proto, .r(0)), .cmp(.eq, .r(0), [17])]
        batch.add(
            NftRule(
                table: table, chain: "out",
                expressions: isUDP + [.immediate(.r(0), native(0)), .metaSet(.mark, .r(0))]))
        batch.add(
            NftRule(
                table: table, chain: "out",
                expressions: isUDP + [
                    .immediate(.r(0), native(5)), .payload(base: .network, offset: 16, length: 4, .r(1)),
                    .lookup(set: "blocks", key: .r(0), destination: .r(2)), .metaSet(.mark, .r(2)),
                ]))
        batch.add(
            NftRule(
                table: table, chain: "out",
                expressions: isUDP + [
                    .payload(base: .network, offset: 16, length: 4, .r(0)), .meta(.mark, .r(1)),
                    .dynset(set: "seen", operation: .update, key: .r(0), expressions: [.counter]),
                ]))
        var socket = try network.netfilterSocket()
        try socket.commit(batch)

        func key(_ identity: UInt32, _ last: UInt8) -> [UInt8] { native(identity) + [127, 0, 1, last] }
        func range(_ identity: UInt32, _ range: ClosedRange<UInt8>, _ value: UInt32) -> [NftElement] {
            [
                NftElement(key: key(identity, range.lowerBound), data: native(value)),
                NftElement(key: key(identity, range.upperBound + 1), isIntervalEnd: true),
            ]
        }
        var generator = RandomWorld(seed: 42).generator
        // What identity 4, 5 and 6 have; the packets are 5's, the others must not matter.
        var model: [UInt32: [ClosedRange<UInt8>: UInt32]] = [4: [:], 5: [:], 6: [:]]
        for round in 1...40 as ClosedRange<UInt32> {
            var removed: [NftElement] = []
            var added: [NftElement] = []
            for identity in [4, 5, 6] as [UInt32] {
                for (old, value) in model[identity] ?? [:] where Bool.random(using: &generator) {
                    removed += range(identity, old, value)
                    model[identity]?[old] = nil
                }
                for _ in 0..<4 {
                    let start = UInt8.random(in: 0...30, using: &generator)
                    let new = start...start + UInt8.random(in: 0...6, using: &generator)
                    guard model[identity]?.keys.contains(where: { $0.overlaps(new) }) == false else {
                        continue
                    }
                    model[identity]?[new] = round
                    added += range(identity, new, round)
                }
            }
            var change = NftBatch()
            change.remove(removed, from: blocks)
            change.add(added, to: blocks)
            try socket.commit(change)
        }
        try network.run(
            "bash", "-c", "for i in {0..40}; do echo -n x > /dev/udp/127.0.1.$i/9; done")
        let verdicts = try socket.elements(of: seen).map { element in
            "\(element.key[3]) \(element.key[4...].map(Int.init)) \(element.counter?.packets ?? 0)"
        }
        let expected = (0...40 as ClosedRange<UInt8>).map { last in
            let value = model[5]?.first { $0.key.contains(last) }?.value ?? 0
            return "\(last) \(native(value).map(Int.init)) 1"
        }
        #expect(verdicts.sorted() == expected.sorted())

        let listing = try network.listing()
        #expect(listing.contains("comment \"mark . ipv4_addr\""))
        #expect(listing.contains(":7f:00:01:"))
        #expect(listing.contains("counter packets 1 bytes"))
    }

    @Test func `each element of a dynamic set has its own limit and its own counter`() throws {
        let network = try PrivateNetwork()
        let bucket: NftExpression = .limit(rate: 5, unitSeconds: 3600, burst: 5, kind: .packets, over: true)
        let limits = NftSet(
            table: table, name: "rates", keyType: [.ipv4Addr], keyLength: 4, flags: [.eval, .timeout],
            size: 1000,
            timeoutMs: 60_000, elementExpressions: [bucket])
        let denied = NftSet(
            table: table, name: "denied", keyType: [.ipv4Addr], keyLength: 4, flags: .eval,
            elementExpressions: [.counter])
        var batch = NftFixture.output()
        batch.create(limits)
        batch.create(denied)
        let destination: [NftExpression] = [
            .meta(.l4proto, .r(0)), .cmp(.eq, .r(0), [17]),
            .payload(base: .network, offset: 16, length: 4, .r(0)),
        ]
        batch.add(
            NftRule(
                table: table, chain: "out",
                expressions: destination + [
                    .dynset(set: "rates", operation: .update, key: .r(0), expressions: [bucket]),
                    .dynset(set: "denied", operation: .update, key: .r(0), expressions: [.counter]),
                    .verdict(.drop),
                ]))
        var socket = try network.netfilterSocket()
        try socket.commit(batch)
        for address in ["127.0.0.2", "127.0.0.3"] {
            let passed = try network.run(
                "bash", "-c",
                "n=0; for i in {1..12}; do echo -n x 2>/dev/null >/dev/udp/\(address)/9 && n=$((n+1)); done; echo $n"
            )
            #expect(passed.output == "5\n")
        }
        #expect(try socket.elements(of: denied).map(\.counter?.packets) == [7, 7])
        #expect(try network.listing().contains("limit rate over 5/hour"))
    }
}
