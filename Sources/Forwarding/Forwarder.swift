internal import CLinux
internal import Glibc
package import Sys
internal import Wire

/// Bounds of a forwarder; times in milliseconds.
package struct ForwardLimits: Hashable, Sendable {
    /// Connections, or clients of UDP, of one port at a time.
    package var perPort = 4_096
    /// Descriptors that the forwarder may have in all; nil is what the process may have, less 256.
    package var descriptors: Int?
    /// How long an endpoint may take to accept a connection.
    package var connect: Int64 = 10_000
    /// How long a client of UDP is remembered that the endpoint has not answered, and one that it has.
    package var unanswered: Int64 = 60_000
    package var answered: Int64 = 180_000
    /// Clients of UDP that are let in a second: each takes a socket that the manager must make, and the source of a
    /// datagram may be anything.
    package var newClients: Int64 = 4_000
    /// How long a connection at a gate may take to ask for a host and to be allowed it.
    package var asking: Int64 = 10_000
    /// Connections of one endpoint that ask at a time.
    package var askers = 256
    /// Connections of one endpoint through gates in all.
    package var guests = 1024

    package init() {}
}

/// Forwards published ports: accepts on the host's sockets, and continues each connection by a transparent
/// socket inside the fabric, so that the endpoint sees the client's own address and port.
///
/// ```
/// client ──> host's socket ──accept──> splice ──> transparent socket ──> endpoint
///            (from the anchor)                    (from the manager, bound to the client's place)
/// ```
///
/// Everything happens on the thread that calls `run`, which no client and no endpoint can make wait. What it
/// takes from outside, sockets of both kinds, comes by the link to the manager. Without a manager forwarding goes
/// on, with as many new connections as there are transparent sockets in stock.
package final class Forwarder {
    var poller: Poller
    let limits: ForwardLimits
    var own = AddressRanges([])
    /// Parts of the next ones.
    private var comingOwn: [CIDR] = []

    var ports = SlotTable<Publication>()
    var byID: [UInt32: Publication] = [:]
    var relays = SlotTable<StreamRelay>()
    var sessions = SlotTable<DatagramSession>()
    /// Connections at gates that have not gone on.
    var askers = SlotTable<HostAsker>()
    /// The same and those that have, by the number of what they ask.
    var questions: [UInt32: HostPlace] = [:]
    /// A number that was not a forwarder's before this one: an answer to that one is none to this.
    var lastQuestion = UInt32.random(in: 0...UInt32.max)
    /// Numbers that the manager is still to be asked, and those that it is to be told of that they are over. Gates
    /// let nobody in while these are many, so that clients cannot make them more than there are connections.
    var unasked: [UInt32] = []
    var over: [UInt32] = []
    /// What has come through gates, by the address of the endpoint: those that ask, and those with them that have
    /// gone on.
    var askersOf: [IPAddress: Int] = [:]
    var guestsOf: [IPAddress: Int] = [:]
    /// Askers in the order in which their time is up.
    var asking: [(slot: Int, generation: UInt32)] = []
    /// What sessions have on both sides.
    var passages: Set<Passage> = []

    var pipes = PipePool()
    var stock: SocketStock
    let batch: DatagramBatch

    /// Relays that have more to move.
    var queue: [StreamRelay] = []
    /// Relays that wait for their endpoint, in the order in which their time is up.
    var connecting: [(slot: Int, generation: UInt32)] = []
    /// Ports that let nobody in at the moment.
    var paused: [Publication] = []
    /// When ports that lacked something of the system's are to be tried again; 0: none does.
    var retryAt: Int64 = 0
    /// Clients of UDP that may be let in now, in thousandths, as of a moment.
    var allowance: (clients: Int64, at: Int64) = (0, 0)
    /// When sessions are to be looked through next; 0: there are none.
    var sweepAt: Int64 = 0
    var now: Int64 = 0
    let budget: Int

    private(set) var link: ForwardLink
    private var hasLink = true
    /// How many ports need each kind of transparent socket.
    private var needed: [ForwardTransport: [IPFamily: Int]] = [:]
    private(set) var outbox: [ForwardReport] = []
    private var isLinkFull = false
    private var isWatchingRoom = false
    private let control: ForwardControl?
    private var isStopping = false

    /// Raises the process's limit of descriptors as far as it goes.
    package init(
        link: consuming Descriptor, control: ForwardControl? = nil, limits: ForwardLimits = ForwardLimits()
    ) throws(SystemError) {
        poller = try Poller()
        batch = try DatagramBatch()
        self.limits = limits
        self.control = control
        let allowed = try system("setrlimit", "RLIMIT_NOFILE") { cl_raise_descriptor_limit() }
        budget = limits.descriptors ?? max(64, Int(allowed) - 256)
        // What is in stock is not to take what connections need.
        stock = SocketStock(most: min(SocketPool.limit, budget / 16))
        self.link = ForwardLink(link)
        try poller.add(self.link.descriptor.rawValue, .readable, token: Token(.link).number)
        if let control { try poller.add(control.number, .readable, token: Token(.control).number) }
        // A sink that has closed is an error of its connection.
        cl_ignore_broken_pipes()
    }

    /// Forwards until `ForwardControl.stop`; without a control, until the link's other end is closed.
    package func run() throws(SystemError) {
        while !isStopping {
            let count = try poller.wait(milliseconds: timeout())
            now = monotonicMilliseconds()
            for index in 0..<count {
                let (number, events) = poller.event(index)
                if let token = Token(number) { handle(token, events) }
            }
            takeTurns()
            expireConnecting()
            expireAskers()
            expireSessions()
            askForSockets()
            flush()
            resume()
        }
        // By RST: a connection that is closed otherwise would live on in the kernel for as long as its peer is
        // silent.
        for port in Array(byID.values) { withdraw(port) }
    }

    private func handle(_ token: Token, _ events: Poller.Events) {
        switch token.kind {
        case .link: readLink(events)
        case .control: obey()
        case .port:
            guard let port = ports[token] else { return }
            if port.port.transport == .tcp { accept(port) } else { receive(port) }
        case .client, .server:
            guard let relay = relays[token] else { return }
            handle(relay, events, of: token.kind)
        case .asker:
            guard let asker = askers[token] else { return }
            listen(to: asker)
        case .session:
            guard let session = sessions[token] else { return }
            answer(session)
        }
    }

    private func timeout() -> Int32 {
        if !queue.isEmpty { return 0 }
        var next = Int64.max
        if let first = connecting.first, let relay = relays[first.slot, first.generation] {
            next = relay.connectBy
        } else if !connecting.isEmpty {
            return 0
        }
        if let first = asking.first { next = min(next, askers[first.slot, first.generation]?.until ?? 0) }
        if sweepAt > 0 { next = min(next, sweepAt) }
        if retryAt > 0 { next = min(next, retryAt) }
        if hasLink, !isLinkFull, let again = stock.askAgainAt { next = min(next, again) }
        return next == .max ? -1 : Int32(clamping: max(0, next - monotonicMilliseconds()))
    }

    // MARK: Stock

    /// What there is to spend: a connection may come to have six descriptors, a session has one.
    func affords(_ cost: Int) -> Bool {
        (relays.count + askers.count) * StreamRelay.cost + sessions.count + cost <= budget
    }

    private func need(_ port: Publication, _ change: Int) {
        for family in port.families {
            needed[port.port.transport, default: [:]][family, default: 0] += change
        }
    }

    /// Once for each kind until the answer is there; again if it does not come.
    private func askForSockets() {
        guard hasLink, !isLinkFull else { return }
        for transport in ForwardTransport.allCases {
            for family in IPFamily.allCases {
                guard needed[transport]?[family] ?? 0 > 0 else {
                    stock.forgetAsking(family, transport)
                    continue
                }
                let count = stock.toAskFor(family, transport, now)
                if count > 0 { report(.wantSockets(family, transport, count: UInt16(clamping: count))) }
            }
        }
    }

    // MARK: The link

    private func obey() {
        guard let control else { return }
        let (number, stop) = control.take()
        if stop { isStopping = true }
        guard number >= 0 else { return }
        if hasLink { poller.remove(link.descriptor.rawValue) }
        link = ForwardLink(Descriptor(owning: number))
        hasLink = true
        (isLinkFull, isWatchingRoom) = (false, false)
        outbox = []
        (unasked, over) = ([], [])
        stock.forgetAsking()
        do throws(SystemError) {
            try poller.add(number, .readable, token: Token(.link).number)
        } catch { loseLink() }
    }

    /// The manager is gone, or says what makes no sense. What is forwarded goes on.
    private func loseLink() {
        guard hasLink else { return }
        poller.remove(link.descriptor.rawValue)
        link = ForwardLink(Descriptor(owning: -1))
        hasLink = false
        outbox = []
        if control == nil { isStopping = true }
    }

    private func readLink(_ events: Poller.Events) {
        if isLinkFull, events.contains(.writable) { isLinkFull = false }
        // Connections have their turn, however much the manager has to say.
        for _ in 0..<64 {
            guard hasLink else { return }
            do throws(SystemError) {
                guard let (order, passengers) = try link.receiveOrder() else { return loseLink() }
                carryOut(order, passengers)
            } catch {
                if error.errno != .again { loseLink() }
                return
            }
        }
    }

    func report(_ report: ForwardReport) {
        // A manager that asks and does not listen is none.
        if outbox.count < 4_096 { outbox.append(report) } else { loseLink() }
    }

    private func flush() {
        guard hasLink, !isLinkFull else { return }
        var sent = 0
        do throws(SystemError) {
            while sent < outbox.count {
                try link.send(outbox[sent])
                sent += 1
            }
            outbox.removeAll(keepingCapacity: true)
            sent = 0
            try sendHosts()
        } catch {
            outbox.removeFirst(sent)
            // A lost link is told of by its own event.
            guard error.errno == .again else { return }
            isLinkFull = true
        }
        watchLink()
    }

    private func watchLink() {
        guard isWatchingRoom != isLinkFull else { return }
        isWatchingRoom = isLinkFull
        let events: Poller.Events = isLinkFull ? [.readable, .writable] : .readable
        try? poller.change(link.descriptor.rawValue, events, token: Token(.link).number)
    }

    private func carryOut(_ order: ForwardOrder, _ passengers: Passengers) {
        switch order {
        case .publish(let port):
            if let socket = passengers.take() { publish(port, socket) } else { confirm(port) }
        case .withdraw(let id):
            if let port = byID[id] { withdraw(port) }
            report(.withdrawn(id: id))
        case .refill(let family, let transport):
            while let socket = passengers.take() { stock.put(socket, family, transport) }
        case .own(let subnets, let isLast):
            comingOwn += subnets
            guard isLast else { break }
            own = AddressRanges(comingOwn)
            comingOwn = []
        case .beginResync:
            // Of a manager that did not come to its last part.
            comingOwn = []
            for port in byID.values { port.isConfirmed = false }
            for (ids, isLast) in byID.keys.sorted().parts(of: ForwardReport.portsInOne) {
                report(.holds(ids, isLast: isLast))
            }
            askAgain()
        case .endResync:
            for port in byID.values where !port.isConfirmed {
                withdraw(port)
                report(.withdrawn(id: port.port.id))
            }
        case .host(let id, let isAllowed): decide(id, isAllowed, passengers.take())
        case .count(let request):
            let all = byID.values.sorted { $0.port.id < $1.port.id }
            for (ports, isLast) in all.parts(of: ForwardReport.portsInOne) {
                let counters = ports.map { ($0.port.id, $0.counters) }
                report(
                    .counters(request: request, Dictionary(counters) { first, _ in first }, isLast: isLast))
            }
        }
    }

    // MARK: Ports

    /// Keeps what an earlier manager published, perhaps to lead elsewhere from now on.
    private func confirm(_ port: ForwardedPort) {
        guard let held = byID[port.id], held.port.transport == port.transport else {
            return report(.failed(id: port.id, errno: EBADF))
        }
        need(held, -1)
        held.port = port
        held.isConfirmed = true
        need(held, 1)
        report(.published(id: port.id))
    }

    private func publish(_ port: ForwardedPort, _ socket: consuming Descriptor) {
        guard let family = Publication.family(of: socket, for: port) else {
            return report(.failed(id: port.id, errno: EINVAL))
        }
        if let held = byID[port.id] { withdraw(held) }
        let (slot, generation) = ports.reserve()
        let number = socket.rawValue
        let publication = Publication(
            port, socket: socket, family: family, slot: slot, generation: generation)
        do throws(SystemError) {
            try poller.add(number, .readable, token: publication.token)
        } catch {
            ports.remove(slot)
            return report(.failed(id: port.id, errno: error.errno.rawValue))
        }
        ports.put(publication, at: slot)
        byID[port.id] = publication
        need(publication, 1)
        // The first datagrams wait for the first socket. Later ones do not: what is late is of no use.
        if port.transport == .udp, !canAccept(publication) { pause(publication) }
        report(.published(id: port.id))
    }

    /// Ends a port with all of its connections.
    private func withdraw(_ port: Publication) {
        need(port, -1)
        byID[port.port.id] = nil
        ports.remove(port.slot)
        // Others may have the same socket still: it must neither wake us nor let anybody in.
        poller.remove(port.socket.rawValue)
        _ = shutdown(port.socket.rawValue, Int32(SHUT_RDWR))
        paused.removeAll { $0 === port }
        for relay in relays.all where relay.port === port { end(relay, isBroken: true) }
        for asker in askers.all where asker.port === port { dismiss(asker) }
        for slot in Array(port.sessions.values) {
            if let session = sessions.at(slot) { end(session) }
        }
        // The queue may hold one of its relays, and each relay the port: nothing may keep the socket open.
        queue.removeAll { $0.port === port }
    }

    // MARK: Pausing

    /// Watches a port no more until `resume` finds that it can go on.
    func pause(_ port: Publication) {
        guard !port.isPaused else { return }
        port.isPaused = true
        paused.append(port)
        try? poller.change(port.socket.rawValue, [], token: port.token)
    }

    private func resume() {
        guard !paused.isEmpty else {
            retryAt = 0
            return
        }
        if retryAt > 0, now < retryAt { return }
        retryAt = 0
        paused.removeAll { port in
            guard canAccept(port) else { return false }
            port.isPaused = false
            try? poller.change(port.socket.rawValue, .readable, token: port.token)
            return true
        }
    }

    func limit(of port: Publication) -> UInt64 {
        UInt64(port.port.limit == 0 ? limits.perPort : min(Int(port.port.limit), limits.perPort))
    }
}

/// Milliseconds of CLOCK_MONOTONIC.
func monotonicMilliseconds() -> Int64 {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
}
