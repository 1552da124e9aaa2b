/// A 32-bit Internet address (RFC 791).
public struct IPv4Address: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The address as a number, first byte on the wire highest.
    public let bits: UInt32

    public init(bits: UInt32) { self.bits = bits }

    /// Reads dotted-decimal text: four numbers, no leading zeros (some programs read those as octal).
    public init(_ text: some StringProtocol) throws(ParseError) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else {
            throw ParseError("IPv4 address", text, "expected four numbers such as 10.0.0.1")
        }
        var bits: UInt32 = 0
        for part in parts {
            guard let byte = decimal(part, atMost: 255) else {
                throw ParseError("IPv4 address", text, "\"\(part.prefix(10))\" is not a number from 0 to 255")
            }
            bits = bits << 8 | UInt32(byte)
        }
        self.bits = bits
    }

    public var bytes: [UInt8] { [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: bits >> $0) } }
    public var description: String {
        var text = AddressText(capacity: 15)
        for shift in [24, 16, 8, 0] as [UInt32] {
            text.append(decimal: UInt8(truncatingIfNeeded: bits >> shift))
            if shift > 0 { text.append(".") }
        }
        return text.text
    }
    public static func < (a: IPv4Address, b: IPv4Address) -> Bool { a.bits < b.bits }
}

/// A 128-bit Internet address (RFC 8200).
public struct IPv6Address: Hashable, Comparable, Sendable, CustomStringConvertible {
    // Two halves: a stored UInt128 asks for 16-byte alignment, which Swift 6.3 does not always give to copies
    // on the stack (a crash on x86-64, seen without optimization), and makes every value that holds an
    // address larger.
    private let high: UInt64
    private let low: UInt64

    /// The address as a number, first byte on the wire highest.
    public var bits: UInt128 { UInt128(high) << 64 | UInt128(low) }

    public init(bits: UInt128) {
        high = UInt64(truncatingIfNeeded: bits >> 64)
        low = UInt64(truncatingIfNeeded: bits)
    }

    /// Reads the text forms of RFC 4291 section 2.2, without a zone.
    public init(_ text: some StringProtocol) throws(ParseError) {
        func refuse(_ reason: String) -> ParseError { ParseError("IPv6 address", text, reason) }
        guard text.utf8.count <= 45 else { throw refuse("too long") }

        // At most one "::" stands for the run of zeros.
        var halves: [[UInt16]] = [[]]
        var rest = Substring(text)
        if rest.hasPrefix("::") {
            halves.append([])
            rest = rest.dropFirst(2)
        }
        while !rest.isEmpty {
            let end = rest.firstIndex(of: ":") ?? rest.endIndex
            let group = rest[..<end]
            if group.contains(".") {
                guard end == rest.endIndex, let v4 = try? IPv4Address(group) else {
                    throw refuse("\"\(group)\" is not an IPv4 address at the end")
                }
                halves[halves.count - 1] += [UInt16(v4.bits >> 16), UInt16(truncatingIfNeeded: v4.bits)]
                break
            }
            guard (1...4).contains(group.utf8.count), group.utf8.allSatisfy(isHexDigit),
                let value = UInt16(group, radix: 16)
            else { throw refuse("\"\(group)\" is not a group of up to four hexadecimal digits") }
            halves[halves.count - 1].append(value)
            guard end < rest.endIndex else { break }
            rest = rest[rest.index(after: end)...]
            if rest.isEmpty { throw refuse("ends in a single colon") }
            if rest.hasPrefix(":") {
                guard halves.count == 1 else { throw refuse("\"::\" may stand once") }
                halves.append([])
                rest = rest.dropFirst()
            }
        }
        let count = halves.reduce(0) { $0 + $1.count }
        if halves.count == 1 {
            guard count == 8 else { throw refuse("expected eight groups or \"::\"") }
        } else {
            guard count <= 7 else { throw refuse("too many groups") }
            halves.insert(Array(repeating: 0, count: 8 - count), at: 1)
        }
        self.init(bits: halves.joined().reduce(0) { $0 << 16 | UInt128($1) })
    }

    public var bytes: [UInt8] { (0..<16).map { UInt8(truncatingIfNeeded: bits >> (120 - 8 * $0)) } }

    public var isLinkLocal: Bool { bits >> 118 == 0xfe80 >> 6 }
    public var isMulticast: Bool { bits >> 120 == 0xff }

    /// The canonical text of RFC 5952: lower case, the longest run of zeros shortened.
    public var description: String {
        let groups = (0..<8).map { UInt16(truncatingIfNeeded: bits >> (112 - 16 * $0)) }
        var best = 0..<0
        var start = 0
        while start < 8 {
            var end = start
            while end < 8, groups[end] == 0 { end += 1 }
            if end - start > max(best.count, 1) { best = start..<end }
            start = max(end, start + 1)
        }
        var text = AddressText(capacity: 39)
        var index = 0
        while index < 8 {
            if index == best.lowerBound, !best.isEmpty {
                text.append(":")
                text.append(":")
                index = best.upperBound
                continue
            }
            if index > 0, index != best.upperBound || best.isEmpty { text.append(":") }
            text.append(hexadecimal: groups[index])
            index += 1
        }
        return text.text
    }

    public static func < (a: IPv6Address, b: IPv6Address) -> Bool { a.bits < b.bits }
}

/// The version of the Internet protocol.
public enum IPFamily: UInt8, Hashable, Sendable, CaseIterable, CustomStringConvertible {
    case v4 = 4
    case v6 = 6

    /// The length of an address in bits.
    public var width: Int { self == .v4 ? 32 : 128 }
    public var description: String { self == .v4 ? "IPv4" : "IPv6" }
}

/// An address of either family.
public enum IPAddress: Hashable, Comparable, Sendable, CustomStringConvertible {
    case v4(IPv4Address)
    case v6(IPv6Address)

    public init(_ text: some StringProtocol) throws(ParseError) {
        if text.contains(":") {
            self = .v6(try IPv6Address(text))
        } else if text.contains(".") {
            self = .v4(try IPv4Address(text))
        } else {
            throw ParseError("IP address", text, "neither an IPv4 nor an IPv6 address")
        }
    }

    /// Four or sixteen bytes in wire order; nil for any other count.
    @inlinable
    public init?(bytes: some Collection<UInt8>) {
        switch bytes.count {
        case 4: self = .v4(IPv4Address(bits: bytes.reduce(0) { $0 << 8 | UInt32($1) }))
        case 16: self = .v6(IPv6Address(bits: bytes.reduce(0) { $0 << 8 | UInt128($1) }))
        default: return nil
        }
    }

    /// The address of `family` with this number; bits that do not fit are dropped.
    public init(_ family: IPFamily, bits: UInt128) {
        switch family {
        case .v4: self = .v4(IPv4Address(bits: UInt32(truncatingIfNeeded: bits)))
        case .v6: self = .v6(IPv6Address(bits: bits))
        }
    }

    public var family: IPFamily {
        switch self {
        case .v4: .v4
        case .v6: .v6
        }
    }

    /// The address as a number.
    public var bits: UInt128 {
        switch self {
        case .v4(let address): UInt128(address.bits)
        case .v6(let address): address.bits
        }
    }

    public var bytes: [UInt8] {
        switch self {
        case .v4(let address): address.bytes
        case .v6(let address): address.bytes
        }
    }

    public var description: String {
        switch self {
        case .v4(let address): address.description
        case .v6(let address): address.description
        }
    }

    /// IPv4 sorts before IPv6.
    public static func < (a: IPAddress, b: IPAddress) -> Bool {
        (a.family.rawValue, a.bits) < (b.family.rawValue, b.bits)
    }
}

/// Decimal digits without sign, spaces or leading zeros.
func decimal(_ text: some StringProtocol, atMost limit: Int) -> Int? {
    guard (1...9).contains(text.utf8.count), text.utf8.allSatisfy({ (48...57).contains($0) }),
        text.utf8.count == 1 || text.utf8.first != 48, let value = Int(text), value <= limit
    else { return nil }
    return value
}
