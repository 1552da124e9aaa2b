internal import Dispatch
internal import Netlink
internal import Sys

/// Turns a netlink subscription into a stream: the kernel wakes a queue, nobody waits on a thread.
///
/// `@unchecked`: the socket is touched on the serial queue alone, and the source only in `init` and `deinit`.
final class KernelWatcher<Proto: NetlinkProtocol, Change: Sendable>: @unchecked Sendable {
    let changes: AsyncStream<Change>
    private let continuation: AsyncStream<Change>.Continuation
    private let queue = DispatchQueue(label: "kernel-watcher")
    private let source: any DispatchSourceRead
    private var socket: NetlinkSocket<Proto>
    private let read: @Sendable (inout NetlinkSocket<Proto>) -> [Change]

    /// - Parameters:
    ///   - socket: subscribed already, in the namespace that is watched.
    ///   - read: makes changes of one datagram of notifications; called on one queue, one call at a time.
    init(
        _ socket: consuming NetlinkSocket<Proto>,
        read: @escaping @Sendable (inout NetlinkSocket<Proto>) -> [Change]
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
        for change in read(&socket) { continuation.yield(change) }
    }
}
