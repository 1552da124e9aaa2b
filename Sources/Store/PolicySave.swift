internal import Dispatch
internal import GRDB
internal import Synchronization

/// A change of policies that is written but not yet kept: many are written on another thread while the caller
/// puts them in force, and the transaction ends when that has turned out well or not.
///
/// One of `commit` and `abandon` is to be called; nothing else is stored before.
package final class PolicySave: Sendable {
    /// Fewer are written faster than another thread is woken.
    private static var worthAThread: Int { 64 }

    private enum Decision {
        case keep
        case drop
    }

    private struct Dropped: Error {}

    private let write: @Sendable (_ atEnd: () throws -> Void) throws -> Void
    private let isUnderWay: Bool
    private let decision = Mutex(Decision.drop)
    private let decided = DispatchSemaphore(value: 0)
    private let result = Mutex<Result<Void, any Error>?>(nil)
    private let ended = DispatchSemaphore(value: 0)

    /// - Parameter write: one transaction, which calls `atEnd` last and ends as that does.
    init(count: Int, _ write: @escaping @Sendable (_ atEnd: () throws -> Void) throws -> Void) {
        self.write = write
        isUnderWay = count > Self.worthAThread
        guard isUnderWay else { return }
        DispatchQueue.global(qos: .userInitiated).async {
            let result = Result {
                try write {
                    self.decided.wait()
                    if self.decision.withLock({ $0 }) == .drop { throw Dropped() }
                }
            }
            self.result.withLock { $0 = result }
            self.ended.signal()
        }
    }

    /// Keeps the change, once it is written.
    package func commit() throws {
        guard isUnderWay else { return try write {} }
        decide(.keep)
        try result.withLock { $0 }?.get()
    }

    /// Leaves what is stored as it was.
    package func abandon() { if isUnderWay { decide(.drop) } }

    private func decide(_ verdict: Decision) {
        decision.withLock { $0 = verdict }
        decided.signal()
        ended.wait()
    }
}
