/// Input that ended early or says something impossible, with the offset where.
public struct DecodeError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The field being read.
    public let field: String
    /// Bytes from the start of the buffer.
    public let offset: Int
    public let reason: String

    public init(_ field: String, at offset: Int, _ reason: String) {
        self.field = field
        self.offset = offset
        self.reason = reason
    }

    public var description: String { "\(field) at byte \(offset): \(reason)" }
}

/// Reads fixed-width numbers and byte runs from a buffer, front to back, each read bounds-checked.
///
/// Numbers are host-endian unless the name says `BE`: netlink headers are in host order, packet headers in
/// network order.
///
/// Inlined into its callers: without that every number is read through generic witnesses, which is twenty
/// times slower.
public struct ByteReader: Sendable {
    @usableFromInline let bytes: ArraySlice<UInt8>
    @usableFromInline var position: Int

    @inlinable
    public init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        position = bytes.startIndex
    }

    @inlinable
    public init(_ bytes: [UInt8]) { self.init(bytes[...]) }

    @inlinable public var remaining: Int { bytes.endIndex - position }
    /// Bytes read so far.
    @inlinable public var offset: Int { position - bytes.startIndex }
    /// What has not been read yet.
    @inlinable public var rest: ArraySlice<UInt8> { bytes[position...] }

    @inlinable
    public mutating func take(_ count: Int, _ field: @autoclosure () -> String) throws(DecodeError)
        -> ArraySlice<UInt8>
    {
        let start = position
        try skip(count, field())
        return bytes[start..<position]
    }

    @inlinable
    public mutating func skip(_ count: Int, _ field: @autoclosure () -> String) throws(DecodeError) {
        guard count >= 0, count <= remaining else {
            throw DecodeError(field(), at: offset, "needs \(count) bytes, \(remaining) left")
        }
        position += count
    }

    @inlinable
    public mutating func integer<T: FixedWidthInteger>(
        _ field: @autoclosure () -> String, as: T.Type = T.self
    ) throws(DecodeError) -> T {
        // Reading in network order and swapping back, if this host's order differs, gives the host's.
        T(bigEndian: try integerBE(field()))
    }

    @inlinable
    public mutating func integerBE<T: FixedWidthInteger>(
        _ field: @autoclosure () -> String, as: T.Type = T.self
    ) throws(DecodeError) -> T {
        let start = position
        try skip(T.bitWidth / 8, field())
        var value: T = 0
        for index in start..<position {
            value =
                T.bitWidth == 8
                ? T(truncatingIfNeeded: bytes[index]) : value << 8 | T(truncatingIfNeeded: bytes[index])
        }
        return value
    }
}
