internal import Dispatch
internal import Glibc
internal import Netlink
internal import Sys

/// Turns a netlink subscription into a stream: the kernel wakes a queue, nobody waits on a thread.
///
/// An attach makes a dozen notifications. They are left to gather for a moment: a wake-up for each would take
/// the second processor from the attach, and the kernel's time for waking.
///
/// `@unchecked`: the socket is touched on the serial queue alone, and the source only in `init` and `deinit`.
final class KernelWatcher<Proto: NetlinkProtocol, Change: Sendable>: @unchecked Sendable {
    let changes: AsyncStream<Change>
    private let continuation: AsyncStream<Change>.Continuation
    private let queue = DispatchQueue(label: "kernel-watcher")
    private let source: any DispatchSourceRead
    private var socket: NetlinkSocket<Proto>
    private let read: @Sendable (inout NetlinkSocket<Proto>) -> [Change]?

    /// - Parameters:
    ///   - socket: subscribed already, in the namespace that is watched.
    ///   - read: makes changes of one datagram of notifications, without waiting for one; nil when there is none.
    ///   Called on one queue, one call at a time.
    init(
        _ socket: consuming NetlinkSocket<Proto>,
        read: @escaping @Sendable (inout NetlinkSocket<Proto>) -> [Change]?
    ) {
        (changes, continuation) = AsyncStream.makeStream()
        source = DispatchSource.makeReadSource(fileDescriptor: socket.descriptor.rawValue, queue: queue)
        self.socket = socket
        self.read = read
        source.setEventHandler { [weak self] in self?.drain() }
        source.activate()
    }

    deinit {
        source.cancel()
        continuation.finish()
    }

    private func drain() {
        usleep(Self.gatheringMicroseconds)
        // Bounded: what is left wakes the queue again.
        for _ in 0..<1000 {
            guard let changes = read(&socket) else { return }
            for change in changes { continuation.yield(change) }
        }
    }

    /// An ordinary user's socket holds some hundred notifications; an attach makes a dozen in a millisecond.
    private static var gatheringMicroseconds: UInt32 { 3000 }
}
