internal import Sys
internal import Wire

extension Resolver {
    /// A query has come: `bytes[range]`.
    package func query(_ bytes: [UInt8], _ range: Range<Int>, from client: ClientReference, at time: UInt64) {
        now = max(now, time)
        let owner = owner(of: client)
        if owner.isEndpoint {
            endpoints[Int(owner.index)].counters.queries += 1
        } else if owner == .stranger {
            strangers.queries += 1
        }
        serve(bytes, range, client, owner)
    }

    /// Serves a query from the beginning, be it new or one that has waited.
    ///
    /// - Parameters:
    ///   - fresh: what an upstream has just answered to it.
    ///   - mayWait: for verdicts on peers; where not, who is not decided on is hidden.
    func serve(
        _ bytes: [UInt8], _ range: Range<Int>, _ client: ClientReference, _ owner: Owner,
        fresh: AnswerBody? = nil, mayWait: Bool = true
    ) {
        let query: Query
        do throws(Query.Refusal) {
            query = try Query(bytes, range, into: &asked)
        } catch {
            switch error {
            case .silent: break
            case .code(let code): refuseUnread(bytes, range, client, code)
            }
            return count(.malformed, owner)
        }
        let reply = ReplyContext(
            bytes: bytes, range: range, query: query, client: client, owner: owner, mayWait: mayWait)
        if owner == .stranger { return deny(reply, .refused, .stranger, .prohibited) }
        if query.hasEDNS, query.version > 0 { return answer(reply, code: .badVersion) }
        guard query.questionClass == internetClass, query.type != .axfr, query.type != .ixfr,
            !query.type.isMeta || query.type == .any
        else { return deny(reply, .refused, .unsupported, .notSupported) }

        let network =
            owner.isEndpoint ? endpoints[Int(owner.index)].network : listeners[Int(client.listener)].network
        // Why a name is hidden: it is served as one that is not there, so that nothing shows the difference.
        var hidden: DenialReason?
        if let node = table.find(asked, scope: 0)
            ?? (network >= 0 ? table.find(asked, scope: UInt32(network) + 1) : nil)
        {
            hidden = answerLocal(reply, node)
            if hidden == nil { return }
        }
        if asked.isWithin(LocalNames.zone) {
            if let hidden { record(reply, hidden) }
            return answerWithinZone(reply, network)
        }
        if let address = ReverseName.address(asked), isInside(address) {
            return answerReverse(reply, address)
        }
        if answerSpecial(reply) {
            if let hidden { record(reply, hidden) }
            return
        }
        serveOutside(reply, network, fresh)
    }

    // MARK: Waiting

    /// Keeps a query until something is known.
    /// - Returns: nil if its client has too many waiting; it was refused then.
    func park(_ reply: ReplyContext) -> Parked? {
        if let parked = parkIfRoom(reply) { return parked }
        deny(reply, .refused, .outstanding, .other)
        return nil
    }

    /// As `park`, and who is refused is not told so.
    func parkIfRoom(_ reply: ReplyContext) -> Parked? {
        guard outstanding < settings.outstandingInAll else { return nil }
        if reply.owner.isEndpoint {
            guard endpoints[Int(reply.owner.index)].outstanding < settings.outstanding else { return nil }
            endpoints[Int(reply.owner.index)].outstanding += 1
        }
        outstanding += 1
        return Parked(client: reply.client, owner: reply.owner, bytes: Array(reply.bytes[reply.range]))
    }

    func unpark(_ owner: Owner) {
        outstanding -= 1
        if isPresent(owner) { endpoints[Int(owner.index)].outstanding -= 1 }
    }

    /// Serves a query that has waited.
    func resume(_ parked: Parked, fresh: AnswerBody? = nil, mayWait: Bool = true) {
        unpark(parked.owner)
        serve(
            parked.bytes, 0..<parked.bytes.count, parked.client, owner(of: parked.client), fresh: fresh,
            mayWait: mayWait)
    }

    /// Answers a query that has waited for nothing.
    func fail(_ parked: Parked, _ reason: DenialReason, _ error: ExtendedError) {
        unpark(parked.owner)
        let owner = owner(of: parked.client)
        guard let query = try? Query(parked.bytes, 0..<parked.bytes.count, into: &asked) else { return }
        let reply = ReplyContext(
            bytes: parked.bytes, range: 0..<parked.bytes.count, query: query, client: parked.client,
            owner: owner)
        deny(reply, .serverFailure, reason, error)
    }
}

/// A query that is being served.
struct ReplyContext {
    let bytes: [UInt8]
    let range: Range<Int>
    let query: Query
    let client: ClientReference
    let owner: Owner
    /// For the manager's verdict on peers.
    var mayWait = true
}
