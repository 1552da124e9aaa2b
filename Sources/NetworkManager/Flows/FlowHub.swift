internal import Model
internal import Synchronization

/// Hands events to whoever watches, each with a buffer of its own: one that is slow misses events, is told how
/// many, and keeps nobody waiting.
final class FlowHub: Sendable {
    /// Events that wait for a reader.
    static let buffer = 1024

    fileprivate struct Reader {
        let filter: FlowFilter
        let continuation: AsyncStream<FlowEvent>.Continuation
        var missed: UInt64 = 0
    }

    private struct State {
        var memory = FlowMemory()
        var readers: [Int: Reader] = [:]
        var nextReader = 0
        var isClosed = false
    }

    private let state = Mutex(State())
    /// Called when ``wantsConnections`` may have changed.
    private let onDemand: @Sendable () -> Void

    init(onDemand: @escaping @Sendable () -> Void) { self.onDemand = onDemand }

    /// Whether anybody wants to hear of connections that are allowed.
    var wantsConnections: Bool {
        state.withLock { state in
            !state.isClosed && state.readers.values.contains { !$0.filter.deniedOnly }
        }
    }

    var isWatched: Bool { state.withLock { !$0.isClosed && !$0.readers.isEmpty } }

    func publish(_ events: [FlowEvent]) {
        state.withLock { state in
            for event in events { state.memory.remember(event) }
            for number in state.readers.keys {
                guard let filter = state.readers[number]?.filter else { continue }
                for event in events where filter.passes(event) { state.readers[number]?.offer(event) }
                state.readers[number]?.tellMissed()
            }
        }
    }

    /// Whether a reader has missed something and has not been told.
    func tellMissed() -> Bool {
        state.withLock { state in
            for number in state.readers.keys { state.readers[number]?.tellMissed() }
            return state.readers.values.contains { $0.missed > 0 }
        }
    }

    /// A stream of what is remembered, if `recent`, then of what happens, if `follows`.
    func watch(_ filter: FlowFilter, recent: Bool, follows: Bool) -> AsyncStream<FlowEvent> {
        let (stream, continuation, number) = state.withLock { state in
            let remembered = recent ? state.memory.all.filter(filter.passes) : []
            // What is remembered does not take the place of what happens while it is read.
            let (stream, continuation) = AsyncStream.makeStream(
                of: FlowEvent.self, bufferingPolicy: .bufferingOldest(remembered.count + Self.buffer))
            for event in remembered { continuation.yield(event) }
            guard follows, !state.isClosed else {
                continuation.finish()
                return (stream, continuation, Int?.none)
            }
            state.nextReader += 1
            state.readers[state.nextReader] = Reader(filter: filter, continuation: continuation)
            return (stream, continuation, state.nextReader)
        }
        if let number {
            continuation.onTermination = { [weak self] _ in self?.leave(number) }
            onDemand()
        }
        return stream
    }

    /// Ends all streams: those who read them are told so.
    func close() {
        let readers = state.withLock { state in
            state.isClosed = true
            return Array(state.readers.values)
        }
        for reader in readers { reader.continuation.finish() }
    }

    private func leave(_ number: Int) {
        state.withLock { _ = $0.readers.removeValue(forKey: number) }
        onDemand()
    }
}

extension FlowHub.Reader {
    fileprivate mutating func offer(_ event: FlowEvent) {
        tellMissed()
        if missed > 0 {
            // Its place is behind those that it missed.
            missed += 1
        } else if case .dropped = continuation.yield(event) {
            missed = 1
        }
    }

    fileprivate mutating func tellMissed() {
        guard missed > 0, case .enqueued = continuation.yield(.missed(missed, time: FlowMonitor.now)) else {
            return
        }
        missed = 0
    }
}
