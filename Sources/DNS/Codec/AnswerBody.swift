package import Wire

/// What follows header and question in an answer, ready to be sent again and again.
///
/// Names in it are compressed against the question, which stands at byte 12 of every message and is asked in as
/// many bytes as it was the first time. Times to live are those at the moment of the answer; `AnswerBody` says
/// how they age.
struct AnswerBody: Hashable, Sendable {
    var code: ResponseCode
    /// RFC 4035 section 3.2.3: the upstream vouches for it.
    var authentic = false
    var answers: UInt16 = 0
    var authority: UInt16 = 0
    /// Seconds for which it may be kept; 0 if not at all.
    var lifetime: UInt32 = 0
    var records: [UInt8] = []

    /// Calls `visit` with each record: its type, where its time to live is, and where its data are.
    ///
    /// - Parameter bytes: holds records that `AnswerBuilder` wrote, from `start` on.
    static func forEachRecord(
        _ bytes: [UInt8], from start: Int, _ visit: (RecordType, _ ttl: Int, _ data: Range<Int>) -> Void
    ) {
        var position = start
        while position < bytes.count, let fields = skipName(bytes, position, bytes.count),
            fields + 10 <= bytes.count
        {
            let end = fields + 10 + Int(number(bytes, fields + 8))
            guard end <= bytes.count else { return }
            visit(RecordType(rawValue: number(bytes, fields)), fields + 4, fields + 10..<end)
            position = end
        }
    }

    /// Ends it before the record that would bring more addresses than this.
    mutating func cut(addresses most: Int) {
        var (left, kept, end) = (most, 0, 0)
        var isOver = false
        Self.forEachRecord(records, from: 0) { type, _, data in
            left -= RecordAddresses.of(type, records[data]).count
            isOver = isOver || left < 0
            guard !isOver else { return }
            (kept, end) = (kept + 1, data.upperBound)
        }
        // Names point to what is before them: the rest is as good as it was.
        guard isOver else { return }
        records.removeLast(records.count - end)
        authority = UInt16(max(kept - Int(answers), 0))
        answers = UInt16(min(kept, Int(answers)))
    }

    /// The addresses in it, each with the seconds it has left.
    static func addresses(
        in records: [UInt8], from start: Int = 0, age: UInt32 = 0
    ) -> [LearntAddress] {
        var found: [LearntAddress] = []
        forEachRecord(records, from: start) { type, ttl, data in
            for address in RecordAddresses.of(type, records[data]) {
                found.append(LearntAddress(address: address, ttl: remaining(number32(records, ttl), age)))
            }
        }
        return found
    }

    @inline(__always)
    static func remaining(_ ttl: UInt32, _ age: UInt32) -> UInt32 { ttl > age ? ttl - age : 0 }
}

/// Writes the records of an answer to one question, with names compressed (RFC 1035 section 4.1.4).
struct AnswerBuilder {
    private(set) var body: AnswerBody
    /// Of the first record in the message.
    private let base: Int
    /// Where names, and the ends of names, are in the message.
    private var places: [ArraySlice<UInt8>: Int] = [:]

    init(_ name: DomainName, code: ResponseCode = .noError) {
        body = AnswerBody(code: code)
        base = Limit.header + name.wire.count + 4
        remember(name.wire[...], at: Limit.header)
    }

    enum Section {
        case answer
        case authority
    }

    /// - Parameter data: with names written out.
    /// - Returns: false if the message would be too long; nothing was added then.
    mutating func append(
        _ section: Section, _ owner: DomainName, _ type: RecordType, ttl: UInt32, data: [UInt8]
    ) -> Bool {
        guard base + body.records.count + owner.wire.count + data.count + 10 <= Limit.message - 512 else {
            return false
        }
        name(owner.wire[...])
        append(type.rawValue)
        append(internetClass)
        append(UInt16(truncatingIfNeeded: ttl >> 16))
        append(UInt16(truncatingIfNeeded: ttl))
        let length = body.records.count
        append(UInt16(0))
        switch type {
        case .ns, .cname, .ptr: name(data[...])
        case .mx:
            body.records += data.prefix(2)
            name(data.dropFirst(2))
        case .soa:
            // Two names, the first of which ends at its root.
            let second = skipName(data, 0, data.count) ?? 0
            name(data[..<second])
            name(data[second..<max(second, data.count - 20)])
            body.records += data.suffix(20)
        default: body.records += data
        }
        let written = UInt16(body.records.count - length - 2)
        body.records[length] = UInt8(written >> 8)
        body.records[length + 1] = UInt8(truncatingIfNeeded: written)
        switch section {
        case .answer: body.answers += 1
        case .authority: body.authority += 1
        }
        return true
    }

    func finished(lifetime: UInt32, authentic: Bool = false) -> AnswerBody {
        var body = body
        body.lifetime = lifetime
        body.authentic = authentic
        return body
    }

    private mutating func append(_ value: UInt16) {
        body.records.append(UInt8(value >> 8))
        body.records.append(UInt8(truncatingIfNeeded: value))
    }

    /// Writes labels up to an end of the name that is somewhere already, and a pointer to that.
    private mutating func name(_ wire: ArraySlice<UInt8>) {
        var rest = wire
        while let length = rest.first, length != 0 {
            if let place = places[rest] {
                append(0xc000 | UInt16(place))
                return
            }
            remember(rest, at: base + body.records.count, whole: false)
            let end = rest.startIndex + Int(length) + 1
            body.records += rest[rest.startIndex..<end]
            rest = rest[end...]
        }
        body.records.append(0)
    }

    private mutating func remember(_ wire: ArraySlice<UInt8>, at place: Int, whole: Bool = true) {
        var (rest, place) = (wire, place)
        while let length = rest.first, length != 0, place < 0x4000 {
            if places[rest] == nil { places[rest] = place }
            if !whole { return }
            rest = rest.dropFirst(Int(length) + 1)
            place += Int(length) + 1
        }
    }
}

/// An address that a name stands for, and for how many seconds.
package struct LearntAddress: Hashable, Sendable {
    package let address: IPAddress
    package let ttl: UInt32

    package init(address: IPAddress, ttl: UInt32) {
        self.address = address
        self.ttl = ttl
    }
}
