internal import CLinux
internal import Synchronization
package import Sys

/// The way to a forwarder that runs on a thread of its own.
package final class ForwardControl: Sendable {
    private struct State {
        var link: Int32 = -1
        var isStopping = false
    }

    private let state = Mutex(State())
    private let bell: Descriptor

    package init() throws(SystemError) {
        bell = Descriptor(
            owning: try system("eventfd") { eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK)) })
    }

    deinit { _ = Descriptor(owning: take().link) }

    /// Gives the forwarder a link to another manager, in place of the one that it has.
    package func adopt(_ link: consuming Descriptor) {
        let number = link.release()
        let replaced = state.withLock { state in
            let replaced = state.link
            state.link = number
            return replaced
        }
        if replaced >= 0 { _ = CLinux.close(replaced) }
        ring()
    }

    /// Ends `run`, and with it everything that is forwarded.
    package func stop() {
        state.withLock { $0.isStopping = true }
        ring()
    }

    private func ring() {
        var one: UInt64 = 1
        _ = unsafe CLinux.write(bell.rawValue, &one, 8)
    }

    /// Becomes readable when there is something to take.
    var number: Int32 { bell.rawValue }

    /// What has been asked for since the last time.
    /// - Returns: the link is -1 where there is no other, else the caller's to close.
    func take() -> (link: Int32, isStopping: Bool) {
        var count: UInt64 = 0
        _ = unsafe CLinux.read(bell.rawValue, &count, 8)
        return state.withLock { state in
            defer { state.link = -1 }
            return (state.link, state.isStopping)
        }
    }
}
