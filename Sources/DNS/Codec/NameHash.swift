/// A 64-bit hash of names under a secret key, so that nobody outside can choose names that collide.
///
/// Fed byte by byte while a name is read. Each word of eight bytes is folded in by a full multiplication with
/// a secret. Whoever looks something up by it compares the name itself as well.
struct NameHash: Sendable {
    struct Key: Sendable {
        let seed: UInt64
        let factor: UInt64

        init(using generator: inout some RandomNumberGenerator) {
            seed = generator.next()
            factor = generator.next() | 1
        }
    }

    private let key: Key
    private var state: UInt64
    private var word: UInt64 = 0
    private var count: UInt64 = 0

    @inline(__always)
    init(_ key: Key) {
        self.key = key
        state = key.seed
    }

    @inline(__always)
    mutating func add(_ byte: UInt8) {
        word = word << 8 | UInt64(byte)
        count &+= 1
        if count & 7 == 0 {
            fold(word)
            word = 0
        }
    }

    /// A number beside the name: what else tells entries apart.
    @inline(__always)
    static func mixed(_ hash: UInt64, _ number: UInt64, _ key: Key) -> UInt64 {
        let (high, low) = (hash ^ key.factor).multipliedFullWidth(
            by: number ^ key.seed ^ 0x9e37_79b9_7f4a_7c15)
        return high ^ low ^ hash
    }

    @inline(__always)
    private mutating func fold(_ word: UInt64) {
        let (high, low) = (state ^ word).multipliedFullWidth(by: key.factor)
        state = high ^ low ^ word
    }

    @inline(__always)
    consuming func finished() -> UInt64 {
        fold(word ^ count << 56)
        fold(count)
        return state
    }

    static func of(_ name: [UInt8], _ key: Key) -> UInt64 {
        var hash = NameHash(key)
        for byte in name { hash.add(byte) }
        return hash.finished()
    }
}
