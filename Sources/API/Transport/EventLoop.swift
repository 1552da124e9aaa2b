internal import CLinux
internal import Synchronization
internal import Sys

/// One thread that runs tasks and watches descriptors.
///
///     epoll --> watchers --> tasks --> ... --> tasks --> settlers --> epoll
///
/// A call is read, served and answered without changing threads. What a round of tasks leaves to be sent goes
/// out at its end, in one piece, or while the round goes on, where that takes long. Whatever belongs to the loop is
/// touched on its thread alone.
final class EventLoop: TaskExecutor, @unchecked Sendable {
    /// For all of this process's API traffic. It lives as long as the process: a task may come back to it at
    /// any time.
    /// - Throws: `SystemError` where there are no descriptors or no threads left; it is tried again then.
    static var shared: EventLoop {
        get throws(SystemError) {
            try made.withLock { made throws(SystemError) in
                if let made { return made }
                let loop = try EventLoop()
                made = loop
                return loop
            }
        }
    }

    private static let made = Mutex<EventLoop?>(nil)

    typealias Action = @Sendable () -> Void

    private enum Work {
        case job(UnownedJob)
        case action(Action)
    }

    // Any thread's.
    private let handedOver = Mutex<[Work]>([])
    private let wakeUp: WakeUp
    private let thread = Atomic<UInt>(0)

    // The loop's own.
    private var epoll: Epoll
    private var ready: [Work] = []
    private var watchers: [UInt64: (Epoll.Interest) -> Void] = [:]
    private var lastToken: UInt64 = 0
    private var settlers: [() -> Void] = []

    /// Rounds of tasks between two looks at the descriptors, so that tasks that go on and on hold up nobody.
    private static let roundsInARow = 32
    /// After this much of a round what has been made is sent: others can work on it meanwhile.
    private static let longRound = Duration.milliseconds(1)

    private init() throws(SystemError) {
        wakeUp = try WakeUp()
        epoll = try Epoll()
        try epoll.add(wakeUp.rawValue, .read, token: 0)
        try startThread {
            self.thread.store(UInt(pthread_self()), ordering: .relaxed)
            self.turn()
        }
    }

    var isCurrent: Bool { thread.load(ordering: .relaxed) == UInt(pthread_self()) }

    // MARK: Tasks

    func enqueue(_ job: consuming ExecutorJob) { take(.job(UnownedJob(job))) }

    /// Does something on the loop's thread, later.
    func execute(_ action: @escaping Action) { take(.action(action)) }

    /// Does something on the loop's thread: at once for who is on it already, as all of gRPC's tasks here are.
    nonisolated(nonsending) func run<Result: Sendable>(
        _ body: @escaping @Sendable () throws -> Result
    ) async throws -> Result {
        if isCurrent { return try body() }
        return try await withCheckedThrowingContinuation { continuation in
            execute { continuation.resume(with: Swift.Result { try body() }) }
        }
    }

    private func take(_ work: Work) {
        if isCurrent {
            ready.append(work)
            return
        }
        let wasEmpty = handedOver.withLock { all in
            defer { all.append(work) }
            return all.isEmpty
        }
        if wasEmpty { wakeUp.signal() }
    }

    // MARK: Descriptors; on the loop's thread

    /// Calls `ready` whenever the descriptor is ready for what is asked, until `ignore`.
    /// - Returns: the watch's number.
    func watch(
        _ descriptor: Int32, _ interest: Epoll.Interest, _ ready: @escaping (Epoll.Interest) -> Void
    ) throws(SystemError) -> UInt64 {
        lastToken += 1
        try epoll.add(descriptor, interest, token: lastToken)
        watchers[lastToken] = ready
        return lastToken
    }

    func change(_ watch: UInt64, of descriptor: Int32, _ interest: Epoll.Interest) {
        try? epoll.change(descriptor, interest, token: watch)
    }

    func ignore(_ watch: UInt64, of descriptor: Int32) {
        watchers[watch] = nil
        epoll.remove(descriptor)
    }

    /// Does something once, when no task is ready to run, or many rounds or a long one have.
    func whenSettled(_ action: @escaping () -> Void) { settlers.append(action) }

    // MARK: The thread

    private func turn() -> Never {
        while true {
            var rounds = 0
            while !ready.isEmpty, rounds < Self.roundsInARow {
                rounds += 1
                let round = ready
                ready.removeAll(keepingCapacity: true)
                var start = ContinuousClock.now
                for work in round {
                    perform(work)
                    guard !settlers.isEmpty, start.duration(to: .now) > Self.longRound else { continue }
                    settle()
                    start = .now
                }
                if ready.isEmpty { settle() }
            }
            settle()
            let isIdle = ready.isEmpty && settlers.isEmpty
            let events: [Epoll.Event]
            do throws(SystemError) { events = try epoll.wait(milliseconds: isIdle ? -1 : 0) } catch {
                // epoll_wait(2) fails for a descriptor that is none, or no epoll's: somebody closed what is ours.
                // No task of the API would ever run again, and nobody would hear of it.
                fatalError("the event loop cannot wait: \(error)")
            }
            for event in events {
                if event.token == 0 { takeOver() } else { watchers[event.token]?(event.ready) }
            }
        }
    }

    private func takeOver() {
        wakeUp.clear()
        ready += handedOver.withLock { all in
            defer { all.removeAll(keepingCapacity: true) }
            return all
        }
    }

    private func perform(_ work: Work) {
        switch work {
        case .job(let job): unsafe job.runSynchronously(on: asUnownedTaskExecutor())
        case .action(let action): action()
        }
    }

    private func settle() {
        let due = settlers
        settlers.removeAll(keepingCapacity: true)
        for action in due { action() }
    }
}
