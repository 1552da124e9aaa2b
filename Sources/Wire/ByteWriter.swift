/// Builds a buffer front to back; lengths written later are patched in place.
public struct ByteWriter: Sendable {
    public private(set) var bytes: [UInt8] = []

    public init(capacity: Int = 256) { bytes.reserveCapacity(capacity) }

    public var count: Int { bytes.count }

    public mutating func append(_ more: some Collection<UInt8>) { bytes.append(contentsOf: more) }

    /// In host order, as netlink headers want it.
    public mutating func integer<T: FixedWidthInteger>(_ value: T) {
        #if _endian(little)
            for shift in stride(from: 0, to: T.bitWidth, by: 8) { bytes.append(UInt8(truncatingIfNeeded: value >> shift)) }
        #else
            integerBE(value)
        #endif
    }

    /// In network order.
    public mutating func integerBE<T: FixedWidthInteger>(_ value: T) {
        for shift in stride(from: T.bitWidth - 8, through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: value >> shift))
        }
    }

    public mutating func zeros(_ count: Int) { bytes.append(contentsOf: repeatElement(0, count: count)) }

    /// Zero bytes up to the next multiple of `alignment`, counted from the start of the buffer.
    public mutating func pad(to alignment: Int) {
        zeros((alignment - bytes.count % alignment) % alignment)
    }

    /// Overwrites a number that was written before, in host order. `offset` must lie in what was written.
    public mutating func patch<T: FixedWidthInteger>(_ value: T, at offset: Int) {
        var number = ByteWriter(capacity: 8)
        number.integer(value)
        bytes.replaceSubrange(offset..<offset + number.count, with: number.bytes)
    }

    public mutating func truncate(to count: Int) { bytes.removeLast(bytes.count - count) }
}
