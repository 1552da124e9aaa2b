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
/// Numbers are host-endian unless the name says `BE`: netlink headers are in host order, packet headers in network order.
public struct ByteReader: Sendable {
    private let bytes: ArraySlice<UInt8>
    private var position: Int

    public init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        position = bytes.startIndex
    }

    public init(_ bytes: [UInt8]) { self.init(bytes[...]) }

    public var remaining: Int { bytes.endIndex - position }
    /// Bytes read so far.
    public var offset: Int { position - bytes.startIndex }
    /// What has not been read yet.
    public var rest: ArraySlice<UInt8> { bytes[position...] }

    public mutating func take(_ count: Int, _ field: @autoclosure () -> String) throws(DecodeError) -> ArraySlice<UInt8> {
        guard count >= 0, count <= remaining else {
            throw DecodeError(field(), at: offset, "needs \(count) bytes, \(remaining) left")
        }
        defer { position += count }
        return bytes[position..<position + count]
    }

    public mutating func skip(_ count: Int, _ field: @autoclosure () -> String) throws(DecodeError) {
        _ = try take(count, field())
    }

    public mutating func integer<T: FixedWidthInteger>(
        _ field: @autoclosure () -> String, as: T.Type = T.self
    ) throws(DecodeError) -> T {
        T(littleEndian: fold(try take(T.bitWidth / 8, field()).reversed()))
    }

    public mutating func integerBE<T: FixedWidthInteger>(
        _ field: @autoclosure () -> String, as: T.Type = T.self
    ) throws(DecodeError) -> T {
        fold(try take(T.bitWidth / 8, field()))
    }

    private func fold<T: FixedWidthInteger>(_ bytes: some Sequence<UInt8>) -> T {
        bytes.reduce(0) { T.bitWidth == 8 ? T(truncatingIfNeeded: $1) : $0 << 8 | T(truncatingIfNeeded: $1) }
    }
}
