/// What was asked of an upstream, and with which its answer must agree to the last bit (RFC 5452 section 3).
struct UpstreamQuestion: Hashable, Sendable {
    var id: UInt16
    let name: DomainName
    /// The bytes of `name` with some letters in upper case, at random: an answer repeats them, and who has not
    /// seen the query cannot.
    var cased: [UInt8]
    let type: RecordType
    let wantsSignatures: Bool
    let checkingDisabled: Bool
    var usesEDNS = true

    /// Chooses id and case anew.
    mutating func randomize(using generator: inout any RandomNumberGenerator) {
        id = UInt16(truncatingIfNeeded: generator.next())
        cased = name.wire
        var bits: UInt64 = 0
        for index in cased.indices {
            if index % 64 == 0 { bits = generator.next() }
            // A length is at most 63, so letters are letters.
            if (97...122).contains(cased[index]), bits >> UInt64(index % 64) & 1 == 1 { cased[index] &= 0xdf }
        }
    }

    /// The query as it is sent.
    var message: [UInt8] {
        var message: [UInt8] = []
        message.reserveCapacity(Limit.header + cased.count + 15)
        func append(_ value: UInt16) {
            message.append(UInt8(value >> 8))
            message.append(UInt8(truncatingIfNeeded: value))
        }
        append(id)
        // RFC 6840 section 5.7: AD in a query asks for AD in the answer.
        append(
            HeaderFlags.recursionDesired | HeaderFlags.authenticData
                | (checkingDisabled ? HeaderFlags.checkingDisabled : 0))
        append(1)
        append(0)
        append(0)
        append(usesEDNS ? 1 : 0)
        message += cased
        append(type.rawValue)
        append(internetClass)
        if usesEDNS {
            // RFC 6891 section 6.1.2: the root, OPT, our room, extended code, version, flags, no options.
            message.append(0)
            append(RecordType.opt.rawValue)
            append(UInt16(Limit.udp))
            append(0)
            append(wantsSignatures ? 0x8000 : 0)
            append(0)
        }
        return message
    }
}

/// What a message from an upstream means for a question.
enum UpstreamOutcome: Hashable, Sendable {
    /// It is no answer to it: forged, late or broken.
    case ignored
    /// It answers the question but for the case of its letters, so that it may be forged.
    case caseDiffers
    /// RFC 1035 section 4.1.1: the whole of it is to be had over TCP.
    case truncated
    /// RFC 6891 section 7: the upstream does not understand EDNS. Where it does not repeat the question anybody
    /// may have said so who has guessed the id.
    case withoutEDNS(repeatsQuestion: Bool)
    /// It answers, and does not know.
    case failed(ResponseCode)
    case answer(AnswerBody)
}

/// How long answers are kept, and what they may not say.
struct AnswerRules: Sendable {
    /// Seconds.
    var longest: UInt32 = 86_400
    /// RFC 2308 section 5 recommends one to three hours for answers that there is nothing.
    var longestNegative: UInt32 = 3600
    /// Seconds; an upstream that fails is asked again no sooner.
    var failure: UInt32 = 2
}

extension UpstreamQuestion {
    /// Examines a message that claims to answer.
    ///
    /// Of the answer section counts what is at the name asked, or at one that aliases (CNAME) lead to from
    /// there; all else is passed over, wherever in the message it is. So an upstream cannot tell of names that
    /// nobody asked for.
    ///
    /// - Parameter overTCP: case need not be kept, since nobody beside the path can write into a connection.
    /// - Parameter isInside: addresses that no name outside may stand for, since they are the fabric's own.
    func examine(
        _ bytes: [UInt8], _ range: Range<Int>, overTCP: Bool, rules: AnswerRules,
        isInside: (RecordType, [UInt8]) -> Bool
    ) -> UpstreamOutcome {
        guard range.count >= Limit.header else { return .ignored }
        let start = range.lowerBound
        let flags = number(bytes, start + 2)
        let code = ResponseCode(rawValue: UInt8(flags & 0xf))
        guard number(bytes, start) == id, flags & HeaderFlags.response != 0, HeaderFlags.opcode(flags) == 0
        else { return .ignored }
        let questions = number(bytes, start + 4)
        if questions == 0, code == .formatError, usesEDNS {
            return .withoutEDNS(repeatsQuestion: false)
        }
        let end = start + Limit.header + cased.count
        guard questions == 1, end + 4 <= range.upperBound, number(bytes, end) == type.rawValue,
            number(bytes, end + 2) == internetClass
        else { return .ignored }
        let asked = bytes[start + Limit.header..<end]
        if !asked.elementsEqual(cased) {
            guard asked.lazy.map(lowerCased).elementsEqual(name.wire) else { return .ignored }
            if !overTCP { return .caseDiffers }
        }
        if flags & HeaderFlags.truncated != 0 { return overTCP ? .failed(.serverFailure) : .truncated }
        switch code {
        case .noError, .nameError: break
        case .formatError where usesEDNS: return .withoutEDNS(repeatsQuestion: true)
        case .notImplemented where usesEDNS: return .withoutEDNS(repeatsQuestion: true)
        default: return .failed(code)
        }
        var reader = MessageReader(bytes, range)
        guard (try? reader.skip(end + 4 - start, "question")) != nil,
            let body = body(
                &reader, code, authentic: flags & HeaderFlags.authenticData != 0, rules, isInside,
                answers: Int(number(bytes, start + 6)), authority: Int(number(bytes, start + 8)))
        else { return .failed(.serverFailure) }
        return .answer(body)
    }

    /// - Returns: nil if the message is broken or its aliases lead in a circle.
    private func body(
        _ reader: inout MessageReader, _ code: ResponseCode, authentic: Bool, _ rules: AnswerRules,
        _ isInside: (RecordType, [UInt8]) -> Bool, answers: Int, authority: Int
    ) -> AnswerBody? {
        guard answers + authority <= Limit.records else { return nil }
        var builder = AnswerBuilder(name, code: code)
        var lifetime = rules.longest
        func add(_ section: AnswerBuilder.Section, _ record: Record, most: UInt32) -> Bool {
            guard let data = try? expandedData(record, reader) else { return false }
            if section == .answer, isInside(record.type, data) { return true }
            let ttl = min(record.ttl, most)
            lifetime = min(lifetime, ttl)
            return builder.append(section, record.owner, record.type, ttl: ttl, data: data)
        }

        var records: [Record] = []
        for _ in 0..<answers {
            guard let record = try? reader.record() else { return nil }
            if record.recordClass == internetClass { records.append(record) }
        }
        var current = name
        var found = false
        for step in 0... {
            guard step <= Limit.aliases else { return nil }
            let here = records.filter { $0.owner == current }
            let wanted = here.filter { $0.type == type }
            let alias = here.first { $0.type == .cname }
            let signed = wanted.isEmpty ? RecordType.cname : type
            if wantsSignatures, wanted.isEmpty, alias != nil {
                // RFC 6672 section 5.3.1: an alias that a DNAME makes is not signed, the DNAME is.
                for record in records where record.owner != current && current.isWithin(record.owner) {
                    guard record.type == .dname || covered(by: record, reader) == .dname else { continue }
                    guard add(.answer, record, most: rules.longest) else { return nil }
                }
            }
            for record in wanted.isEmpty ? alias.map({ [$0] }) ?? [] : wanted
            where !add(.answer, record, most: rules.longest) { return nil }
            if wantsSignatures {
                for record in here
                where covered(by: record, reader) == signed && !(wanted.isEmpty && alias == nil) {
                    guard add(.answer, record, most: rules.longest) else { return nil }
                }
            }
            if !wanted.isEmpty {
                found = true
                break
            }
            guard let alias, type != .cname else { break }
            var target = reader.reading(alias.data)
            guard let next = try? target.name("CNAME") else { return nil }
            current = next
        }
        if found, !wantsSignatures { return builder.finished(lifetime: lifetime, authentic: authentic) }

        var closing: [Record] = []
        for _ in 0..<authority {
            guard let record = try? reader.record() else { return nil }
            if record.recordClass == internetClass { closing.append(record) }
        }
        // RFC 2308 section 5: for how long there is nothing, the zone's SOA says; without one, nobody knows.
        let zone =
            found
            ? nil
            : closing.first { $0.type == .soa && current.isWithin($0.owner) && $0.data.count >= 22 }
        let negative = zone.map {
            min($0.ttl, number32(reader.bytes, $0.data.upperBound - 4), rules.longestNegative)
        }
        let most = found ? rules.longest : negative ?? 0
        if let zone, !add(.authority, zone, most: most) { return nil }
        // RFC 4035 section 3.1.3: that there is nothing, or nothing closer than a wildcard, is proved there.
        for record in closing where wantsSignatures && isProof(record, reader, of: zone) {
            guard add(.authority, record, most: most) else { return nil }
        }
        return builder.finished(lifetime: min(lifetime, most), authentic: authentic)
    }

    /// A record that says what is not there, or a signature of one or of the zone's SOA.
    private func isProof(_ record: Record, _ reader: MessageReader, of zone: Record?) -> Bool {
        switch record.type == .rrsig ? covered(by: record, reader) : record.type {
        case .nsec, .nsec3: true
        case .soa: record.type == .rrsig && record.owner == zone?.owner
        default: false
        }
    }

    /// RFC 4034 section 3.1: the type that a signature covers comes first in it.
    private func covered(by signature: Record, _ reader: MessageReader) -> RecordType? {
        guard signature.type == .rrsig, signature.data.count > 2 else { return nil }
        return RecordType(rawValue: number(reader.bytes, signature.data.lowerBound))
    }
}
