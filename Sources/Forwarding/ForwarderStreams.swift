internal import CLinux
internal import Sys
internal import Wire

// TCP: from a client's connection to the endpoint's.

extension Forwarder {
    /// Whether the port may let somebody in now. Of what cannot be, nothing is accepted: it waits in the kernel's
    /// own queue, and clients beyond that are kept off by the kernel.
    func canAccept(_ port: Publication) -> Bool {
        // A datagram needs one socket, and a client that is one too many makes room.
        guard port.port.transport == .tcp else {
            return port.families.allSatisfy { stock.count($0, .udp) > 0 }
        }
        return port.counters.active < limit(of: port) && affords(StreamRelay.cost)
            && (!port.port.isGate || mayAsk)
            && port.families.allSatisfy { stock.count($0, .tcp) > 0 }
    }

    /// Lets in those who wait, a turn's worth.
    func accept(_ port: Publication) {
        for _ in 0..<64 {
            guard canAccept(port) else { return pause(port) }
            var peer = cl_place()
            let number = unsafe cl_accept_from(port.socket.rawValue, &peer)
            if number >= 0 {
                open(port, Descriptor(owning: number), Place(peer))
                continue
            }
            switch Errno.current {
            case .again: return
            // accept(2): what is wrong with the connection that would have been next is told here.
            case .interrupted, Errno(rawValue: ECONNABORTED), Errno(rawValue: EPROTO): continue
            default:
                // No descriptors, no memory: of the system's, and nobody tells when there are again.
                retryAt = now + 100
                return pause(port)
            }
        }
    }

    private func open(_ port: Publication, _ client: consuming Descriptor, _ peer: Place?) {
        if port.port.isGate { return ask(port, client, peer) }
        guard let peer, let passage = Passage(peer, to: port.port, own: own),
            let server = connect(port, passage)
        else {
            port.counters.failed += 1
            _ = cl_reset_on_close(client.rawValue)
            return
        }
        guard begin(port, client, server) != nil else { return }
        if passage.isStandIn { port.counters.standIns += 1 }
    }

    /// A relay of a client and a server that is being connected to; nil where it cannot be.
    func begin(
        _ port: Publication, _ client: consuming Descriptor, _ server: consuming Descriptor,
        question: HostClaim? = nil, prefix: [UInt8] = []
    ) -> StreamRelay? {
        let (slot, generation) = relays.reserve()
        let relay = StreamRelay(
            port, slot: slot, generation: generation, client: client, server: server,
            connectBy: now + limits.connect, question: question, prefix: prefix)
        do throws(SystemError) { try relay.watch(by: poller) } catch {
            relay.end(&pipes, isBroken: true)
            relays.remove(slot)
            port.counters.failed += 1
            return nil
        }
        relays.put(relay, at: slot)
        connecting.append((slot, generation))
        port.counters.opened += 1
        port.counters.active += 1
        return relay
    }

    /// Begins a connection to the endpoint, as the client; with another port where the client's cannot be had.
    private func connect(_ port: Publication, _ passage: Passage) -> Descriptor? {
        guard let socket = stock.take(passage.target.address.family, .tcp) else { return nil }
        let attempt = begin(socket, passage.source, passage.target)
        if attempt == 0 { return socket }
        // Another connection from the same client's port leads to the same place: of another published port, or
        // one whose end has not been forgotten yet.
        guard [EADDRNOTAVAIL, EADDRINUSE].contains(attempt), passage.source.port != 0,
            let other = stock.take(passage.target.address.family, .tcp)
        else { return nil }
        var source = passage.source
        source.port = 0
        guard begin(other, source, passage.target) == 0 else { return nil }
        port.counters.renumbered += 1
        return other
    }

    /// - Returns: 0 or an errno.
    private func begin(_ socket: borrowing Descriptor, _ source: Place, _ target: Place) -> Int32 {
        let family = Int32(target.address.family.rawValue)
        var (from, to) = (source.kernel, target.kernel)
        guard unsafe cl_bind_place(socket.rawValue, family, &from) == 0 else { return cl_errno() }
        guard unsafe cl_connect_place(socket.rawValue, family, &to) != 0 else { return 0 }
        let failure = cl_errno()
        return failure == EINPROGRESS ? 0 : failure
    }

    func handle(_ relay: StreamRelay, _ events: Poller.Events, of kind: Token.Kind) {
        guard relay.note(events, of: kind) else {
            if relay.isConnecting, kind == .server { relay.port.counters.failed += 1 }
            return end(relay, isBroken: true)
        }
        advance(relay)
    }

    private func advance(_ relay: StreamRelay) {
        switch relay.advance(&pipes) {
        case .waiting: break
        case .unfinished:
            guard !relay.isQueued else { return }
            relay.isQueued = true
            queue.append(relay)
        case .done: end(relay, isBroken: false)
        case .broken: end(relay, isBroken: true)
        }
    }

    /// Goes on with what had to let others have a turn.
    func takeTurns() {
        guard !queue.isEmpty else { return }
        let turns = queue
        queue.removeAll(keepingCapacity: true)
        for relay in turns {
            relay.isQueued = false
            if relays[relay.slot, relay.generation] != nil { advance(relay) }
        }
    }

    func end(_ relay: StreamRelay, isBroken: Bool) {
        relay.end(&pipes, isBroken: isBroken)
        relays.remove(relay.slot)
        relay.port.counters.active -= 1
        guard let question = relay.question else { return }
        forget(question)
        leave(question.client)
    }

    /// Ends connections that the endpoint has not taken in time.
    func expireConnecting() {
        var passed = 0
        for (slot, generation) in connecting {
            if let relay = relays[slot, generation], relay.isConnecting {
                guard relay.connectBy <= now else { break }
                relay.port.counters.failed += 1
                end(relay, isBroken: true)
            }
            passed += 1
        }
        if passed > 0 { connecting.removeFirst(passed) }
    }
}
