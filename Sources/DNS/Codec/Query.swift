/// What a client asks, read in one pass over its message and without allocating.
///
/// Once read: the message is a query for one name of the Internet class, whose bytes are at `name` in the
/// message, uncompressed, and in lower case in the `QueryName` given.
struct Query {
    let id: UInt16
    let flags: UInt16
    /// Of the name in the message, root included.
    let name: Range<Int>
    let type: RecordType
    let questionClass: UInt16
    /// Under the key of the `QueryName`.
    let hash: UInt64
    /// The client speaks EDNS (RFC 6891), and takes this many bytes over UDP.
    let hasEDNS: Bool
    let version: UInt8
    let room: Int
    /// RFC 3225: it wants signatures.
    let wantsSignatures: Bool

    var questionEnd: Int { name.upperBound + 4 }
    var recursionDesired: Bool { flags & HeaderFlags.recursionDesired != 0 }
    var checkingDisabled: Bool { flags & HeaderFlags.checkingDisabled != 0 }
    /// RFC 6840 section 5.7: the client understands AD.
    var wantsAuthenticData: Bool { flags & HeaderFlags.authenticData != 0 || wantsSignatures }

    /// Why a message is not a query that can be answered by name.
    enum Refusal: Error {
        /// Not even a header, or a response: an answer might start a loop between two servers.
        case silent
        case code(ResponseCode)
    }

    /// Reads `bytes[range]`, which must lie within `bytes`.
    init(
        _ bytes: [UInt8], _ range: Range<Int>, into scratch: inout QueryName
    ) throws(Refusal) {
        let start = range.lowerBound
        let end = range.upperBound
        guard end - start >= Limit.header else { throw .silent }
        id = number(bytes, start)
        flags = number(bytes, start + 2)
        guard flags & HeaderFlags.response == 0 else { throw .silent }
        guard HeaderFlags.opcode(flags) == 0 else { throw .code(.notImplemented) }
        // One question; queries bring no answers, and of other records only what EDNS and TSIG need.
        guard number(bytes, start + 4) == 1, number(bytes, start + 6) == 0,
            flags & HeaderFlags.truncated == 0
        else { throw .code(.formatError) }

        guard let nameEnd = scratch.read(bytes, at: start + Limit.header, end: end), nameEnd + 4 <= end else {
            throw .code(.formatError)
        }
        name = start + Limit.header..<nameEnd
        hash = scratch.hash
        type = RecordType(rawValue: number(bytes, nameEnd))
        questionClass = number(bytes, nameEnd + 2)

        let others = Int(number(bytes, start + 8)) + Int(number(bytes, start + 10))
        var options = Options()
        if others > 0 {
            guard others <= 8, options.read(bytes, nameEnd + 4, end, count: others) else {
                throw .code(.formatError)
            }
        }
        hasEDNS = options.present
        version = options.version
        // RFC 6891 section 6.2.3: less than 512 counts as 512.
        room = min(max(Int(options.room), Limit.plainUDP), Limit.udp)
        wantsSignatures = options.wantsSignatures
    }

    /// The OPT record (RFC 6891 section 6.1.2), found among the records behind the question.
    private struct Options {
        var present = false
        var room: UInt16 = 0
        var version: UInt8 = 0
        var wantsSignatures = false

        /// - Returns: false if the records make no sense.
        mutating func read(_ bytes: [UInt8], _ start: Int, _ end: Int, count: Int) -> Bool {
            var position = start
            for _ in 0..<count {
                guard let fields = skipName(bytes, position, end), fields + 10 <= end else { return false }
                let type = RecordType(rawValue: number(bytes, fields))
                let next = fields + 10 + Int(number(bytes, fields + 8))
                guard next <= end else { return false }
                if type == .opt {
                    // Its owner is the root, and there is only one.
                    guard !present, fields == position + 1 else { return false }
                    present = true
                    room = number(bytes, fields + 2)
                    version = bytes[fields + 5]
                    wantsSignatures = bytes[fields + 6] & 0x80 != 0
                }
                position = next
            }
            return true
        }
    }
}

/// Room for one name in lower case, used again for each query.
struct QueryName {
    let key: NameHash.Key
    private(set) var bytes = [UInt8](repeating: 0, count: Limit.name + 1)
    private(set) var count = 0
    private(set) var hash: UInt64 = 0
    /// Labels, without the root's.
    private(set) var labels = 0

    init(key: NameHash.Key) { self.key = key }

    /// The name as a value of its own.
    var name: DomainName { DomainName(checked: Array(bytes[..<count])) }

    /// Reads the uncompressed name at `start`: in the question, which comes first, a pointer could only lead
    /// into the header.
    /// - Returns: where it ends; nil if it is no name.
    mutating func read(_ source: [UInt8], at start: Int, end: Int) -> Int? {
        var position = start
        var written = 0
        var hashing = NameHash(key)
        labels = 0
        while true {
            guard position < end else { return nil }
            let length = Int(source[position])
            bytes[written] = source[position]
            hashing.add(source[position])
            written += 1
            position += 1
            if length == 0 { break }
            guard length <= Limit.label, position + length <= end, written + length < Limit.name else {
                return nil
            }
            for _ in 0..<length {
                let byte = lowerCased(source[position])
                bytes[written] = byte
                hashing.add(byte)
                written += 1
                position += 1
            }
            labels += 1
        }
        count = written
        hash = hashing.finished()
        return position
    }

    func equals(_ other: [UInt8]) -> Bool {
        guard other.count == count else { return false }
        for index in 0..<count where other[index] != bytes[index] { return false }
        return true
    }

    func isWithin(_ zone: DomainName) -> Bool {
        let start = count - zone.wire.count
        guard start >= 0 else { return false }
        for index in 0..<zone.wire.count where bytes[start + index] != zone.wire[index] { return false }
        var position = 0
        while position < start { position += Int(bytes[position]) + 1 }
        return position == start
    }
}

/// A 16-bit number in network order. The caller has checked that it is there.
@inline(__always)
func number(_ bytes: [UInt8], _ at: Int) -> UInt16 {
    UInt16(bytes[at]) << 8 | UInt16(bytes[at + 1])
}

@inline(__always)
func number32(_ bytes: [UInt8], _ at: Int) -> UInt32 {
    UInt32(number(bytes, at)) << 16 | UInt32(number(bytes, at + 2))
}

/// Where a name ends that may be compressed; nil if it does not end.
func skipName(_ bytes: [UInt8], _ start: Int, _ end: Int) -> Int? {
    var position = start
    while position < end {
        let length = Int(bytes[position])
        if length == 0 { return position + 1 }
        if length >= 0xc0 { return position + 2 <= end ? position + 2 : nil }
        guard length <= Limit.label else { return nil }
        position += length + 1
        if position - start > Limit.name { return nil }
    }
    return nil
}
