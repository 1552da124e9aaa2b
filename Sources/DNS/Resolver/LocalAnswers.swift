internal import Sys
internal import Wire

/// Answers about the fabric's own names.
extension Resolver {
    /// Whether a client may know of an endpoint; nil if the manager was not asked yet.
    @inline(__always)
    private func verdict(_ owner: Owner, on target: Int32) -> Verdict? {
        if owner == .trusted || owner.index == target { return Verdict(.allowed) }
        return verdicts[pair(owner.index, target)]
    }

    func pair(_ client: Int32, _ target: Int32) -> UInt64 {
        UInt64(endpoints[Int(client)].verdictSerial) << 32 | UInt64(endpoints[Int(target)].verdictSerial)
    }

    /// What of a name a client may know.
    private enum Permission {
        case all
        /// Of these targets.
        case some([NameTable.Target])
        case none(DenialReason)
        /// The query waits for the manager.
        case asked
    }

    private func permission(_ reply: ReplyContext, _ targets: [NameTable.Target]) -> Permission {
        var reason = DenialReason.peer
        var (allowed, unknown) = (0, 0)
        for target in targets {
            switch verdict(reply.owner, on: target.endpoint) {
            case nil: unknown += 1
            case let verdict? where verdict.outcome == .denied: reason = verdict.reason
            default: allowed += 1
            }
        }
        if unknown > 0 {
            let undecided = targets.map(\.endpoint).filter { verdict(reply.owner, on: $0) == nil }
            if reply.mayWait, askAboutPeers(reply, undecided) { return .asked }
            // Whatever is told of them is told of names that are not there.
            reason = reply.mayWait ? .outstanding : .undecided
        }
        if allowed == targets.count { return .all }
        if allowed == 0 { return .none(reason) }
        return .some(
            targets.filter { target in
                verdict(reply.owner, on: target.endpoint).map { $0.outcome != .denied } ?? false
            })
    }

    /// A name that endpoints have.
    /// - Returns: why the client is to be told as if none had it; nil where it has its answer, or waits for it.
    func answerLocal(_ reply: ReplyContext, _ node: Int) -> DenialReason? {
        var targets = table.nodes[node].targets
        switch permission(reply, targets) {
        case .asked: return nil
        case .none(let reason):
            if refusal(of: reply.owner) == .nameError { return reason }
            denyByPolicy(reply, reason)
            return nil
        case .some(let allowed): targets = allowed
        case .all: break
        }
        countLocal(reply.owner)
        if reply.query.type == .any {
            answerAny(reply)
            return nil
        }

        begin(reply, .noError, authoritative: true)
        let first = targets.count > 1 ? table.turn(node) % targets.count : 0
        var answers = 0
        for offset in targets.indices {
            let target = targets[
                first + offset < targets.count ? first + offset : first + offset - targets.count]
            let index = Int(target.endpoint)
            switch (target.role, reply.query.type) {
            case (.host, .a):
                outbox.bytes.append(contentsOf: endpoints[index].records4)
                answers += Int(endpoints[index].count4)
            case (.host, .aaaa):
                outbox.bytes.append(contentsOf: endpoints[index].records6)
                answers += Int(endpoints[index].count6)
            case (.service(let port), .srv):
                putService(port, endpoints[index].canonical)
                answers += 1
            default: break
            }
            // What is longer than any message is cut to one that fits, whole records only.
            if outbox.bytes.count - outbox.start > Limit.message - 4096 { break }
        }
        if answers == 0 {
            // The answer has been begun: an empty one ends with the zone's SOA.
            let isOfZone = asked.isWithin(LocalNames.zone)
            if isOfZone { putZone() }
            finish(reply, answers: 0, authority: isOfZone ? 1 : 0)
            return nil
        }
        finish(reply, answers: UInt16(truncatingIfNeeded: answers))
        return nil
    }

    /// RFC 2782: priority and weight are the same for all, the order turns.
    private func putService(_ port: UInt16, _ target: DomainName) {
        putHead(.srv, length: target.wire.count + 6)
        put(0)
        put(0)
        put(port)
        outbox.bytes += target.wire
    }

    /// A record's fields before its data; its owner is the name in the question.
    private func putHead(_ type: RecordType, length: Int) {
        put(UInt16(0xc000 | Limit.header))
        put(type.rawValue)
        put(internetClass)
        put(UInt16(truncatingIfNeeded: settings.localTTL >> 16))
        put(UInt16(truncatingIfNeeded: settings.localTTL))
        put(UInt16(length))
    }

    /// RFC 8482 section 4.2: who asks for everything gets something small.
    func answerAny(_ reply: ReplyContext) {
        begin(reply, .noError, authoritative: true)
        putHead(.hinfo, length: 9)
        outbox.bytes.append(7)
        outbox.bytes += "RFC8482".utf8
        outbox.bytes.append(0)
        finish(reply, answers: 1)
    }

    /// A name below the fabric's zone that no endpoint has.
    func answerWithinZone(_ reply: ReplyContext, _ network: Int32) {
        countLocal(reply.owner)
        // The zone itself is there, and so is the client's own network.
        if asked.equals(LocalNames.zone.wire) {
            guard reply.query.type == .soa else { return answerNothing(reply, .noError) }
            begin(reply, .noError, authoritative: true)
            putZone()
            return finish(reply, answers: 1)
        }
        let isOwnNetwork = network >= 0 && asked.equals(networks[Int(network)].zone.wire)
        answerNothing(reply, isOwnNetwork ? .noError : .nameError)
    }

    // MARK: Addresses

    func isInside(_ address: IPAddress) -> Bool {
        let address = address.unmapped
        return own.contains { $0.contains(address) }
            || networks.contains { $0.isPresent && $0.description.subnets.contains { $0.contains(address) } }
    }

    /// The name of an address of the fabric.
    func answerReverse(_ reply: ReplyContext, _ address: IPAddress) {
        guard let index = byAddress[address] else {
            countLocal(reply.owner)
            return answerNothing(reply, .nameError)
        }
        switch permission(reply, [NameTable.Target(endpoint: index, role: .host)]) {
        case .asked: return
        case .none(let reason):
            guard refusal(of: reply.owner) == .nameError else { return denyByPolicy(reply, reason) }
            record(reply, reason)
            return answerNothing(reply, .nameError)
        case .some, .all: break
        }
        countLocal(reply.owner)
        guard reply.query.type == .ptr else { return answerNothing(reply, .noError) }
        let name = endpoints[Int(index)].canonical
        begin(reply, .noError, authoritative: true)
        putHead(.ptr, length: name.wire.count)
        outbox.bytes += name.wire
        finish(reply, answers: 1)
    }

    private func countLocal(_ owner: Owner) {
        if owner.isEndpoint { endpoints[Int(owner.index)].counters.local += 1 }
    }

    // MARK: Names that mean something by themselves

    private static let localhost = DomainName("localhost") ?? .root
    private static let nowhere = ["invalid", "onion"].compactMap { DomainName($0) }

    /// Names that must not be asked for outside.
    func answerSpecial(_ reply: ReplyContext) -> Bool {
        let type = reply.query.type
        // RFC 6761 section 6.3
        if asked.isWithin(Self.localhost) {
            guard type == .a || type == .aaaa else {
                answerNothing(reply, .noError)
                return true
            }
            begin(reply, .noError, authoritative: true)
            putHead(type, length: type == .a ? 4 : 16)
            outbox.bytes += type == .a ? [127, 0, 0, 1] : [UInt8](repeating: 0, count: 15) + [1]
            finish(reply, answers: 1)
            return true
        }
        // RFC 6761 section 6.4, RFC 7686; and names of one label are somebody's neighbours, not ours to tell of.
        let isHostname = asked.labels == 1 && (type == .a || type == .aaaa)
        guard isHostname || Self.nowhere.contains(where: { asked.isWithin($0) }) else { return false }
        answerNothing(reply, .nameError)
        return true
    }
}
