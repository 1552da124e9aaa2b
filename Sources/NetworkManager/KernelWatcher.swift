internal import Dispatch
internal import Glibc
internal import Netlink
internal import Sys

/// Turns a netlink subscription into a stream: the kernel wakes a queue, nobody waits on a thread.
///
/// An attach makes a dozen notifications. They are left to gather for a moment: a wake-up for each would take
/// the second processor from the attach, and the kernel's time for waking.
///
/// `@unchecked`: the source is touched in `init` and `deinit` only.
final class KernelWatcher<Proto: NetlinkProtocol, Change: Sendable>: @unchecked Sendable {
    let changes: AsyncStream<Change>
    private let source: any DispatchSourceRead

    /// - Parameters:
    ///   - socket: subscribed already, in the namespace that is watched.
    ///   - read: makes changes of one datagram of notifications, without waiting for one; nil when there is none.
    ///   Called on one queue, one call at a time.
    init(
        _ socket: consuming NetlinkSocket<Proto>,
        read: @escaping @Sendable (inout NetlinkSocket<Proto>) -> [Change]?
    ) {
        let (changes, continuation) = AsyncStream<Change>.makeStream()
        self.changes = changes
        let descriptor = socket.descriptor.rawValue
        let reader = Reader(socket, continuation, read)
        let queue = DispatchQueue(label: "kernel-watcher")
        source = DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: queue)
        // The handlers hold the socket: it is closed once the source has let go of its number.
        source.setEventHandler { reader.drain() }
        source.setCancelHandler { reader.finish() }
        source.activate()
    }

    deinit { source.cancel() }

    /// `@unchecked`: it is used on the serial queue alone.
    private final class Reader: @unchecked Sendable {
        private var socket: NetlinkSocket<Proto>
        private let continuation: AsyncStream<Change>.Continuation
        private let read: @Sendable (inout NetlinkSocket<Proto>) -> [Change]?

        init(
            _ socket: consuming NetlinkSocket<Proto>, _ continuation: AsyncStream<Change>.Continuation,
            _ read: @escaping @Sendable (inout NetlinkSocket<Proto>) -> [Change]?
        ) {
            self.socket = socket
            self.continuation = continuation
            self.read = read
        }

        func drain() {
            usleep(Self.gatheringMicroseconds)
            // Bounded: what is left wakes the queue again.
            for _ in 0..<1000 {
                guard let changes = read(&socket) else { return }
                for change in changes { continuation.yield(change) }
            }
        }

        func finish() { continuation.finish() }

        /// An ordinary user's socket holds some hundred notifications; an attach makes a dozen in a
        /// millisecond.
        private static var gatheringMicroseconds: UInt32 { 3000 }
    }
}
