/// Builds a buffer front to back; lengths written later are patched in place. Inlined into its callers, for
/// speed.
public struct ByteWriter: Sendable {
    @usableFromInline var storage: [UInt8] = []

    @inlinable public init(capacity: Int = 256) { storage.reserveCapacity(capacity) }

    @inlinable public var bytes: [UInt8] { storage }

    @inlinable public var count: Int { storage.count }

    @inlinable
    public mutating func append(_ more: some Collection<UInt8>) { storage.append(contentsOf: more) }

    /// In host order, as netlink headers want it.
    @inlinable
    public mutating func integer<T: FixedWidthInteger>(_ value: T) {
        #if _endian(little)
            for shift in stride(from: 0, to: T.bitWidth, by: 8) {
                storage.append(UInt8(truncatingIfNeeded: value >> shift))
            }
        #else
            integerBE(value)
        #endif
    }

    /// In network order.
    @inlinable
    public mutating func integerBE<T: FixedWidthInteger>(_ value: T) {
        for shift in stride(from: T.bitWidth - 8, through: 0, by: -8) {
            storage.append(UInt8(truncatingIfNeeded: value >> shift))
        }
    }

    @inlinable
    public mutating func zeros(_ count: Int) { storage.append(contentsOf: repeatElement(0, count: count)) }

    /// Zero bytes up to the next multiple of `alignment`, counted from the start of the buffer.
    @inlinable
    public mutating func pad(to alignment: Int) {
        zeros((alignment - storage.count % alignment) % alignment)
    }

    /// Overwrites a number that was written before, in host order. `offset` must lie in what was written.
    @inlinable
    public mutating func patch<T: FixedWidthInteger>(_ value: T, at offset: Int) {
        for index in 0..<T.bitWidth / 8 {
            #if _endian(little)
                storage[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index))
            #else
                storage[offset + index] = UInt8(truncatingIfNeeded: value >> (T.bitWidth - 8 - 8 * index))
            #endif
        }
    }

    @inlinable
    public mutating func truncate(to count: Int) { storage.removeLast(storage.count - count) }
}
