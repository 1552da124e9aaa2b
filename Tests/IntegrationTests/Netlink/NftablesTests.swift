import Netlink
import Sys
import Testing

@Suite(.enabled(if: PrivateNetwork.isAllowed, "needs root, or a user namespace of one's own (unshare -Urnm)"))
struct NftablesTests {
    private let table = NftFixture.table

    @Test func `one batch makes tables, chains, sets and rules that nft reads back as they were meant`()
        throws
    {
        let network = try PrivateNetwork()
        var batch = NftFixture.output()
        let bridge = NftTable(family: .bridge, name: "forge")
        batch.create(bridge)
        batch.create(
            NftChain(
                table: bridge, name: "pre", hook: NftHook(number: 0, priority: -300, type: "filter"),
                policy: .drop))
        batch.create(NftChain(table: table, name: "plain"))
        batch.create(NftChain(table: table, name: "tail"))
        let names = NftSet(
            table: table, name: "names", keyType: [.ifname], keyLength: 16, comment: "our bridges")
        let identities = NftSet(
            table: table, name: "identity4", keyType: [.ipv4Addr], keyLength: 4,
            data: .value(.mark, length: 4))
        let verdicts = NftSet(table: table, name: "limits", keyType: [.mark], keyLength: 4, data: .verdict)
        let ranges = NftSet(
            table: table, name: "ranges", keyType: [.ipv4Addr, .inetService], keyLength: 8,
            flags: [.interval, .concat])
        let pairs = NftSet(
            table: table, name: "pairs", keyType: [.ifname, .ifname], keyLength: 32, flags: .concat,
            size: 1000)
        for set in [names, identities, verdicts, ranges, pairs] { batch.create(set) }
        batch.add([NftElement(key: ifname("fb0"), comment: "first")], to: names)
        batch.add([NftElement(key: [10, 0, 0, 1], data: native(7))], to: identities)
        batch.add(
            [
                NftElement(key: native(1), verdict: .goto("plain")),
                NftElement(key: native(2), verdict: .drop),
                NftElement(key: native(3), verdict: .accept),
            ], to: verdicts)
        batch.add(
            [NftElement(key: [10, 0, 0, 0, 0, 80, 0, 0], keyEnd: [10, 0, 0, 255, 0, 90, 0, 0])], to: ranges)
        batch.add([NftElement(key: ifname("fb0") + ifname("fb1"))], to: pairs)
        func rule(_ expressions: [NftExpression], comment: String? = nil, chain: String = "out") {
            batch.add(NftRule(table: table, chain: chain, expressions: expressions, comment: comment))
        }
        rule(
            [
                .ct(.state, .r(0)),
                .bitwise(source: .r(0), destination: .r(0), mask: native(6), xor: native(0)),
                .cmp(.neq, .r(0), native(0)), .verdict(.accept),
            ], comment: "judged before")
        rule([.meta(.oifname, .r(0)), .lookup(set: "names", key: .r(0), inverted: true), .verdict(.return)])
        rule([
            .meta(.nfproto, .r(0)), .cmp(.eq, .r(0), [2]),
            .payload(base: .network, offset: 16, length: 4, .r(0)),
            .lookup(set: "identity4", key: .r(0), destination: .r(1)), .metaSet(.mark, .r(1)), .counter,
        ])
        rule([.meta(.mark, .r(0)), .lookup(set: "limits", key: .r(0), destination: .verdict)])
        rule([
            .meta(.l4proto, .r(0)), .cmp(.eq, .r(0), [6]),
            .payload(base: .transport, offset: 2, length: 2, .r(0)),
            .range(.neq, .r(0), [0, 80], [0, 90]), .verdict(.jump("plain")),
        ])
        rule([
            .limit(rate: 10, unitSeconds: 1, burst: 5, kind: .packets, over: true),
            .log(group: 5, prefix: "denied", snaplen: 64), .reject(.icmpx(code: 3)),
        ])
        rule(
            [.immediate(.r(0), native(9)), .metaSet(.mark, .r(0)), .ctSet(.mark, .r(0)), .notrack],
            chain: "tail")
        rule([.meta(.l4proto, .r(0)), .cmp(.eq, .r(0), [6]), .reject(.tcpReset)], chain: "tail")
        rule([.verdict(.goto("tail"))], chain: "plain")
        var socket = try network.netfilterSocket()
        try socket.commit(batch)

        let listing = try network.listing()
        for line in [
            "table bridge forge", "type filter hook prerouting priority dstnat; policy drop;",
            "type filter hook output priority filter; policy accept;",
            "ct state established,related accept comment \"judged before\"", "oifname != @names return",
            "meta mark set ip daddr map @identity4 counter packets 0 bytes 0", "meta mark vmap @limits",
            "tcp dport != 80-90 jump plain",
            "limit rate over 10/second log prefix \"denied\" group 5 snaplen 64 reject with icmpx admin-prohibited",
            "meta l4proto tcp reject with tcp reset", "goto tail", "comment \"our bridges\"",
            "elements = { \"fb0\" comment \"first\" }", "10.0.0.1 : 0x00000007", "0x00000001 : goto plain",
            "10.0.0.0/24 . 80-90", "\"fb0\" . \"fb1\"",
        ] {
            #expect(listing.contains(line), "\(line)\n\(listing)")
        }

        // And by our own lists.
        #expect(try socket.listTables() == [table, bridge] || socket.listTables() == [bridge, table])
        let chains = try socket.listChains(table)
        #expect(chains.map(\.name).sorted() == ["out", "plain", "tail"])
        #expect(chains.first { $0.name == "out" }?.hook == NftHook(number: 3, priority: 0, type: "filter"))
        #expect(try socket.listChains(bridge).first?.policy == .drop)
        #expect(
            try socket.listSets(table).map(\.name).sorted() == [
                "identity4", "limits", "names", "pairs", "ranges",
            ])
        let rules = try socket.listRules(table)
        #expect(rules.count == 9)
        #expect(
            rules[0].comment == "judged before"
                && rules[0].expressions == ["ct", "bitwise", "cmp", "immediate"])
        #expect(rules.first { $0.counter != nil }?.counter == NftCounter(packets: 0, bytes: 0))
        #expect(
            try Set(socket.elements(of: verdicts).map(\.verdict)) == [.goto("plain"), .drop, .accept])
        #expect(try socket.elements(of: names) == [NftElement(key: ifname("fb0"), comment: "first")])
        #expect(try socket.elements(of: identities) == [NftElement(key: [10, 0, 0, 1], data: native(7))])
        #expect(try socket.elements(of: ranges).first?.keyEnd == [10, 0, 0, 255, 0, 90, 0, 0])

        // What is deleted is gone; destroy does not mind.
        var gone = NftBatch()
        gone.delete(bridge)
        gone.destroy(table)
        gone.destroy(NftTable(family: .ipv4, name: "never was"))
        try socket.commit(gone)
        #expect(try network.listing().isEmpty)
    }

    @Test
    func `overlapping ranges and unknown elements are refused, by name, and nothing of the batch happens`()
        throws
    {
        let network = try PrivateNetwork()
        let blocks = NftSet(
            table: table, name: "blocks", keyType: [.mark, .ipv4Addr], keyLength: 8,
            data: .value(.mark, length: 4),
            flags: .interval)
        var batch = NftFixture.output()
        batch.create(blocks)
        batch.add(
            [
                NftElement(key: native(5) + [10, 0, 0, 0], data: native(1)),
                NftElement(key: native(5) + [10, 0, 0, 8], isIntervalEnd: true),
            ], to: blocks)
        var socket = try network.netfilterSocket()
        try socket.commit(batch)

        var bad = NftBatch()
        bad.create(NftChain(table: table, name: "bystander"))
        bad.add(
            [
                NftElement(key: native(6) + [10, 0, 0, 0], data: native(1)),
                NftElement(key: native(6) + [10, 0, 0, 8], isIntervalEnd: true),
                NftElement(key: native(5) + [10, 0, 0, 4], data: native(2)),
                NftElement(key: native(5) + [10, 0, 0, 6], isIntervalEnd: true),
            ], to: blocks)
        let refusal = #expect(throws: NetlinkError.self) { try socket.commit(bad) }
        #expect(refusal?.errno == .exists)
        #expect(refusal?.subject == "add 4 elements to set blocks (05000000 0a000004)")
        #expect(try !socket.listChains(table).contains { $0.name == "bystander" })

        var missing = NftBatch()
        missing.remove([NftElement(key: native(9) + [10, 0, 0, 0])], from: blocks)
        let unknown = #expect(throws: NetlinkError.self) { try socket.commit(missing) }
        #expect(unknown?.errno == .noEntry)
        #expect(unknown?.subject.hasPrefix("remove 1 element from set blocks") == true)

        // The kernel's own words where it has any; the socket goes on working.
        var wrong = NftBatch()
        wrong.add(NftRule(table: table, chain: "nowhere", expressions: [.counter], comment: "lost"))
        let lost = #expect(throws: NetlinkError.self) { try socket.commit(wrong) }
        #expect(lost?.subject == "add rule \"lost\" to chain nowhere")
        #expect(try socket.elements(of: blocks).count == 2)
    }

    @Test func `a batch made for an older generation does nothing`() throws {
        let network = try PrivateNetwork()
        var socket = try network.netfilterSocket()
        let before = try socket.generationID()
        try socket.commit(NftFixture.output(), generation: before)
        let after = try socket.generationID()
        #expect(after != before)
        var late = NftBatch()
        late.delete(table)
        let refusal = #expect(throws: NetlinkError.self) { try socket.commit(late, generation: before) }
        #expect(refusal?.errno == .restart)
        #expect(try socket.generationID() == after)
        try socket.commit(late, generation: after)
        #expect(try socket.listTables().isEmpty)
    }

    @Test func `changes are announced with the port that they came through`() throws {
        let network = try PrivateNetwork()
        var listener = try network.netfilterSocket()
        try listener.subscribeToNftables()
        var socket = try network.netfilterSocket()
        let set = NftSet(table: table, name: "s", keyType: [.ipv4Addr], keyLength: 4)
        var batch = NftFixture.output()
        batch.create(set)
        batch.add([NftElement(key: [10, 0, 0, 1])], to: set)
        batch.add(NftRule(table: table, chain: "out", expressions: [.counter]))
        try socket.commit(batch)
        func nextBatch() throws -> [NftEvent] {
            var events: [NftEvent] = []
            while true {
                events += try listener.pendingNftEvents() ?? []
                if case .generation = events.last?.subject { return events }
            }
        }
        let ours = try nextBatch()
        #expect(ours.allSatisfy { $0.port == socket.port && !$0.isRemoval })
        #expect(ours.map(\.subject).contains(.elements([NftElement(key: [10, 0, 0, 1])], set: "s", table)))
        #expect(ours.map(\.subject).contains(.table(table)))
        #expect(try network.run("nft", "flush", "ruleset").status == 0)
        let theirs = try nextBatch()
        #expect(theirs.allSatisfy { $0.port != socket.port })
        #expect(theirs.contains { $0.isRemoval && $0.subject == .table(table) })
        guard case .generation(let id, _, let name) = theirs.last?.subject else { return }
        #expect(try id == socket.generationID() && name == "nft")
    }

    @Test
    func `twenty thousand elements go in one batch, and what does not fit is refused before it is sent`()
        throws
    {
        let network = try PrivateNetwork()
        var socket = try network.netfilterSocket()
        let limit = try socket.maximumBatchSize()
        // Twice the smallest net.core.wmem_max that distributions ship.
        #expect(limit >= 400_000)
        let set = NftSet(
            table: table, name: "identity4", keyType: [.ipv4Addr], keyLength: 4,
            data: .value(.mark, length: 4))
        func filled(_ count: Int, comment: String? = nil) -> NftBatch {
            var batch = NftFixture.output()
            batch.create(set)
            // Any numbers do for addresses, as long as no two are alike.
            batch.add(
                (0..<UInt32(count)).map { NftElement(key: native($0), data: native($0), comment: comment) },
                to: set)
            return batch
        }
        let fits = min(20_000, (limit - 4096) / 32)
        try socket.commit(filled(fits))
        #expect(try socket.elements(of: set).count == fits)
        guard limit < 32 << 20 else { return }
        let long = String(repeating: "x", count: 120)
        let tooMuch = #expect(throws: NetlinkError.self) {
            try socket.commit(filled(limit / 128, comment: long))
        }
        guard case .tooLarge(let length, limit) = tooMuch?.code else {
            Issue.record("\(String(describing: tooMuch))")
            return
        }
        #expect(length > limit)
    }
}
