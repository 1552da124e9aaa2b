internal import Sys
internal import Wire

/// Writing answers into the outbox.
extension Resolver {
    /// Header and question, the latter as it was asked, letter by letter.
    func begin(
        _ reply: ReplyContext, _ code: ResponseCode, authoritative: Bool = false, authentic: Bool = false
    ) {
        let query = reply.query
        let start = outbox.bytes.count
        outbox.bytes.append(contentsOf: reply.bytes[reply.range.lowerBound..<query.questionEnd])
        var flags = HeaderFlags.response | HeaderFlags.recursionAvailable
        flags |= query.flags & (HeaderFlags.recursionDesired | HeaderFlags.checkingDisabled)
        if authoritative { flags |= HeaderFlags.authoritative }
        if authentic, query.wantsAuthenticData { flags |= HeaderFlags.authenticData }
        set(flags | UInt16(code.rawValue & 0xf), at: start + 2)
        set(0, at: start + 6)
        set(0, at: start + 8)
        set(0, at: start + 10)
    }

    /// Counts, EDNS if the client speaks it, and the end.
    func finish(
        _ reply: ReplyContext, answers: UInt16, authority: UInt16 = 0, code: ResponseCode = .noError,
        error: ExtendedError? = nil
    ) {
        let query = reply.query
        let start = outbox.start
        let overUDP = reply.client.connection == 0
        let room = overUDP ? (query.hasEDNS ? query.room : Limit.plainUDP) : Limit.message
        let options = query.hasEDNS ? (error == nil ? 11 : 17) : 0
        if outbox.bytes.count - start + options <= room {
            set(answers, at: start + 6)
            set(authority, at: start + 8)
        } else {
            // RFC 2181 section 9: who is told that there is more asks again over TCP.
            outbox.bytes.removeLast(outbox.bytes.count - start - (query.questionEnd - reply.range.lowerBound))
            set(number(outbox.bytes, start + 2) | HeaderFlags.truncated, at: start + 2)
        }
        if query.hasEDNS {
            set(1, at: start + 10)
            outbox.bytes.append(0)
            put(RecordType.opt.rawValue)
            put(UInt16(Limit.udp))
            outbox.bytes.append(code.rawValue >> 4)
            outbox.bytes.append(0)
            put(query.wantsSignatures ? 0x8000 : 0)
            if let error {
                // RFC 8914 section 2: option 15, two bytes of code, no text.
                put(6)
                put(15)
                put(2)
                put(error.rawValue)
            } else {
                put(0)
            }
        }
        outbox.replies.append(Outbox.Reply(client: reply.client, end: outbox.bytes.count))
    }

    /// An answer without records.
    func answer(
        _ reply: ReplyContext, code: ResponseCode, authoritative: Bool = false, error: ExtendedError? = nil
    ) {
        begin(reply, code, authoritative: authoritative)
        finish(reply, answers: 0, code: code, error: error)
    }

    /// There is no such name, or nothing of this type: as the zone's SOA says, for a moment (RFC 2308).
    func answerNothing(_ reply: ReplyContext, _ code: ResponseCode, error: ExtendedError? = nil) {
        begin(reply, code, authoritative: true)
        guard asked.isWithin(LocalNames.zone) else {
            return finish(reply, answers: 0, code: code, error: error)
        }
        putZone()
        finish(reply, answers: 0, authority: 1, code: code, error: error)
    }

    /// The SOA record of the zone, in whose names alone it stands.
    func putZone() {
        let zone = LocalNames.zone.wire
        put(UInt16(0xc000 | (Limit.header + asked.count - zone.count)))
        put(RecordType.soa.rawValue)
        put(internetClass)
        put(0)
        put(UInt16(Self.negativeTTL))
        let contact = LocalNames.contact.wire
        put(UInt16(zone.count + contact.count + 20))
        outbox.bytes += zone
        outbox.bytes += contact
        // Serial, refresh, retry, expire, minimum: nobody transfers the zone, only the last one counts.
        for value: UInt16 in [1, 3600, 600, 7200, UInt16(Self.negativeTTL)] {
            put(0)
            put(value)
        }
    }

    /// Seconds: a name may be there the next moment.
    private static let negativeTTL = 1

    /// A message that cannot be read beyond its header.
    func refuseUnread(_ bytes: [UInt8], _ range: Range<Int>, _ client: ClientReference, _ code: ResponseCode)
    {
        let start = outbox.bytes.count
        outbox.bytes.append(contentsOf: bytes[range.lowerBound..<range.lowerBound + Limit.header])
        let flags = number(bytes, range.lowerBound + 2)
        // The operation and RD are repeated.
        set(HeaderFlags.response | flags & 0x7900 | UInt16(code.rawValue), at: start + 2)
        for at in [4, 6, 8, 10] { set(0, at: start + at) }
        outbox.replies.append(Outbox.Reply(client: client, end: outbox.bytes.count))
    }

    // MARK: Denials

    /// Tells a client that it gets no answer, and counts why.
    func deny(_ reply: ReplyContext, _ code: ResponseCode, _ reason: DenialReason, _ error: ExtendedError?) {
        if code == .nameError {
            answerNothing(reply, code, error: error)
        } else {
            answer(reply, code: code, error: error)
        }
        record(reply, reason)
    }

    /// Counts why a client gets no answer, and has it told.
    func record(_ reply: ReplyContext, _ reason: DenialReason) {
        count(reason, reply.owner)
        let client = reply.owner.isEndpoint ? endpoints[Int(reply.owner.index)].description.id : 0
        guard reply.owner != .trusted else { return }
        let isOfName = reason != .stranger && reason != .outstanding && reason != .upstream
        note(Denial(client: client, name: isOfName ? asked.name : .root, reason: reason, count: 1))
    }

    /// As the network of the client is told that it may not know.
    func denyByPolicy(_ reply: ReplyContext, _ reason: DenialReason) {
        deny(reply, ResponseCode(rawValue: refusal(of: reply.owner).rawValue), reason, .prohibited)
    }

    func refusal(of owner: Owner) -> Refusal {
        guard owner.isEndpoint else { return .nameError }
        return networks[Int(endpoints[Int(owner.index)].network)].description.refusal
    }

    func count(_ reason: DenialReason, _ owner: Owner) {
        if owner.isEndpoint {
            endpoints[Int(owner.index)].counters.refuse(reason)
        } else if owner == .stranger {
            strangers.refuse(reason)
        }
    }

    @inline(__always)
    func put(_ value: UInt16) {
        outbox.bytes.append(UInt8(value >> 8))
        outbox.bytes.append(UInt8(truncatingIfNeeded: value))
    }

    @inline(__always)
    func set(_ value: UInt16, at place: Int) {
        outbox.bytes[place] = UInt8(value >> 8)
        outbox.bytes[place + 1] = UInt8(truncatingIfNeeded: value)
    }
}
