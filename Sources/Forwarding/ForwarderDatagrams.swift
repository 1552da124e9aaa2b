internal import CLinux
internal import Sys
internal import Wire

/// Room for datagrams that are received and sent on together.
///
/// The pointer is to C's own memory, and lives as long as this does.
@safe final class DatagramBatch {
    private let batch: OpaquePointer

    init() throws(SystemError) {
        guard let batch = unsafe cl_datagrams_new(32) else { throw SystemError("malloc", .noMemory) }
        unsafe self.batch = batch
    }

    deinit { unsafe cl_datagrams_free(batch) }

    /// Takes what is there, without waiting.
    /// - Returns: how many; -1 where there is none, or an error was there instead.
    func receive(_ socket: borrowing Descriptor) -> Int {
        Int(unsafe cl_datagrams_receive(batch, socket.rawValue))
    }

    func source(_ index: Int) -> Place? { Place(unsafe cl_datagrams_source(batch, Int32(index))) }

    /// To be asked before anything is sent.
    func destination(_ index: Int) -> Place? {
        Place(unsafe cl_datagrams_destination(batch, Int32(index)))
    }

    func bytes(_ range: Range<Int>) -> UInt64 {
        range.reduce(0) { $0 + UInt64(unsafe cl_datagrams_length(batch, Int32($1))) }
    }

    /// - Returns: how many went.
    func send(_ range: Range<Int>, by socket: borrowing Descriptor) -> Int {
        Int(unsafe cl_datagrams_send(batch, socket.rawValue, Int32(range.lowerBound), Int32(range.count)))
    }

    func send(_ range: Range<Int>, by port: Publication, to client: Place, from local: Place?) -> Int {
        var to = client.kernel
        var from = local?.kernel ?? cl_place()
        return Int(
            unsafe cl_datagrams_send_to(
                batch, port.socket.rawValue, port.socketFamily, Int32(range.lowerBound), Int32(range.count),
                &to, &from))
    }
}

// UDP: a session for each client.

extension Forwarder {
    /// Passes a batch on to the endpoint.
    func receive(_ port: Publication) {
        let count = batch.receive(port.socket)
        guard count > 0 else { return }
        var start = 0
        while start < count {
            let source = batch.source(start)
            var end = start + 1
            while end < count, batch.source(end) == source { end += 1 }
            pass(port, start..<end, source)
            start = end
        }
    }

    private func pass(_ port: Publication, _ range: Range<Int>, _ source: Place?) {
        guard let source, let session = session(port, source) else {
            port.counters.dropped += UInt64(range.count)
            return
        }
        if let local = batch.destination(range.lowerBound) { session.local = local }
        touch(session)
        let bytes = batch.bytes(range)
        let sent = batch.send(range, by: session.socket)
        if sent == range.count { port.counters.bytesIn &+= bytes }
        port.counters.dropped += UInt64(range.count - sent)
    }

    /// Passes a batch back to the client.
    func answer(_ session: DatagramSession) {
        let count = batch.receive(session.socket)
        guard count > 0 else { return }
        if !session.isAnswered {
            session.port.lists.waiting.remove(session, sessions.at)
            session.isAnswered = true
            session.port.lists.answered.append(session, sessions.at)
        }
        touch(session)
        let port = session.port
        let bytes = batch.bytes(0..<count)
        let sent = batch.send(0..<count, by: port, to: session.client, from: session.local)
        if sent == count { port.counters.bytesOut &+= bytes }
        port.counters.dropped += UInt64(count - sent)
    }

    private func touch(_ session: DatagramSession) {
        session.lastUse = now
        if session.isAnswered {
            session.port.lists.answered.refresh(session, sessions.at)
        } else {
            session.port.lists.waiting.refresh(session, sessions.at)
        }
    }

    private func session(_ port: Publication, _ client: Place) -> DatagramSession? {
        if let slot = port.sessions[client] { return sessions.at(slot) }
        guard let passage = Passage(client, to: port.port, own: own),
            stock.count(passage.target.address.family, .udp) > 0, allowsNewClient()
        else { return nil }
        // Who was answered is the last to make room.
        while port.counters.active >= limit(of: port) || !affords(1) {
            let oldest =
                port.lists.waiting.first >= 0 ? port.lists.waiting.first : port.lists.answered.first
            guard oldest >= 0, let session = sessions.at(oldest) else { return nil }
            port.counters.evicted += 1
            end(session)
        }
        guard let socket = stock.take(passage.target.address.family, .udp),
            let wasRenumbered = connect(socket, passage)
        else {
            port.counters.failed += 1
            return nil
        }
        let (slot, generation) = sessions.reserve()
        do throws(SystemError) {
            try poller.add(
                socket.rawValue, .readable,
                token: Token(.session, slot: slot, generation: generation).number)
        } catch {
            sessions.remove(slot)
            port.counters.failed += 1
            return nil
        }
        let session = DatagramSession(
            port, client, passage, socket: socket, slot: slot, generation: generation, now: now)
        sessions.put(session, at: slot)
        port.sessions[client] = slot
        port.lists.waiting.append(session, sessions.at)
        if !wasRenumbered { passages.insert(passage) }
        session.ownsPassage = !wasRenumbered
        port.counters.opened += 1
        port.counters.active += 1
        if wasRenumbered { port.counters.renumbered += 1 }
        if passage.isStandIn { port.counters.standIns += 1 }
        let due = now + min(limits.unanswered, limits.answered)
        sweepAt = sweepAt == 0 ? due : min(sweepAt, due)
        return session
    }

    /// A bucket of one second's worth.
    private func allowsNewClient() -> Bool {
        let most = limits.newClients * 1000
        let gained = min(most, (now - allowance.at) * limits.newClients)
        allowance = (min(most, allowance.clients + gained), now)
        guard allowance.clients >= 1000 else { return false }
        allowance.clients -= 1000
        return true
    }

    /// - Returns: whether the source has another port than the client; nil if there is no way.
    private func connect(_ socket: borrowing Descriptor, _ passage: Passage) -> Bool? {
        let family = Int32(passage.target.address.family.rawValue)
        var source = passage.source
        // Of two sockets with the same places on both sides one would get what is the other's.
        var isRenumbered = source.port != 0 && passages.contains(passage)
        if isRenumbered { source.port = 0 }
        var (from, to) = (source.kernel, passage.target.kernel)
        if unsafe cl_bind_place(socket.rawValue, family, &from) != 0 {
            guard from.port != 0 else { return nil }
            isRenumbered = true
            from.port = 0
            guard unsafe cl_bind_place(socket.rawValue, family, &from) == 0 else { return nil }
        }
        return unsafe cl_connect_place(socket.rawValue, family, &to) == 0 ? isRenumbered : nil
    }

    func end(_ session: DatagramSession) {
        if session.isAnswered {
            session.port.lists.answered.remove(session, sessions.at)
        } else {
            session.port.lists.waiting.remove(session, sessions.at)
        }
        session.port.sessions[session.client] = nil
        session.port.counters.active -= 1
        if session.ownsPassage { passages.remove(session.passage) }
        sessions.remove(session.slot)
    }

    /// Ends sessions that nobody has used for long. Looks only when one could be due.
    func expireSessions() {
        guard sweepAt > 0, now >= sweepAt else { return }
        var next = Int64.max
        for port in byID.values where !port.sessions.isEmpty {
            for (isAnswered, idle) in [(false, limits.unanswered), (true, limits.answered)] {
                while let session = sessions.at(
                    isAnswered ? port.lists.answered.first : port.lists.waiting.first)
                {
                    guard session.lastUse + idle <= now else {
                        next = min(next, session.lastUse + idle)
                        break
                    }
                    end(session)
                }
            }
        }
        sweepAt = next == .max ? 0 : next
    }
}
