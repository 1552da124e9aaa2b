import Testing
import Wire

@testable import DNS

struct CodecTests {
    private let key: NameHash.Key = {
        var generator = SteadyGenerator()
        return NameHash.Key(using: &generator)
    }()

    private func read(_ bytes: [UInt8]) throws(Query.Refusal) -> (Query, QueryName) {
        var name = QueryName(key: key)
        let query = try Query(bytes, 0..<bytes.count, into: &name)
        return (query, name)
    }

    private func refusal(_ bytes: [UInt8]) -> ResponseCode? {
        do {
            _ = try read(bytes)
            return nil
        } catch Query.Refusal.code(let code) {
            return code
        } catch { return nil }
    }

    private func isSilent(_ bytes: [UInt8]) -> Bool {
        do {
            _ = try read(bytes)
            return false
        } catch Query.Refusal.silent { return true } catch { return false }
    }

    @Test func `a query is read with its name in lower case`() throws {
        let (query, name) = try read(
            MessageBuilder.query("WwW.ExAmple.Com", .aaaa, id: 7, room: 4096, signatures: true))
        #expect(name.name.description == "www.example.com")
        #expect(name.labels == 3)
        #expect(query.id == 7)
        #expect(query.type == .aaaa)
        #expect(query.hasEDNS && query.wantsSignatures)
        // What would be fragmented on its way is not sent, whatever a client takes.
        #expect(query.room == 1232)
        #expect(try read(MessageBuilder.query("a.example", room: 100)).0.room == 512)
    }

    @Test func `names that differ in case alone have one hash, others have others`() throws {
        let (first, _) = try read(MessageBuilder.query("Www.Example.com"))
        let (second, _) = try read(MessageBuilder.query("wWW.eXAMPLE.COM"))
        #expect(first.hash == second.hash)
        var hashes: Set<UInt64> = []
        for number in 0..<10_000 {
            hashes.insert(try read(MessageBuilder.query("n\(number).example")).0.hash)
        }
        #expect(hashes.count == 10_000)
        let name = try #require(DomainName("www.example.com"))
        #expect(NameHash.of(name.wire, key) == first.hash)
    }

    @Test func `responses and what is shorter than a header are not answered at all`() {
        #expect(isSilent(MessageBuilder.query("a.example", flags: 0x8100)))
        #expect(isSilent(Array(MessageBuilder.query("a.example").prefix(11))))
        #expect(isSilent([]))
    }

    @Test func `a query cut off anywhere is a format error`() {
        let whole = MessageBuilder.query("www.example.com", room: 1232)
        for length in 12..<whole.count { #expect(refusal(Array(whole.prefix(length))) == .formatError) }
    }

    @Test func `two questions, answers in a query, and unknown operations are refused`() {
        var bytes = MessageBuilder.query("a.example")
        bytes[5] = 2
        #expect(refusal(bytes) == .formatError)
        bytes = MessageBuilder.query("a.example")
        bytes[7] = 1
        #expect(refusal(bytes) == .formatError)
        #expect(refusal(MessageBuilder.query("a.example", flags: 0x2100)) == .notImplemented)
    }

    @Test func `labels above 63 bytes, names above 255 and pointers in questions are format errors`() {
        let head = Array(MessageBuilder.query("").prefix(12))
        #expect(refusal(head + [64] + [UInt8](repeating: 97, count: 64) + [0, 0, 1, 0, 1]) == .formatError)
        let label = [UInt8(63)] + [UInt8](repeating: 97, count: 63)
        let long = label + label + label
        // 3 * 64 + 62 + 1 = 255
        let fits = long + [61] + [UInt8](repeating: 98, count: 61) + [0]
        #expect(refusal(head + fits + [0, 1, 0, 1]) == nil)
        let tooLong = long + [62] + [UInt8](repeating: 98, count: 62) + [0]
        #expect(refusal(head + tooLong + [0, 1, 0, 1]) == .formatError)
        #expect(refusal(head + [0xc0, 12, 0, 1, 0, 1]) == .formatError)
    }

    @Test func `two OPT records or one that is not the root's are format errors`() {
        let option: [UInt8] = [0, 0, 41, 4, 0, 0, 0, 0, 0, 0, 0]
        var bytes = MessageBuilder.query("a.example") + option + option
        bytes[11] = 2
        #expect(refusal(bytes) == .formatError)
        bytes = MessageBuilder.query("a.example") + [1, 97] + option
        bytes[11] = 1
        #expect(refusal(bytes) == .formatError)
    }

    // MARK: Compressed names

    private func name(_ bytes: [UInt8], at start: Int) throws -> String {
        var reader = MessageReader(bytes, 0..<bytes.count)
        try reader.skip(start, "start")
        return try reader.name("name").description
    }

    @Test func `pointers lead to the front and nowhere else`() throws {
        let head = [UInt8](repeating: 0, count: 12)
        let bytes = head + [3, 99, 111, 109, 0, 1, 97, 0xc0, 12, 1, 98, 0xc0, 17]
        #expect(try name(bytes, at: 17) == "a.com")
        #expect(try name(bytes, at: 21) == "b.a.com")
        // To itself, forward, to its own labels, into the header, and two that lead to each other.
        for loop in [
            [0xc0, 12], [0xc0, 20, 0], [1, 97, 0xc0, 12], [0xc0, 4], [0xc0, 14, 0xc0, 12],
            [1, 97, 0xc0, 16, 1, 98, 0xc0, 12],
        ] as [[UInt8]] {
            #expect(throws: DecodeError.self) { try name(head + loop, at: 12) }
        }
        #expect(throws: DecodeError.self) { try name(head + [0xc0, 14, 0xc0, 12], at: 14) }
    }

    @Test func `a long chain of pointers ends, and cannot make a name longer than 255 bytes`() throws {
        // Each label leads to the one before it.
        var bytes = [UInt8](repeating: 0, count: 12) + [0]
        var last = 12
        for _ in 0..<126 {
            let here = bytes.count
            bytes += [1, 97, 0xc0 | UInt8(last >> 8), UInt8(last & 0xff)]
            last = here
        }
        #expect(try name(bytes, at: last).utf8.count == 251)
        for _ in 0..<4 {
            let here = bytes.count
            bytes += [1, 97, 0xc0 | UInt8(last >> 8), UInt8(last & 0xff)]
            last = here
        }
        #expect(throws: DecodeError.self) { try name(bytes, at: last) }
    }

    @Test func `labels of unknown kinds are refused`() {
        for kind: UInt8 in [0x40, 0x80] {
            #expect(throws: DecodeError.self) {
                try name([UInt8](repeating: 0, count: 12) + [kind, 0], at: 12)
            }
        }
    }

    // MARK: Text

    @Test(arguments: [
        ("www.Example.com", "www.example.com"), ("example.com.", "example.com"), (".", "."),
        (#"a\.b.example"#, #"a\.b.example"#), (#"a\032b.example"#, #"a\032b.example"#),
    ])
    func `names are read from text and written as text`(_ text: String, _ written: String) throws {
        let name = try #require(DomainName(text))
        #expect(name.description == written)
        #expect(DomainName(written) == name)
        #expect(DomainName(wire: name.wire) == name)
    }

    @Test(arguments: ["a..b", ".a", String(repeating: "a", count: 64), #"a\"#, #"a\25"#, #"a\999"#])
    func `text that is no name is refused`(_ text: String) { #expect(DomainName(text) == nil) }

    @Test func `a name is within a zone by whole labels only`() throws {
        let zone = try #require(DomainName("forge.internal"))
        #expect(try #require(DomainName("web.shop.forge.internal")).isWithin(zone))
        #expect(zone.isWithin(zone))
        #expect(try !#require(DomainName("xforge.internal")).isWithin(zone))
        // A label that holds the zone's bytes, lengths and all.
        let disguised = try #require(DomainName(#"aa\005forge\008internal"#))
        #expect(disguised.wire.suffix(zone.wire.count) == zone.wire[...])
        #expect(!disguised.isWithin(zone))
        #expect(disguised.isWithin(.root))
    }

    @Test func `entropy tells words from data`() throws {
        func entropy(_ text: String) throws -> UInt32 {
            LabelEntropy.of(try read(MessageBuilder.query(text)).1).milliBits
        }
        #expect(try entropy("aaaaaaaa.example.com") == 0)
        #expect(try entropy("abababab.example.com") == 1000)
        #expect(try (2000...3300).contains(entropy("registry.example.com")))
        #expect(try entropy("mfzwizlnnfxgs5dboqqhg33nmv2gq2lom4qgk3dtmuqgk5tfoi.example.com") > 4000)
    }
}
