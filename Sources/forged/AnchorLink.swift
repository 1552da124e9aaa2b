internal import CLinux
internal import Dispatch
internal import Namespaces
internal import NetworkManager
internal import Synchronization
internal import Sys

/// The manager's line to the anchor, which sees the host as the host sees itself, keeps the proxy and runs the
/// uplink.
///
/// It is there for as long as the process. `@unchecked`: the source is set up in `init` and `start`, and then
/// touched on its own queue.
final class AnchorLink: ProxyHost, @unchecked Sendable {
    private struct State {
        var lastID: UInt32 = 0
        /// Who waits for the answer to a question.
        var waiting: [UInt32: Waiter] = [:]
        var isClosed = false
    }

    /// Wakes a thread that waits, with what came.
    private final class Waiter: Sendable {
        let semaphore = DispatchSemaphore(value: 0)
        let answer = Mutex<(message: ControlMessage, passenger: Int32)?>(nil)

        /// An answer that nobody took.
        deinit {
            if let passenger = answer.withLock({ $0?.passenger }) { _ = Descriptor(owning: passenger) }
        }
    }

    private let socket: ControlSocket
    private let state = Mutex(State())
    private let source: any DispatchSourceRead
    private let lines = AsyncStream<ProxyLines?>.makeStream()

    init(_ descriptor: consuming Descriptor) {
        socket = ControlSocket(descriptor)
        source = DispatchSource.makeReadSource(
            fileDescriptor: socket.descriptor.rawValue, queue: DispatchQueue(label: "anchor"))
    }

    /// Begins to listen to the anchor.
    func start() {
        source.setEventHandler { [weak self] in self?.read() }
        source.activate()
    }

    func reportReady() { try? socket.send(.ready) }
    func reportFailure(_ text: String) { try? socket.send(.failed(text)) }

    // MARK: What the manager needs

    var proxies: AsyncStream<ProxyLines?> { lines.stream }

    func needProxy(_ isNeeded: Bool) -> Bool { sends(.needsProxy(isNeeded)) }

    /// Opens a port of the host's.
    /// - Throws: `SystemError` as bind(2) has it.
    func openPort(_ port: HostPort) throws -> Descriptor {
        let (message, passenger) = try ask { .openPort(id: $0, port) }
        let socket = Descriptor(owning: passenger)
        guard case .opened(_, let errno) = message else { throw Self.noAnswer }
        guard errno == 0, socket.rawValue >= 0 else {
            throw SystemError("bind", Errno(rawValue: errno), "\(port)")
        }
        return socket
    }

    /// Says whether a way out of the fabric's namespaces is of use.
    func tellUplink(wanted: Bool) -> Bool { sends(.uplink(wanted: wanted)) }

    private func sends(_ message: ControlMessage) -> Bool {
        do { try socket.send(message) } catch { return false }
        return true
    }

    /// How the way out is doing.
    /// - Throws: `SystemError`; `Errno.again` if the anchor does not answer within a second.
    func uplink() throws -> UplinkState {
        let (message, passenger) = try ask { .askUplink(id: $0) }
        _ = Descriptor(owning: passenger)
        guard case .uplinkIs(_, let state) = message else { throw Self.noAnswer }
        return state
    }

    /// Who is at the other end of a Unix connection, in the host's numbers: in the fabric's own user
    /// namespace the host's root and strangers look alike. Takes some 30 µs.
    /// - Throws: `SystemError`; `Errno.again` if the anchor does not answer within a second.
    func peer(of connection: Int32) throws -> Peer {
        let (message, passenger) = try ask(with: connection) { .whoIs(id: $0) }
        _ = Descriptor(owning: passenger)
        guard case .peer(_, let errno, let uid, let pid) = message else { throw Self.noAnswer }
        guard errno == 0 else { throw SystemError("SO_PEERCRED", Errno(rawValue: errno), "connection") }
        return Peer(uid: uid, pid: pid)
    }

    // MARK: Asking

    private static var noAnswer: SystemError {
        SystemError("receive", .brokenPipe, "answer of the anchor")
    }

    /// Sends a question and waits for its answer.
    /// - Returns: the answer with the descriptor that came along, the caller's to close; -1 for none.
    private func ask(
        with companion: Int32? = nil, _ question: (UInt32) -> ControlMessage
    ) throws -> (ControlMessage, Int32) {
        let waiter = Waiter()
        let id = try state.withLock { state in
            guard !state.isClosed else { throw Self.noAnswer }
            state.lastID &+= 1
            state.waiting[state.lastID] = waiter
            return state.lastID
        }
        defer { state.withLock { $0.waiting[id] = nil } }
        if let companion {
            try socket.send(question(id), with: companion)
        } else {
            try socket.send(question(id))
        }
        guard waiter.semaphore.wait(timeout: .now() + 1) == .success else {
            throw SystemError("receive", .again, "answer of the anchor")
        }
        return try waiter.answer.withLock { answer in
            defer { answer = nil }
            guard let answer else { throw Self.noAnswer }
            return (answer.message, answer.passenger)
        }
    }

    // MARK: Reading

    private func read() {
        while true {
            do throws(SystemError) {
                guard let received = try socket.receive() else { return close() }
                let message = received.message
                let passengers = received.takePassengers()
                take(message, Descriptor(owning: passengers.0), Descriptor(owning: passengers.1))
            } catch {
                if error.errno != .again { close() }
                return
            }
        }
    }

    private func take(
        _ message: ControlMessage?, _ first: consuming Descriptor, _ second: consuming Descriptor
    ) {
        switch message {
        case .peer(let id, _, _, _), .opened(let id, _), .uplinkIs(let id, _):
            // An answer to a question that was given up on is passed over.
            guard let message, let waiter = state.withLock({ $0.waiting.removeValue(forKey: id) }) else {
                return
            }
            let passenger = first.release()
            waiter.answer.withLock { $0 = (message, passenger) }
            waiter.semaphore.signal()
        case .proxy(let pid, 0):
            lines.continuation.yield(ProxyLines(pid: pid, names: first, ports: second))
        case .proxy: lines.continuation.yield(nil)
        case .whoIs, .ready, .failed, .needsProxy, .openPort, .uplink, .askUplink, nil: break
        }
    }

    private func close() {
        source.cancel()
        let waiting = state.withLock { state in
            state.isClosed = true
            defer { state.waiting = [:] }
            return state.waiting.values
        }
        for waiter in waiting { waiter.semaphore.signal() }
    }
}
