internal import Wire

/// Answers of upstreams, each for as long as it says it is good (RFC 1034 section 4.3.4, RFC 2308).
///
/// Bounded in entries and in bytes: what is full makes room by the *clock* rule, so that an answer which was
/// used since the hand last passed stays. An entry is one array of bytes, name and records together, and a
/// slot of 32 bytes; `footprint` counts all of it, and never goes beyond 300 bytes for each entry that there
/// is room for. Confined to the resolver's thread.
struct DNSCache {
    /// Room for each entry, in bytes of memory.
    static let bytesPerEntry = 300

    private struct Slot {
        /// Name, then records. Empty if the slot is free.
        var bytes: [UInt8] = []
        /// Seconds of the resolver's clock.
        var stored: UInt32 = 0
        var lifetime: UInt32 = 0
        var answers: UInt16 = 0
        var authority: UInt16 = 0
        var nameLength: UInt8 = 0
        var code: UInt8 = 0
        var authentic = false
        var used = false
    }

    /// Of an entry: the hash of name, type and what else makes the answer another one. Two names that have it
    /// in common take each other's place.
    private var index: [UInt64: Int32] = [:]
    private var slots: [Slot] = []
    private var keys: [UInt64] = []
    private var free: [Int32] = []
    private var hand = 0
    private let limit: Int
    private var dataBytes = 0

    package init(entries: Int) { limit = max(1, entries) }

    var count: Int { index.count }

    /// Bytes of memory, as the allocator hands them out.
    var footprint: Int {
        func block(_ bytes: Int) -> Int { (bytes + 8 + 15) & ~15 }
        // A dictionary of Swift's: 9 to 12 bytes a bucket, buckets a power of two at most three quarters full.
        var buckets = 1
        while buckets * 3 / 4 < index.capacity { buckets *= 2 }
        return dataBytes + block(32 + slots.capacity * MemoryLayout<Slot>.stride)
            + block(32 + keys.capacity * 8) + block(32 + free.capacity * 4)
            + block(64 + buckets * 12 + buckets / 8)
    }

    /// What an array of so many bytes takes: 32 bytes of its own before them, and the allocator's rounding.
    private static func size(_ bytes: [UInt8]) -> Int {
        bytes.isEmpty ? 0 : (32 + bytes.capacity + 8 + 15) & ~15
    }

    /// An answer that is still good, and its age in seconds.
    struct Hit: Hashable {
        let body: AnswerBody
        let age: UInt32
    }

    /// - Parameter now: seconds.
    mutating func find(_ key: UInt64, _ name: QueryName, now: UInt32) -> Hit? {
        guard let position = index[key] else { return nil }
        let at = Int(position)
        let age = now &- slots[at].stored
        guard age < slots[at].lifetime else {
            remove(at)
            return nil
        }
        let length = Int(slots[at].nameLength)
        guard length == name.count else { return nil }
        for byte in 0..<length where slots[at].bytes[byte] != name.bytes[byte] { return nil }
        slots[at].used = true
        let slot = slots[at]
        return Hit(
            body: AnswerBody(
                code: ResponseCode(rawValue: slot.code), authentic: slot.authentic, answers: slot.answers,
                authority: slot.authority, lifetime: slot.lifetime, records: Array(slot.bytes[length...])),
            age: age)
    }

    mutating func insert(_ key: UInt64, _ name: DomainName, _ body: AnswerBody, now: UInt32) {
        guard body.lifetime > 0 else { return }
        if let old = index[key] { remove(Int(old)) }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(name.wire.count + body.records.count)
        bytes += name.wire
        bytes += body.records
        let size = Self.size(bytes)
        // A share of the whole for one answer: the largest would push out thousands.
        guard size <= max(4096, limit * Self.bytesPerEntry / 64) else { return }
        while count >= limit || count > 0 && dataBytes + size > limit * (Self.bytesPerEntry - 100) {
            evict(now)
        }
        let at: Int
        if let reused = free.popLast() {
            at = Int(reused)
        } else {
            at = slots.count
            slots.append(Slot())
            keys.append(0)
        }
        slots[at] = Slot(
            bytes: bytes, stored: now, lifetime: body.lifetime, answers: body.answers,
            authority: body.authority, nameLength: UInt8(name.wire.count), code: body.code.rawValue,
            authentic: body.authentic, used: false)
        keys[at] = key
        index[key] = Int32(at)
        dataBytes += size
    }

    mutating func removeAll() {
        index = [:]
        slots = []
        keys = []
        free = []
        hand = 0
        dataBytes = 0
    }

    private mutating func remove(_ at: Int) {
        dataBytes -= Self.size(slots[at].bytes)
        index[keys[at]] = nil
        slots[at] = Slot()
        free.append(Int32(at))
    }

    /// Frees one slot. Goes round twice at most: the first time takes every mark away.
    private mutating func evict(_ now: UInt32) {
        while true {
            hand = (hand + 1) % slots.count
            if slots[hand].bytes.isEmpty { continue }
            if slots[hand].used, now &- slots[hand].stored < slots[hand].lifetime {
                slots[hand].used = false
                continue
            }
            remove(hand)
            return
        }
    }
}
