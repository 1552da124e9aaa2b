internal import Sys
internal import Wire

/// A descriptor that arrays can hold.
final class OpenSocket {
    let descriptor: Descriptor
    init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }
}

/// Waits for all sockets at once and carries what comes to the resolver, and what the resolver wants to
/// where it belongs.
final class ResolverLoop {
    let resolver: Resolver
    var epoll: Epoll
    private var link: ManagerLink?
    private var listeners: [(socket: OpenSocket, description: ListenerDescription)?] = []
    var clients = StreamClients()
    /// Clients on streams that had too much unanswered and have not any more.
    var stalled: [UInt64] = []
    var upstreams: [UpstreamConnection] = []
    private var inbox = DatagramInbox(capacity: FairPass.most, room: Limit.udp)
    private var datagrams = DatagramOutbox()
    var buffer = [UInt8](repeating: 0, count: Limit.message + 1)
    private var isWoken = false
    private var pace = Pace()

    /// What a token of epoll's stands for, in its upper byte; the rest is a number.
    enum Source: UInt64 {
        case wakeUp, link, datagrams, streams, client, upstream
        func token(_ number: UInt64) -> UInt64 { rawValue << 56 | number }
    }

    init(settings: ResolverSettings, wakeUp: Int32) throws(SystemError) {
        resolver = Resolver(settings: settings)
        epoll = try Epoll()
        try epoll.add(wakeUp, .read, token: Source.wakeUp.token(0))
    }

    func runUntilWoken() throws(SystemError) {
        isWoken = false
        while !isWoken {
            let events = try epoll.wait(milliseconds: patience())
            for event in events { handle(event) }
            let now = monotonicMilliseconds()
            resolver.tick(at: now)
            settle()
            for id in clients.idle(at: now) { closeClient(id) }
            if pace.takeRest() { rest(microseconds: Pace.rest) }
        }
    }

    /// Until something is due.
    private func patience() -> Int32 {
        let due = [resolver.nextDeadline, clients.nextIdle].compactMap { $0 }.min()
        guard let due else { return -1 }
        let now = monotonicMilliseconds()
        return due <= now ? 0 : Int32(clamping: due - now)
    }

    private func handle(_ event: Epoll.Event) {
        let number = event.token & 0x00ff_ffff_ffff_ffff
        switch Source(rawValue: event.token >> 56) {
        case .wakeUp: isWoken = true
        case .link: readLink(event.ready)
        case .datagrams: readDatagrams(Int32(number))
        case .streams: acceptClients(Int32(number))
        case .client: serveClient(number, event.ready)
        case .upstream: readUpstream(Int32(number), event.ready)
        case nil: break
        }
    }

    /// Sends what the resolver has to say, until it has nothing more.
    func settle() {
        flush()
        while !resolver.actions.isEmpty || !stalled.isEmpty {
            let resumed = stalled
            stalled = []
            for id in resumed { resumeClient(id) }
            let actions = resolver.actions
            resolver.actions = []
            for action in actions {
                switch action {
                case .send(let socket, let upstream, let message): ask(socket, upstream, message)
                case .release(let socket): release(socket)
                case .report(let report): link?.send(report.encoded, epoll)
                }
            }
            flush()
        }
    }

    /// Answers that are for one socket in a row go out in one call.
    private func flush() {
        let replies = resolver.outbox.replies
        guard !replies.isEmpty else { return }
        var current: Int32 = -1
        for (index, reply) in replies.enumerated() {
            let range = resolver.outbox.range(index)
            if reply.client.connection != 0 {
                answerClient(reply.client.connection, resolver.outbox.bytes[range])
                // Datagrams of one call lie one behind the other.
                sendDatagrams(current)
                continue
            }
            if reply.client.listener != current { sendDatagrams(current) }
            current = reply.client.listener
            datagrams.append(start: range.lowerBound, end: range.upperBound, to: reply.client.peer)
        }
        sendDatagrams(current)
        resolver.outbox.removeAll()
    }

    private func sendDatagrams(_ listener: Int32) {
        guard !datagrams.isEmpty, listener >= 0 else { return }
        // A socket that has been closed meanwhile cannot answer.
        let number = listeners[Int(listener)].map { $0.socket.descriptor.rawValue } ?? -1
        _ = datagrams.flush(resolver.outbox.bytes, through: number)
    }

    // MARK: Datagrams

    private func readDatagrams(_ listener: Int32) {
        guard let number = listeners[Int(listener)].map({ $0.socket.descriptor.rawValue }),
            let count = try? inbox.receive(from: number), count > 0
        else { return }
        let now = monotonicMilliseconds()
        let total = (0..<count).reduce(0) { $0 + inbox.count($1) }
        pace.read(total, at: now)
        if total <= FairPass.few {
            for index in 0..<count { servePiece(index, listener, now) }
        } else {
            let pass = FairPass(
                (0..<count).map {
                    let sender = ClientReference(listener: listener, peer: inbox.sender($0))
                    return FairPass.Piece(client: resolver.clientIndex(sender), count: inbox.count($0))
                })
            for index in pass.order {
                servePiece(index, listener, now)
                if resolver.outbox.replies.count >= FairPass.few { flush() }
            }
            for (client, count) in pass.dropped { resolver.dropped(count, of: client) }
        }
        settle()
    }

    private func servePiece(_ index: Int, _ listener: Int32, _ now: UInt64) {
        let client = ClientReference(listener: listener, peer: inbox.sender(index))
        // Port 0 cannot be answered.
        guard client.peer.port != 0 else { return }
        for number in 0..<inbox.count(index) {
            resolver.query(inbox.bytes, inbox.range(index, number), from: client, at: now)
        }
    }

    // MARK: Orders

    func adopt(link descriptor: consuming Descriptor) {
        if let old = link { epoll.remove(old.number) }
        let new = ManagerLink(descriptor)
        link = nil
        guard (try? epoll.add(new.number, .read, token: Source.link.token(0))) != nil else { return }
        link = new
    }

    private func readLink(_ ready: Epoll.Interest) {
        guard let link else { return }
        if ready.contains(.write) { link.flush(epoll) }
        // So many at a time, that queries do not wait for a whole fabric to be told.
        for _ in 0..<64 {
            switch link.receive() {
            case .order(let order, let passenger):
                carryOut(order, Descriptor(owning: passenger))
            case .nothing: return settle()
            case .ended:
                epoll.remove(link.number)
                self.link = nil
                return settle()
            }
        }
        settle()
    }

    private func carryOut(_ order: ResolverOrder, _ passenger: consuming Descriptor) {
        switch order {
        case .listener(let description): adoptListener(description, passenger)
        case .upstreamSocket(let transport, let family):
            adopt(UpstreamSocket(transport, family, passenger))
        default:
            resolver.order(order, at: monotonicMilliseconds())
            switch order {
            case .begin:
                let all = listeners.compactMap { $0?.description }
                for (part, isLast) in all.parts(of: ResolverReport.mostListeners) {
                    resolver.actions.append(
                        .report(
                            .listening(
                                part, upstreamSockets: resolver.upstreamSocketCount, isLast: isLast)))
                }
            case .end, .removeNetwork: closeOrphans()
            default: break
            }
        }
    }

    private func adoptListener(_ wanted: ListenerDescription, _ passenger: consuming Descriptor) {
        guard passenger.rawValue >= 0, (try? passenger.setNonblocking()) != nil else { return }
        var description = wanted
        description.address = (try? passenger.localAddress())?.address
        // Some 1,300 queries: enough for the time that a pass takes. More would make everybody wait in a flood.
        passenger.askForReceiveBuffer(512 << 10)
        if description.transport == .udp { passenger.takePiecesWhole() }
        let socket = OpenSocket(passenger)
        let number: Int32
        if let same = listeners.firstIndex(where: { $0?.description == description }) {
            closeListener(same)
            number = Int32(same)
            resolver.replaceListener(number, description)
        } else if let free = listeners.firstIndex(where: { $0 == nil }) {
            number = Int32(free)
            resolver.replaceListener(number, description)
        } else {
            number = resolver.addListener(description)
            listeners.append(nil)
        }
        let source: Source = description.transport == .udp ? .datagrams : .streams
        guard
            (try? epoll.add(socket.descriptor.rawValue, .read, token: source.token(UInt64(number)))) != nil
        else { return }
        listeners[Int(number)] = (socket, description)
    }

    private func closeListener(_ index: Int) {
        guard let open = listeners[index] else { return }
        epoll.remove(open.socket.descriptor.rawValue)
        listeners[index] = nil
        for id in clients.of(listener: Int32(index)) { closeClient(id) }
    }

    /// Listeners of networks that are gone.
    private func closeOrphans() {
        for (index, open) in listeners.enumerated() {
            if let network = open?.description.network, network != 0, !resolver.hasNetwork(network) {
                closeListener(index)
            }
        }
    }

    // MARK: Streams

    private func acceptClients(_ listener: Int32) {
        guard let socket = listeners[Int(listener)]?.socket else { return }
        for _ in 0..<16 {
            do throws(SystemError) {
                guard let accepted = try socket.descriptor.acceptNow() else { return }
                let (descriptor, peer) = accepted.take()
                let (id, tooMany) = clients.add(
                    StreamClient(Descriptor(owning: descriptor), listener: listener, peer: peer),
                    now: monotonicMilliseconds())
                for id in tooMany { closeClient(id) }
                try epoll.add(descriptor, .read, token: Source.client.token(id))
            } catch {
                // Out of descriptors, most likely: whoever has been silent for longest makes room.
                if let id = clients.idlest { closeClient(id) }
                return
            }
        }
    }
}
