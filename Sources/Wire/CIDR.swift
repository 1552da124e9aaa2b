/// A block of addresses: a network address and the length of its prefix (RFC 4632, RFC 4291).
public struct CIDR: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The first address of the block; its host bits are zero.
    public let first: IPAddress
    /// Bits in the prefix: 0 to 32 or 0 to 128.
    public let prefixLength: Int

    public var family: IPFamily { first.family }

    /// The block around an address. The prefix is clamped to the family's width; host bits are cleared.
    public init(containing address: IPAddress, prefixLength: Int) {
        let length = min(max(prefixLength, 0), address.family.width)
        self.prefixLength = length
        first = IPAddress(address.family, bits: address.bits & ~CIDR.hostMask(address.family, length))
    }

    /// The block of one address.
    public init(_ address: IPAddress) { self.init(containing: address, prefixLength: address.family.width) }

    /// Reads `10.0.0.0/8` or `fd00::/8`. Host bits that are set are an error: the writer meant something
    /// else.
    public init(_ text: some StringProtocol) throws(ParseError) {
        guard let slash = text.firstIndex(of: "/") else {
            throw ParseError("CIDR", text, "expected an address and a prefix length such as 10.0.0.0/24")
        }
        let address: IPAddress
        do throws(ParseError) { address = try IPAddress(text[..<slash]) } catch {
            throw ParseError("CIDR", text, error.reason)
        }
        guard let length = decimal(text[text.index(after: slash)...], atMost: address.family.width) else {
            throw ParseError(
                "CIDR", text, "the prefix length must be a number from 0 to \(address.family.width)")
        }
        self.init(containing: address, prefixLength: length)
        guard first == address else {
            throw ParseError("CIDR", text, "host bits are set; the network is \(self)")
        }
    }

    /// The last address of the block.
    public var last: IPAddress {
        IPAddress(family, bits: first.bits | CIDR.hostMask(family, prefixLength))
    }

    /// The number of addresses, less one so that `::/0` fits.
    public var span: UInt128 { CIDR.hostMask(family, prefixLength) }

    public func contains(_ address: IPAddress) -> Bool {
        address.family == family && address.bits & ~CIDR.hostMask(family, prefixLength) == first.bits
    }

    public func contains(_ other: CIDR) -> Bool {
        other.prefixLength >= prefixLength && contains(other.first)
    }

    public func overlaps(_ other: CIDR) -> Bool { contains(other) || other.contains(self) }

    /// The nth address of the block, counted from its first; nil past the end.
    public func address(at offset: UInt128) -> IPAddress? {
        offset <= span ? IPAddress(family, bits: first.bits + offset) : nil
    }

    public var description: String { "\(first)/\(prefixLength)" }

    public static func < (a: CIDR, b: CIDR) -> Bool {
        a.first != b.first ? a.first < b.first : a.prefixLength < b.prefixLength
    }

    private static func hostMask(_ family: IPFamily, _ length: Int) -> UInt128 {
        let host = family.width - length
        return host == 128 ? .max : (1 << UInt128(host)) - 1
    }
}
