internal import Dispatch
internal import Synchronization
internal import Sys

/// A line to a part of the proxy: messages in order both ways, each with a descriptor if need be.
///
/// Sending never waits for the other end: what it does not read yet waits in a queue of its own.
///
/// `@unchecked`: the source is touched in `init` and `deinit` only.
final class ProxyLine: @unchecked Sendable {
    /// Messages with the descriptor that came along; -1 for none. Whoever takes one closes it.
    let messages: AsyncStream<(bytes: [UInt8], passenger: Int32)>

    /// Held by the source's handlers too: it is closed once the source has let go of its number.
    private final class Box: Sendable {
        let link: PacketLink
        init(_ descriptor: consuming Descriptor) { link = PacketLink(descriptor) }

        /// Takes what is there.
        /// - Returns: false at the end.
        func read(_ message: (_ bytes: [UInt8], _ passenger: Int32) -> Void) -> Bool {
            while true {
                do throws(SystemError) {
                    guard let received = try link.receive() else { return false }
                    let (bytes, passenger) = received.take()
                    message(bytes, passenger)
                } catch { return error.errno == .again }
            }
        }
    }

    private let box: Box
    private let writing = DispatchQueue(label: "proxy.write")
    private let source: any DispatchSourceRead
    private let waiting = Mutex(0)

    /// More than this waits for no proxy that works.
    private static let most = 200_000

    init(_ descriptor: consuming Descriptor) {
        let box = Box(descriptor)
        self.box = box
        let (stream, continuation) = AsyncStream<(bytes: [UInt8], passenger: Int32)>.makeStream()
        messages = stream
        let source = DispatchSource.makeReadSource(
            fileDescriptor: box.link.descriptor.rawValue, queue: DispatchQueue(label: "proxy.read"))
        self.source = source
        source.setEventHandler {
            if !box.read({ continuation.yield(($0, $1)) }) { source.cancel() }
        }
        source.setCancelHandler { continuation.finish() }
        source.activate()
    }

    deinit { source.cancel() }

    /// - Parameter passenger: goes along, and is closed here.
    func send(_ bytes: [UInt8], with passenger: consuming Descriptor? = nil) {
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
            let passengers = make()
            if !passengers.isEmpty { line.write(bytes, passengers) }
            for passenger in passengers { _ = Descriptor(owning: passenger) }
        }
    }

    /// - Returns: false where too much waits already.
    @discardableResult
    private func enqueue(_ write: @escaping @Sendable (ProxyLine) -> Void) -> Bool {
        let isFull = waiting.withLock { count in
            guard count < Self.most else { return true }
            count += 1
            return false
        }
        if isFull { return false }
        writing.async { [self] in
            write(self)
            waiting.withLock { $0 -= 1 }
        }
        return true
    }

    private func write(_ bytes: [UInt8], _ passengers: [Int32]) {
        while true {
            do throws(SystemError) { return try box.link.send(bytes, passengers: passengers) } catch {
                // A proxy that has ended is told everything when it is started anew.
                guard error.errno == .again,
                    (try? waitWritable(box.link.descriptor.rawValue, milliseconds: 10_000)) == true
                else { return }
            }
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
