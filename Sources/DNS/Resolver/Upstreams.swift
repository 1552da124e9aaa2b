package import Sys
package import Wire

/// Asking upstreams, and judging what they say.
extension Resolver {
    /// A socket through which upstreams can be asked; it is known by its number from now on.
    package func addUpstreamSocket(_ transport: DNSTransport, _ family: IPFamily) -> Int32 {
        let number = sockets.add(SocketPool.Kind(transport: transport, family: family))
        startWaiting()
        return number
    }

    package var upstreamSocketCount: Int { sockets.count }

    /// Joins the lookup of the same question, or begins one.
    ///
    /// Equal questions share one query: many of them at once would be as many chances for a forged answer
    /// (RFC 5452 section 5).
    func lookUp(_ reply: ReplyContext, _ key: UInt64, _ group: UInt64) {
        if let id = lookupsByKey[key], let name = lookups[id]?.question.name {
            guard asked.equals(name.wire) else { return deny(reply, .serverFailure, .upstream, .other) }
            if let parked = park(reply) { lookups[id]?.waiters.append(parked) }
            return
        }
        guard var servers = upstreams[group], !servers.servers.isEmpty else {
            return deny(reply, .serverFailure, .upstream, .noReachableAuthority)
        }
        guard let parked = park(reply) else { return }
        if reply.owner.isEndpoint { endpoints[Int(reply.owner.index)].counters.upstream += 1 }
        let name = asked.name
        let question = UpstreamQuestion(
            id: 0, name: name, cased: name.wire, type: reply.query.type,
            wantsSignatures: reply.query.wantsSignatures, checkingDisabled: reply.query.checkingDisabled)
        lastLookup &+= 1
        let order = servers.order(at: now, settings: settings)
        upstreams[group] = servers
        lookups[lastLookup] = Lookup(
            key: key, group: group, question: question, waiters: [parked], owner: reply.owner, order: order,
            started: now)
        lookupsByKey[key] = lastLookup
        deadlines.push(now + settings.lookupPatience, .lookup, lastLookup, attempt: .max)
        start(lastLookup)
    }

    /// Sends the question through a free socket, or lets it wait for one; its turn is before those who wait
    /// already only if they have chosen it.
    private func start(_ id: UInt32, isItsTurn: Bool = false) {
        guard var lookup = lookups[id], let servers = upstreams[lookup.group], !lookup.order.isEmpty,
            let server = servers.servers.dropFirst(lookup.order[lookup.place % lookup.order.count]).first
        else { return finish(id, nil) }
        let kind = SocketPool.Kind(
            transport: lookup.overTCP ? .tcp : .udp, family: server.address.address.family)
        guard sockets.counts[kind, default: 0] > 0 else { return next(id) }
        guard isItsTurn || waiting[kind, default: []].isEmpty, let socket = sockets.take(kind, for: id) else {
            waiting[kind, default: []].append(id)
            return startWaiting()
        }
        if isPresent(lookup.owner) { endpoints[Int(lookup.owner.index)].inFlight += 1 }
        lookup.socket = socket
        lookup.sent = now
        lookup.forged = 0
        lookup.question.usesEDNS = !lookup.isPlain && server.plainUntil <= now
        lookup.question.randomize(using: &random)
        lookups[id] = lookup
        actions.append(.send(socket: socket, to: server.address, message: lookup.question.message))
        let index = lookup.order[lookup.place % lookup.order.count]
        let timeout = lookup.overTCP ? settings.tcpTimeout : servers.timeout(index, settings: settings)
        // A second round gives more time.
        deadlines.push(
            now + timeout << UInt64(min(lookup.place / lookup.order.count, 2)), .lookup, id,
            attempt: lookup.attempt)
    }

    /// Gives the socket back and forgets what may still come there.
    private func letGo(_ id: UInt32) {
        guard let socket = lookups[id]?.socket else {
            for kind in waiting.keys { waiting[kind]?.removeAll { $0 == id } }
            return
        }
        lookups[id]?.socket = nil
        lookups[id]?.attempt += 1
        if let owner = lookups[id]?.owner, isPresent(owner) { endpoints[Int(owner.index)].inFlight -= 1 }
        sockets.giveBack(socket)
        actions.append(.release(socket: socket))
    }

    /// Free sockets go to those who wait, first to whoever has the fewest in use: so one who asks for a
    /// thousand names waits for himself.
    private func startWaiting() {
        for kind in Array(waiting.keys) {
            while sockets.hasFree(kind), let candidates = waiting[kind]?.prefix(Self.mostCandidates),
                let fewest = candidates.indices.min(by: {
                    inFlight(candidates[$0]) < inFlight(candidates[$1])
                })
            {
                let id = candidates[fewest]
                waiting[kind]?.remove(at: fewest)
                start(id, isItsTurn: true)
            }
        }
    }

    /// Of those who wait, so many are looked at, from the first on; one client has no more of them than half.
    private static let mostCandidates = 256

    /// Of whoever has the fewest of all who wait for it: nobody waits for another's share.
    private func inFlight(_ id: UInt32) -> Int {
        lookups[id]?.waiters.lazy.map { [self] waiter in
            isPresent(waiter.owner) ? endpoints[Int(waiter.owner.index)].inFlight : 0
        }.min() ?? 0
    }

    /// Asks the next server: each of them twice, and three times in all at least.
    private func next(_ id: UInt32) {
        guard let lookup = lookups[id] else { return }
        lookups[id]?.place += 1
        lookups[id]?.overTCP = false
        guard lookup.place + 1 < max(2 * lookup.order.count, 3),
            now < lookup.started + settings.lookupPatience
        else { return finish(id, nil) }
        start(id)
    }

    private func retryOverTCP(_ id: UInt32) {
        letGo(id)
        lookups[id]?.overTCP = true
        start(id)
        startWaiting()
    }

    private func server(of lookup: Lookup) -> Int { lookup.order[lookup.place % lookup.order.count] }

    func lookupTimedOut(_ id: UInt32, attempt: UInt32) {
        guard let lookup = lookups[id] else { return }
        if attempt == .max { return finish(id, nil) }
        guard lookup.socket != nil, lookup.attempt == attempt else { return }
        upstreams[lookup.group]?.failed(server(of: lookup), at: now, settings: settings)
        letGo(id)
        next(id)
        startWaiting()
    }

    /// The socket cannot reach the upstream: refused, no route, or the stream has ended.
    package func upstreamFailed(_ socket: Int32, at time: UInt64) {
        now = max(now, time)
        guard let id = sockets.lookup(of: socket), let lookup = lookups[id] else { return }
        upstreams[lookup.group]?.failed(server(of: lookup), at: now, settings: settings)
        letGo(id)
        next(id)
        startWaiting()
    }

    /// Messages on one socket that are no answer, after which somebody is guessing.
    private static let mostForged = 16

    /// A message has come at a socket: `bytes[range]`.
    package func response(
        _ bytes: [UInt8], _ range: Range<Int>, socket: Int32, from sender: SocketAddress, at time: UInt64
    ) {
        now = max(now, time)
        guard let id = sockets.lookup(of: socket), var lookup = lookups[id],
            let servers = upstreams[lookup.group]
        else { return }
        let index = server(of: lookup)
        var isDenied = false
        var outcome = UpstreamOutcome.ignored
        let expected = servers.servers[index].address.socketAddress
        // The kernel lets a connected socket hear of its peer only; but what came before it was connected...
        if lookup.overTCP
            || (sender.low, sender.high, sender.port, sender.family)
                == (expected.low, expected.high, expected.port, expected.family)
        {
            outcome = lookup.question.examine(bytes, range, overTCP: lookup.overTCP, rules: rules) {
                type, data in
                guard RecordAddresses.of(type, data[...]).contains(where: { isInside($0) }) else {
                    return false
                }
                isDenied = true
                return true
            }
        }
        switch outcome {
        case .ignored:
            lookup.forged += 1
            lookups[id] = lookup
            // RFC 5452 section 9.3: under attack a question is asked in a way that cannot be forged.
            if lookup.forged >= Self.mostForged, !lookup.overTCP { retryOverTCP(id) }
        case .caseDiffers, .truncated: retryOverTCP(id)
        case .withoutEDNS(let repeatsQuestion):
            lookups[id]?.isPlain = true
            if repeatsQuestion { upstreams[lookup.group]?.understandsNoEDNS(index, at: now) }
            letGo(id)
            start(id)
            startWaiting()
        case .failed:
            upstreams[lookup.group]?.answered(index, after: now - lookup.sent)
            letGo(id)
            next(id)
            startWaiting()
        case .answer(let body):
            upstreams[lookup.group]?.answered(index, after: now - lookup.sent)
            finish(id, body, isInside: isDenied)
        }
    }

    /// Tells all who wait; nil if nobody knows.
    private func finish(_ id: UInt32, _ answer: AnswerBody?, isInside: Bool = false) {
        letGo(id)
        guard let lookup = lookups.removeValue(forKey: id) else { return }
        lookupsByKey[lookup.key] = nil
        // RFC 2308 section 7: a failure may be remembered, for a moment.
        let body = answer ?? AnswerBody(code: .serverFailure, lifetime: rules.failure)
        cache.insert(lookup.key, lookup.question.name, body, now: seconds)
        for waiter in lookup.waiters {
            if isInside, isPresent(waiter.owner) {
                count(.inside, waiter.owner)
                note(
                    Denial(
                        client: endpoints[Int(waiter.owner.index)].description.id, name: lookup.question.name,
                        reason: .inside, count: 1))
            }
            resume(waiter, fresh: body)
        }
        startWaiting()
    }

    /// Other upstreams know other answers, and what is under way is asked of them.
    func setUpstreams(_ addresses: [UpstreamAddress]?, of group: UInt64) {
        guard upstreams[group]?.addresses != addresses else { return }
        upstreams[group] = addresses.map { UpstreamGroup($0) }
        cache.removeAll()
        for (id, lookup) in lookups.sorted(by: { $0.key < $1.key }) where lookup.group == group {
            letGo(id)
            guard let lookup = lookups.removeValue(forKey: id) else { continue }
            lookupsByKey[lookup.key] = nil
            for waiter in lookup.waiters { resume(waiter) }
        }
        startWaiting()
    }
}
