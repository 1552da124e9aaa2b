package import Wire

/// One netlink attribute (`struct nlattr`): a type and a payload that may hold further attributes.
package struct Attribute: Hashable, Sendable {
    /// The type without the "nested" and "network order" bits.
    package let type: UInt16
    package let payload: ArraySlice<UInt8>

    /// The payload read as attributes.
    package func nested() throws(DecodeError) -> [Attribute] { try Attribute.parse(payload) }

    package func integer<T: FixedWidthInteger>(as: T.Type = T.self) throws(DecodeError) -> T {
        var reader = ByteReader(payload)
        return try reader.integer("attribute \(type)")
    }

    package func integerBE<T: FixedWidthInteger>(as: T.Type = T.self) throws(DecodeError) -> T {
        var reader = ByteReader(payload)
        return try reader.integerBE("attribute \(type)")
    }

    /// Text up to the first NUL.
    package var string: String { String(decoding: payload.prefix { $0 != 0 }, as: UTF8.self) }

    /// Splits a run of attributes. A length below the header's or past the end is an error, never a loop.
    package static func parse(_ bytes: ArraySlice<UInt8>) throws(DecodeError) -> [Attribute] {
        var attributes: [Attribute] = []
        var reader = ByteReader(bytes)
        while reader.remaining >= 4 {
            let start = reader.offset
            let length: UInt16 = try reader.integer("nla_len")
            let type: UInt16 = try reader.integer("nla_type")
            guard length >= 4 else {
                throw DecodeError("nla_len", at: start, "\(length) is shorter than the header")
            }
            let payload = try reader.take(Int(length) - 4, "attribute \(type & 0x3fff)")
            let pad = (4 - Int(length) % 4) % 4
            try reader.skip(min(pad, reader.remaining), "padding")
            attributes.append(Attribute(type: type & 0x3fff, payload: payload))
        }
        return attributes
    }
}

extension [Attribute] {
    /// The last attribute of this type, as the kernel's own parser picks it.
    package subscript(type type: UInt16) -> Attribute? { last { $0.type == type } }
}
