/// A 48-bit Ethernet address.
public struct MACAddress: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The address in the low 48 bits, first byte on the wire highest.
    public let bits: UInt64

    public init(bits: UInt64) { self.bits = bits & 0xffff_ffff_ffff }

    /// Six bytes in wire order; nil for any other count.
    @inlinable
    public init?(bytes: some Collection<UInt8>) {
        guard bytes.count == 6 else { return nil }
        self.init(bits: bytes.reduce(0) { $0 << 8 | UInt64($1) })
    }

    /// Reads `aa:bb:cc:dd:ee:ff` (or with dashes).
    public init(_ text: some StringProtocol) throws(ParseError) {
        let parts = text.split(omittingEmptySubsequences: false) { $0 == ":" || $0 == "-" }
        guard parts.count == 6 else {
            throw ParseError("MAC address", text, "expected six hexadecimal bytes such as 02:00:00:00:00:01")
        }
        var bits: UInt64 = 0
        for part in parts {
            guard (1...2).contains(part.utf8.count), part.utf8.allSatisfy(isHexDigit),
                let byte = UInt8(part, radix: 16)
            else { throw ParseError("MAC address", text, "\"\(part.prefix(10))\" is not a hexadecimal byte") }
            bits = bits << 8 | UInt64(byte)
        }
        self.bits = bits
    }

    public var bytes: [UInt8] { (0..<6).map { UInt8(truncatingIfNeeded: bits >> (40 - 8 * $0)) } }

    /// The group bit of the first byte (IEEE 802): broadcast and multicast have it, a station never does.
    public var isMulticast: Bool { bits >> 40 & 1 == 1 }
    public var isLocallyAdministered: Bool { bits >> 40 & 2 == 2 }

    /// The same address with the group bit cleared and the "locally administered" bit set.
    public var locallyAdministered: MACAddress {
        MACAddress(bits: bits & ~(1 << 40) | 2 << 40)
    }

    /// The modified EUI-64 link-local address (RFC 4291 appendix A).
    public var linkLocalIPv6: IPv6Address {
        let flipped = bits ^ (2 << 40)
        let high = UInt128(flipped >> 24) << 40
        return IPv6Address(bits: 0xfe80 << 112 | high | 0xff_fe << 24 | UInt128(flipped & 0xff_ffff))
    }

    public var description: String {
        var text = AddressText(capacity: 17)
        for shift in stride(from: 40, through: 0, by: -8) {
            text.append(hexadecimal: UInt16(truncatingIfNeeded: bits >> shift & 0xff), width: 2)
            if shift > 0 { text.append(":") }
        }
        return text.text
    }

    public static func < (a: MACAddress, b: MACAddress) -> Bool { a.bits < b.bits }
}

func isHexDigit(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
        || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte | 0x20)
}
