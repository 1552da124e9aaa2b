/// FNV-1a over 64 bits: the same number on every host and in every run, which `Hasher` is not.
///
/// Kernel-side numbers (identities, port classes, rule references) are derived from what they stand for, so a
/// manager that starts again computes the numbers that are already in the kernel. Two things with one number
/// are told apart by probing.
struct StableHash {
    private(set) var value: UInt64 = 0xcbf2_9ce4_8422_2325

    mutating func combine(_ bytes: some Sequence<UInt8>) {
        for byte in bytes { value = (value ^ UInt64(byte)) &* 0x100_0000_01b3 }
    }

    /// The text and a separator, so that ("a", "bc") and ("ab", "c") differ.
    mutating func combine(_ text: String) {
        combine(text.utf8)
        combine([0xff])
    }

    mutating func combine(_ number: UInt32) {
        combine([UInt8(truncatingIfNeeded: number >> 24), UInt8(truncatingIfNeeded: number >> 16)])
        combine([UInt8(truncatingIfNeeded: number >> 8), UInt8(truncatingIfNeeded: number)])
    }

    /// Both halves folded together.
    var folded: UInt32 { UInt32(truncatingIfNeeded: value ^ value >> 32) }
}

/// Numbers for things, stable where no two things hash alike.
struct NumberAllocator<Thing: Hashable & Sendable>: Sendable {
    private var numbers: [Thing: UInt32] = [:]
    private var things: [UInt32: Thing] = [:]

    /// The thing's number; `preferred` and its successors are tried until one is free.
    mutating func number(
        for thing: Thing, preferred: @autoclosure () -> UInt32, in range: ClosedRange<UInt32>
    ) -> UInt32 {
        if let known = numbers[thing] { return known }
        let preferred = preferred()
        var candidate =
            range.contains(preferred)
            ? preferred : range.lowerBound + preferred % (range.upperBound - range.lowerBound)
        while things[candidate] != nil {
            candidate = candidate == range.upperBound ? range.lowerBound : candidate + 1
        }
        numbers[thing] = candidate
        things[candidate] = thing
        return candidate
    }

    mutating func release(_ number: UInt32) {
        if let thing = things.removeValue(forKey: number) { numbers[thing] = nil }
    }

    mutating func release(_ thing: Thing) {
        if let number = numbers.removeValue(forKey: thing) { things[number] = nil }
    }

    var count: Int { numbers.count }

    subscript(number: UInt32) -> Thing? { things[number] }
}
