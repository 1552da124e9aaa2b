/// How a status message travels (gRPC over HTTP/2, "Percent-Encoded").
package enum PercentCoding {
    private static let digits = Array("0123456789ABCDEF".utf8)

    package static func encoded(_ text: String) -> String {
        var bytes: [UInt8] = []
        for byte in text.utf8 {
            if (0x20...0x7e).contains(byte), byte != UInt8(ascii: "%") {
                bytes.append(byte)
            } else {
                bytes += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// What is not well encoded stays as it is.
    package static func decoded(_ text: String) -> String {
        let encoded = Array(text.utf8)
        var bytes: [UInt8] = []
        var position = 0
        while position < encoded.count {
            if encoded[position] == UInt8(ascii: "%"), position + 2 < encoded.count,
                let high = hexDigit(encoded[position + 1]), let low = hexDigit(encoded[position + 2])
            {
                bytes.append(high << 4 | low)
                position += 3
            } else {
                bytes.append(encoded[position])
                position += 1
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func hexDigit(_ byte: UInt8) -> UInt8? {
        Character(UnicodeScalar(byte)).hexDigitValue.map { UInt8($0) }
    }
}
