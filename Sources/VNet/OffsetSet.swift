/// A sparse set of numbers that finds the next one not in it at constant cost, however full it is.
///
/// A tree of bitmaps, 64 to a block: a bit of level 0 is a number in use, a bit of level n + 1 a full block
/// of level n. Only blocks with a bit set are kept, so a /8 with ten endpoints costs ten entries, and a
/// search climbs only over full ones.
///
///     level 1   ...0100...                 block 1 of level 0 is full
///     level 0   ...0110   1111...1111   0001...
struct OffsetSet: Sendable {
    /// A block's number. Kept as two halves: what holds a UInt128 asks for 16-byte alignment, which Swift 6.3
    /// does not always give to copies on the stack.
    private struct Block: Hashable {
        let high: UInt64
        let low: UInt64

        init(_ number: UInt128) {
            high = UInt64(truncatingIfNeeded: number >> 64)
            low = UInt64(truncatingIfNeeded: number)
        }
    }

    private var levels: [[Block: UInt64]] = [[:]]
    private(set) var count = 0

    func contains(_ number: UInt128) -> Bool { bits(0, number >> 6) & bit(number) != 0 }

    /// - Returns: whether it was not in the set before.
    @discardableResult
    mutating func insert(_ number: UInt128) -> Bool {
        guard !contains(number) else { return false }
        count += 1
        var number = number
        var level = 0
        while true {
            if level == levels.count { levels.append([:]) }
            levels[level][Block(number >> 6), default: 0] |= bit(number)
            guard bits(level, number >> 6) == .max else { return true }
            number >>= 6
            level += 1
        }
    }

    /// - Returns: whether it was in the set before.
    @discardableResult
    mutating func remove(_ number: UInt128) -> Bool {
        guard contains(number) else { return false }
        count -= 1
        var number = number
        for level in levels.indices {
            let before = bits(level, number >> 6)
            let after = before & ~bit(number)
            levels[level][Block(number >> 6)] = after == 0 ? nil : after
            // Only a block that was full has a bit above.
            guard before == .max else { break }
            number >>= 6
        }
        return true
    }

    /// The smallest number from `start` on that is not in the set.
    func firstGap(from start: UInt128) -> UInt128 {
        var level = 0
        var number = start
        // Up, until a block has a gap at or after the number.
        while true {
            let gaps = ~bits(level, number >> 6) & (.max << UInt64(number & 63))
            if gaps != 0 {
                number = number & ~63 | UInt128(gaps.trailingZeroBitCount)
                break
            }
            number = (number >> 6) + 1
            level += 1
        }
        // And down again, to the first gap in each block.
        while level > 0 {
            level -= 1
            number = number << 6 | UInt128((~bits(level, number)).trailingZeroBitCount)
        }
        return number
    }

    private func bits(_ level: Int, _ block: UInt128) -> UInt64 {
        level < levels.count ? levels[level][Block(block)] ?? 0 : 0
    }

    private func bit(_ number: UInt128) -> UInt64 { 1 << UInt64(number & 63) }
}
