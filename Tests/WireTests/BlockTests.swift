import Testing
import Wire

@Suite struct `Address blocks` {
    @Test(arguments: ["10.0.0.0/8", "0.0.0.0/0", "192.0.2.1/32", "fd00::/8", "::/0", "2001:db8::1/128"])
    func `read and print`(_ text: String) throws {
        #expect(try CIDR(text).description == text)
    }

    @Test(arguments: [
        "", "/", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/08", "10.0.0.0/8/8", "/8",
        "::/129", "10.0.0.0/ 8",
        "fd00::/8 ", "10.0.0.0/99999999999999999999",
    ])
    func `refuse what is no block`(_ text: String) {
        #expect(throws: ParseError.self) { try CIDR(text) }
    }

    @Test func `say which block is meant when host bits are set`() {
        let error = #expect(throws: ParseError.self) { try CIDR("10.0.0.77/24") }
        #expect(error?.description == "CIDR \"10.0.0.77/24\": host bits are set; the network is 10.0.0.0/24")
    }

    @Test func `know their first and last address`() throws {
        #expect(try CIDR("10.1.0.0/16").last.description == "10.1.255.255")
        #expect(try CIDR("::/0").last.description == "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
        #expect(try CIDR("::/0").span == .max)
        #expect(try CIDR("10.0.0.0/30").address(at: 3)?.description == "10.0.0.3")
        #expect(try CIDR("10.0.0.0/30").address(at: 4) == nil)
    }

    @Test func `contain what a bit by bit comparison says`() {
        func naive(_ block: CIDR, _ address: IPAddress) -> Bool {
            guard block.family == address.family else { return false }
            func bit(_ index: Int, of bytes: [UInt8]) -> UInt8 {
                bytes[index / 8] >> UInt8(7 - index % 8) & 1
            }
            return (0..<block.prefixLength).allSatisfy {
                bit($0, of: block.first.bytes) == bit($0, of: address.bytes)
            }
        }
        var random = Seeded(3)
        for _ in 0..<3_000 {
            let family: IPFamily = Bool.random(using: &random) ? .v4 : .v6
            let base = UInt128.random(in: 0...UInt128.max, using: &random)
            let length = Int.random(in: 0...family.width, using: &random)
            let block = CIDR(containing: IPAddress(family, bits: base), prefixLength: length)
            // An address that shares a random prefix with the block.
            let shared = Int.random(in: 0...family.width, using: &random)
            let noise = UInt128.random(in: 0...UInt128.max, using: &random)
            let free = UInt128(family.width - shared)
            let mask: UInt128 = free == 128 ? .max : (UInt128(1) << free) - 1
            let bits: UInt128 = (block.first.bits & ~mask) | (noise & mask)
            let address = IPAddress(family, bits: bits)
            #expect(block.contains(address) == naive(block, address))
            let other = CIDR(
                containing: address, prefixLength: Int.random(in: 0...family.width, using: &random))
            let overlap = other.prefixLength < length ? naive(other, block.first) : naive(block, other.first)
            #expect(block.overlaps(other) == overlap)
        }
    }

    @Test func `never contain an address of the other family`() throws {
        #expect(!(try CIDR("0.0.0.0/0").contains(IPAddress("::1"))))
        #expect(!(try CIDR("::/0").overlaps(CIDR("0.0.0.0/0"))))
    }
}

@Suite struct `Ethernet addresses` {
    @Test func `read colons and dashes, print colons`() throws {
        #expect(try MACAddress("02:00:5E:10:00:0a").description == "02:00:5e:10:00:0a")
        #expect(try MACAddress("2-0-5e-10-0-a").description == "02:00:5e:10:00:0a")
    }

    @Test(arguments: [
        "", "02:00:5e:10:00", "02:00:5e:10:00:0a:0b", "02:00:5e:10:00:0g", "02:00:5e:10:00:", "020:0:0:0:0:0",
        "+2:0:0:0:0:0",
    ])
    func `refuse anything else`(_ text: String) {
        #expect(throws: ParseError.self) { try MACAddress(text) }
    }

    @Test func `know what their first byte says`() throws {
        #expect(try MACAddress("01:00:5e:00:00:01").isMulticast)
        #expect(try !MACAddress("02:00:00:00:00:01").isMulticast)
        #expect(try MACAddress("ff:ff:ff:ff:ff:ff").locallyAdministered.description == "fe:ff:ff:ff:ff:ff")
        #expect(try MACAddress("00:11:22:33:44:55").locallyAdministered.description == "02:11:22:33:44:55")
    }

    /// RFC 4291 appendix A.
    @Test func `give the link-local address of their EUI-64`() throws {
        #expect(try MACAddress("34:56:78:9a:bc:de").linkLocalIPv6.description == "fe80::3656:78ff:fe9a:bcde")
    }
}
