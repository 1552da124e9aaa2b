/// The text of an address under construction. Addresses are worded for every call and every log line: one
/// allocation, no parts to be joined.
struct AddressText {
    private var bytes: [UInt8] = []

    init(capacity: Int) { bytes.reserveCapacity(capacity) }

    var text: String { String(decoding: bytes, as: UTF8.self) }

    mutating func append(_ character: Unicode.Scalar) { bytes.append(UInt8(ascii: character)) }

    /// Without leading zeros.
    mutating func append(decimal byte: UInt8) {
        if byte >= 100 { bytes.append(Self.digit(byte / 100)) }
        if byte >= 10 { bytes.append(Self.digit(byte / 10 % 10)) }
        bytes.append(Self.digit(byte % 10))
    }

    /// In lower case, with leading zeros up to `width` digits.
    mutating func append(hexadecimal number: UInt16, width: Int = 1) {
        for position in (0..<4).reversed() {
            let rest = number >> (4 * position)
            if rest != 0 || position < width { bytes.append(Self.digit(UInt8(rest & 15))) }
        }
    }

    private static func digit(_ value: UInt8) -> UInt8 {
        value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
    }
}
