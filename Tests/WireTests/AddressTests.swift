import Testing
import Wire

@Suite struct `Internet addresses` {
    /// RFC 5952 sections 4 and 5, and the shapes around them.
    @Test(arguments: [
        ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"), ("2001:0db8::0001", "2001:db8::1"),
        ("2001:db8:0:0:0:0:2:1", "2001:db8::2:1"), ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
        ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"), ("2001:DB8::AAAA", "2001:db8::aaaa"), ("::", "::"),
        ("::1", "::1"),
        ("1::", "1::"), ("0:0:0:0:0:0:0:0", "::"), ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"), ("::8", "::8"),
        ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"), ("::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"),
        ("::ffff:192.0.2.1", "::ffff:c000:201"), ("64:ff9b::192.0.2.33", "64:ff9b::c000:221"),
        ("fe80::1", "fe80::1"), ("1:0:0:2:0:0:3:4", "1::2:0:0:3:4"), ("0:0:1::", "0:0:1::"),
    ])
    func `print the canonical form of RFC 5952`(_ text: String, _ canonical: String) throws {
        let address = try IPv6Address(text)
        #expect(address.description == canonical)
        #expect(try IPv6Address(canonical) == address)
        #expect(IPAddress(bytes: address.bytes) == .v6(address))
    }

    @Test(arguments: [
        "", ":", ":::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "12345::", "::g",
        "1:2:3:4:5:6:7:8::", "::1:", ":1::",
        "1:2:3:4:5:6:7::8", "::1.2.3", "::1.2.3.4.5", "1.2.3.4::", "::1.2.3.4:5", "fe80::1%eth0", " ::1",
        "::1 ", "::-1", "::+1",
        "::１", "1:2:3:4:5:6:1.2.3.4:8", "::ffff:01.2.3.4", "\0", "::1\0",
    ])
    func `refuse text that is no IPv6 address`(_ text: String) {
        #expect(throws: ParseError.self) { try IPv6Address(text) }
    }

    @Test(arguments: [
        ("0.0.0.0", 0), ("10.0.0.1", 0x0a00_0001), ("255.255.255.255", 0xffff_ffff),
        ("192.0.2.7", 0xc000_0207),
    ])
    func `read and print dotted decimal`(_ text: String, _ bits: Int) throws {
        let address = try IPv4Address(text)
        #expect(address.bits == UInt32(bits))
        #expect(address.description == text)
        #expect(IPAddress(bytes: address.bytes) == .v4(address))
    }

    @Test(arguments: [
        "", "1", "1.2.3", "1.2.3.4.5", "256.0.0.1", "01.2.3.4", "1.2.3.4 ", " 1.2.3.4", "1..2.3", "-1.2.3.4",
        "+1.2.3.4", "1.2.3.0x4",
        "1.2.3.4\n", "１.2.3.4", "1.2.3.9999999999999999999",
    ])
    func `refuse text that is no IPv4 address`(_ text: String) {
        #expect(throws: ParseError.self) { try IPv4Address(text) }
    }

    @Test func `an error carries a hostile text cut short`() {
        let text = String(repeating: "9", count: 1_000_000)
        let error = #expect(throws: ParseError.self) { try IPAddress(text + ":") }
        #expect((error?.description.count ?? .max) < 300)
    }

    @Test func `sort by family and number`() throws {
        let texts = ["10.0.0.9", "10.0.0.10", "192.0.2.1", "::1", "fd00::1"]
        let addresses = try texts.map { try IPAddress($0) }
        #expect(addresses.shuffled().sorted() == addresses)
    }

    @Test func `print every address so that it reads back, for random bits`() throws {
        var random = Seeded(1)
        for _ in 0..<2_000 {
            // Bytes of zero are common, so that runs of them are too.
            let bits = (0..<8).reduce(UInt128(0)) { bits, _ in
                bits << 16
                    | UInt128(
                        Bool.random(using: &random) ? 0 : UInt16.random(in: 0...UInt16.max, using: &random))
            }
            let six = IPv6Address(bits: bits)
            #expect(try IPv6Address(six.description) == six)
            let four = IPv4Address(bits: UInt32(truncatingIfNeeded: bits))
            #expect(try IPv4Address(four.description) == four)
        }
    }

    @Test func `random text never crashes a parser`() {
        var random = Seeded(2)
        let alphabet = Array("0123456789abcdefABCDEF:./-% \u{0}é☃")
        for _ in 0..<20_000 {
            let text = String(
                (0..<Int.random(in: 0...40, using: &random)).map { _ in
                    alphabet[Int.random(in: 0..<alphabet.count, using: &random)]
                })
            if let address = try? IPAddress(text) {
                #expect((try? IPAddress(address.description)) == address)
            }
            if let block = try? CIDR(text) { #expect((try? CIDR(block.description)) == block) }
            if let mac = try? MACAddress(text) { #expect((try? MACAddress(mac.description)) == mac) }
        }
    }
}

/// SplitMix64: the same numbers every time.
struct Seeded: RandomNumberGenerator {
    private var state: UInt64
    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
        return mixed ^ mixed >> 31
    }
}
