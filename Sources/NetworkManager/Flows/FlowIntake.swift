internal import Firewall
internal import Model
internal import Synchronization

/// Whose flows could not be told, before it is known who that is.
enum RawLoss: Hashable, Sendable {
    case share(DenialSource, UInt64)
    case denials(UInt64)
    case connections
}

/// Where flows wait to be told: the window that is open, and the one before it while names are sought.
final class FlowIntake: Sendable {
    /// Different flows of one window: past it nothing is read until it has been told.
    static let capacity = 8192

    struct Closed: Sendable {
        var records: [FlowRecord]
        var losses: [RawLoss]
        var waiters: [CheckedContinuation<Void, Never>]
    }

    fileprivate struct Part {
        var window = FlowWindow()
        var losses: [RawLoss] = []
        var waiters: [CheckedContinuation<Void, Never>] = []

        var isEmpty: Bool { window.isEmpty && losses.isEmpty && waiters.isEmpty }
    }

    fileprivate struct State {
        var open = Part()
        var closing: Part?
        /// The open window is to be closed as soon as the one before it is told.
        var closeIsDue = false
        var isOver = false
    }

    private let state = Mutex(State())
    /// Something is there to be looked at.
    let signals: AsyncStream<Void>
    private let signal: AsyncStream<Void>.Continuation

    init() { (signals, signal) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1)) }

    /// Nothing more can be taken in until a window has been told.
    var isFull: Bool { state.withLock { $0.open.window.count >= Self.capacity } }

    func add(_ flows: [(key: FlowKey, time: UInt64, sourcePort: UInt16?)], losses: [RawLoss] = []) {
        guard !flows.isEmpty || !losses.isEmpty else { return }
        state.withLock { state in
            for flow in flows {
                state.open.window.add(flow.key, time: flow.time, sourcePort: flow.sourcePort)
            }
            state.open.losses += losses
            if state.open.window.count >= Self.capacity { state.close() }
        }
        signal.yield()
    }

    /// Ends the open window, or the next one if one is being told.
    func close() {
        state.withLock { $0.close() }
        signal.yield()
    }

    /// Ends the open window, and resumes the caller when all that was in it is told.
    func close(then waiter: CheckedContinuation<Void, Never>) {
        let isOver = state.withLock { state in
            if state.isOver { return true }
            state.open.waiters.append(waiter)
            state.close()
            return false
        }
        if isOver { waiter.resume() } else { signal.yield() }
    }

    /// Nobody is to wait any more.
    func finish() {
        let waiters = state.withLock { state in
            state.isOver = true
            defer {
                state.open.waiters = []
                state.closing?.waiters = []
            }
            return state.open.waiters + (state.closing?.waiters ?? [])
        }
        for waiter in waiters { waiter.resume() }
        signal.finish()
    }

    /// Flows that nobody has been asked about yet, those that are told next first.
    func takeNew(atMost limit: Int) -> [FlowKey] {
        state.withLock { state in
            if let keys = state.closing?.window.takeNew(atMost: limit), !keys.isEmpty { return keys }
            return state.open.window.takeNew(atMost: limit)
        }
    }

    func resolve(_ keys: [FlowKey], _ meanings: [FlowMeaning?]) {
        state.withLock { state in
            state.closing?.window.resolve(keys, meanings)
            state.open.window.resolve(keys, meanings)
        }
    }

    /// What is to be told now, if a window has ended; the caller has asked about all of its flows.
    func takeClosed() -> Closed? {
        state.withLock { state -> Closed? in
            guard var part = state.closing else { return nil }
            state.closing = nil
            if state.closeIsDue { state.close() }
            return Closed(records: part.window.close(), losses: part.losses, waiters: part.waiters)
        }
    }
}

extension FlowIntake.State {
    fileprivate mutating func close() {
        guard closing == nil else {
            closeIsDue = true
            return
        }
        closeIsDue = false
        guard !open.isEmpty else { return }
        closing = open
        open = FlowIntake.Part()
    }
}
