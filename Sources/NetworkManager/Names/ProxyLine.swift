internal import Dispatch
internal import Glibc
internal import Synchronization
internal import Sys

/// A line to a part of the proxy: messages in order both ways, each with a descriptor if need be.
///
/// Sending never waits for the other end: what it does not read yet waits in a queue of its own. An order that
/// cannot be sent all the same breaks the line: nothing that waits is sent any more, and then the other end has
/// to be told everything. Of what comes so much waits for its reader and no more; the rest stays with the
/// kernel, and the sender.
///
/// `@unchecked`: the source is touched in `init`, and by `Intake` under its lock.
final class ProxyLine: @unchecked Sendable {
    typealias Message = (bytes: [UInt8], passenger: Int32)

    /// Messages with the descriptor that came along; -1 for none. Whoever takes one closes it. For one reader.
    let messages: Messages

    struct Messages: AsyncSequence, Sendable {
        fileprivate let stream: AsyncStream<Message>
        fileprivate let intake: Intake

        struct AsyncIterator: AsyncIteratorProtocol {
            fileprivate var stream: AsyncStream<Message>.Iterator
            fileprivate let intake: Intake

            mutating func next() async -> Message? { await next(isolation: nil) }

            mutating func next(isolation actor: isolated (any Actor)?) async -> Message? {
                let message = await stream.next(isolation: actor)
                if message != nil { intake.took() }
                return message
            }
        }

        func makeAsyncIterator() -> AsyncIterator {
            AsyncIterator(stream: stream.makeAsyncIterator(), intake: intake)
        }
    }

    /// Held by the source's handlers too: it is closed once the source has let go of its number.
    private final class Box: Sendable {
        let link: PacketLink
        init(_ descriptor: consuming Descriptor) { link = PacketLink(descriptor) }

        /// Takes what is there, if there is room for it.
        /// - Returns: false at the end.
        func read(_ intake: Intake, _ message: (_ bytes: [UInt8], _ passenger: Int32) -> Void) -> Bool {
            while intake.makesRoom() {
                do throws(SystemError) {
                    guard let received = try link.receive() else { return false }
                    let (bytes, passenger) = received.take()
                    intake.came()
                    message(bytes, passenger)
                } catch { return error.errno == .again }
            }
            return true
        }
    }

    private struct Outlet {
        var waiting = 0
        var isBroken = false
    }

    private let box: Box
    private let writing = DispatchQueue(label: "proxy.write")
    private let intake: Intake
    private let outlet = Mutex(Outlet())
    private let lost: @Sendable (ProxyLine) -> Void

    private let most: Int
    /// How long a proxy may read nothing.
    private static let patienceMilliseconds: Int32 = 10_000

    /// - Parameters:
    ///   - most: orders that wait; more wait for no proxy that works.
    ///   - lost: called when the line can be used again after orders were lost.
    init(
        _ descriptor: consuming Descriptor, most: Int = 200_000,
        lost: @escaping @Sendable (ProxyLine) -> Void
    ) {
        self.most = most
        let box = Box(descriptor)
        self.box = box
        self.lost = lost
        let (stream, continuation) = AsyncStream<Message>.makeStream()
        let source = DispatchSource.makeReadSource(
            fileDescriptor: box.link.descriptor.rawValue, queue: DispatchQueue(label: "proxy.read"))
        let intake = Intake(source)
        self.intake = intake
        messages = Messages(stream: stream, intake: intake)
        source.setEventHandler {
            if !box.read(intake, { continuation.yield(($0, $1)) }) { source.cancel() }
        }
        source.setCancelHandler { continuation.finish() }
        source.activate()
    }

    deinit { intake.end() }

    /// - Parameter passenger: goes along, and is closed here.
    func send(_ bytes: [UInt8], with passenger: consuming Descriptor? = nil) {
        assert(bytes.count <= PacketLink.limit, "an order of \(bytes.count) bytes")
        let number = passenger.release() ?? -1
        let isQueued = enqueue {
            let passenger = Descriptor(owning: number)
            $0.write(bytes, passenger.rawValue >= 0 ? [passenger.rawValue] : [])
        }
        if !isQueued { _ = Descriptor(owning: number) }
    }

    /// Sends descriptors that are made when it is their turn: however many messages wait, those of one exist.
    /// - Parameter make: makes as many as 64, which are closed here. Called on the line's queue.
    func send(_ bytes: [UInt8], making make: @escaping @Sendable () -> [Int32]) {
        enqueue { line in
            if line.isBroken { return }
            let passengers = make()
            if !passengers.isEmpty { line.write(bytes, passengers) }
            for passenger in passengers { _ = Descriptor(owning: passenger) }
        }
    }

    /// - Returns: false where the line is broken.
    @discardableResult
    private func enqueue(_ write: @escaping @Sendable (ProxyLine) -> Void) -> Bool {
        let (isQueued, isFull) = outlet.withLock { outlet in
            let isFull = outlet.waiting >= most
            let isQueued = !isFull && !outlet.isBroken
            if isQueued { outlet.waiting += 1 }
            return (isQueued, isFull)
        }
        if isFull { breakOff() }
        guard isQueued else { return false }
        writing.async { [self] in
            write(self)
            outlet.withLock { $0.waiting -= 1 }
        }
        return true
    }

    private var isBroken: Bool { outlet.withLock { $0.isBroken } }

    /// Sends nothing more of what waits, and then says so: not at once, for a proxy that is busy.
    private func breakOff() {
        let isFirst = outlet.withLock { outlet in
            defer { outlet.isBroken = true }
            return !outlet.isBroken
        }
        guard isFirst else { return }
        writing.asyncAfter(deadline: .now() + .seconds(1)) { [self] in
            outlet.withLock { $0.isBroken = false }
            lost(self)
        }
    }

    private func write(_ bytes: [UInt8], _ passengers: [Int32]) {
        while !isBroken {
            do throws(SystemError) { return try box.link.send(bytes, passengers: passengers) } catch {
                switch error.errno.rawValue {
                case EAGAIN:
                    let isWritable = try? waitWritable(
                        box.link.descriptor.rawValue, milliseconds: Self.patienceMilliseconds)
                    if isWritable != true { breakOff() }
                // A proxy that has ended is told everything when it is started anew.
                case EPIPE, ECONNRESET, ENOTCONN: return
                // No message: it would be none the next time either.
                case EMSGSIZE, EINVAL: return
                default: breakOff()
                }
            }
        }
    }
}

/// Keeps count of messages that wait for their reader, and stops the source while there are too many.
private final class Intake: @unchecked Sendable {
    private struct State {
        var waiting = 0
        var isStopped = false
        var isOver = false
    }

    /// Touched under the lock only, and by its own handlers.
    private let source: any DispatchSourceRead
    private let state = Mutex(State())

    /// Reports that wait.
    private static let most = 1024

    init(_ source: any DispatchSourceRead) { self.source = source }

    /// Whether another may wait; where not the source is stopped.
    func makesRoom() -> Bool {
        state.withLock { state in
            guard state.waiting >= Self.most, !state.isOver else { return true }
            if !state.isStopped { source.suspend() }
            state.isStopped = true
            return false
        }
    }

    func came() { state.withLock { $0.waiting += 1 } }

    func took() {
        state.withLock { state in
            state.waiting -= 1
            guard state.isStopped, state.waiting <= Self.most / 2 else { return }
            state.isStopped = false
            source.resume()
        }
    }

    func end() {
        state.withLock { state in
            state.isOver = true
            source.cancel()
            // One that is stopped does not end.
            if state.isStopped { source.resume() }
            state.isStopped = false
        }
    }
}

extension Optional where Wrapped: ~Copyable {
    fileprivate consuming func release() -> Int32? where Wrapped == Descriptor {
        switch consume self {
        case .some(let descriptor): descriptor.release()
        case .none: nil
        }
    }
}
