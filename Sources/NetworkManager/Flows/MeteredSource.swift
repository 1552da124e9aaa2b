internal import Dispatch

/// Reads a socket when the kernel says that there is something, but only so much at a time: a flood keeps the
/// kernel's buffer full, not this process busy.
///
/// `@unchecked`: what changes does so on the queue alone.
final class MeteredSource: @unchecked Sendable {
    /// Things that are read in a row, and for how long nothing is read after so many.
    private static var portion: Int { 2000 }
    private static var pauseMilliseconds: Int { 50 }

    private let queue: DispatchQueue
    private let source: any DispatchSourceRead
    private var read: (() -> Outcome)?

    enum Outcome {
        /// One datagram with so many things in it.
        case things(Int)
        case nothing
        /// Something, which there is no room for now.
        case noRoom
    }

    /// - Parameters:
    ///   - descriptor: stays open for as long as `read` lives.
    ///   - queue: serial; `read` is called there.
    ///   - read: reads one datagram without waiting.
    init(descriptor: Int32, queue: DispatchQueue, read: @escaping () -> Outcome) {
        self.queue = queue
        self.read = read
        source = DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: queue)
        source.setEventHandler { [weak self] in self?.drain() }
    }

    func start() { source.activate() }

    /// Reads what there is, on the queue.
    func drain() {
        var left = Self.portion
        while left > 0 {
            guard let read else { return }
            switch read() {
            case .things(let count): left -= max(count, 1)
            case .nothing: return
            case .noRoom: left = 0
            }
        }
        source.suspend()
        // Not weakly: a source must not be released while it is suspended.
        queue.asyncAfter(deadline: .now() + .milliseconds(Self.pauseMilliseconds)) { self.source.resume() }
    }

    /// On the queue. The socket is closed, and `done` called, once nobody looks at it any more.
    func cancel(_ done: @escaping @Sendable () -> Void = {}) {
        source.setCancelHandler {
            self.read = nil
            done()
        }
        source.cancel()
    }
}
