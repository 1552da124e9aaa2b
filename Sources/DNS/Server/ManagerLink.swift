internal import Sys

/// The manager at the other end of the link.
final class ManagerLink {
    private let link: PacketLink
    /// Reports that the manager has not had time for, oldest first.
    private var waiting: [[UInt8]] = []
    private var isWaiting = false

    /// Beyond it reports are dropped: queries that wait for an answer to them are told so in the end.
    private static let mostWaiting = 8192

    init(_ descriptor: consuming Descriptor) { link = PacketLink(descriptor) }

    var number: Int32 { link.descriptor.rawValue }

    func send(_ report: [UInt8], _ epoll: borrowing Epoll) {
        // What may be longer comes in parts.
        assert(report.count <= PacketLink.limit, "a report of \(report.count) bytes")
        if waiting.isEmpty, sends(report) { return }
        if waiting.count < Self.mostWaiting { waiting.append(report) }
        watch(epoll)
    }

    func flush(_ epoll: borrowing Epoll) {
        var done = 0
        while done < waiting.count, sends(waiting[done]) { done += 1 }
        waiting.removeFirst(done)
        watch(epoll)
    }

    /// - Returns: false if it must wait. What cannot be sent at all counts as sent: the end of the link is
    ///   told by reading.
    private func sends(_ report: [UInt8]) -> Bool {
        do throws(SystemError) {
            try link.send(report)
            return true
        } catch {
            return error.errno != .again && error.errno != .noBuffers
        }
    }

    private func watch(_ epoll: borrowing Epoll) {
        guard isWaiting == waiting.isEmpty else { return }
        isWaiting = !waiting.isEmpty
        try? epoll.change(
            number, isWaiting ? [.read, .write] : .read, token: ResolverLoop.Source.link.token(0))
    }

    enum Incoming {
        /// The passenger is -1 if there is none; whoever takes it closes it.
        case order(ResolverOrder, passenger: Int32)
        case nothing
        case ended
    }

    func receive() -> Incoming {
        while true {
            do throws(SystemError) {
                guard let received = try link.receive() else { return .ended }
                let (bytes, passenger) = received.take()
                if let order = try? ResolverOrder(bytes) { return .order(order, passenger: passenger) }
                // A newer manager may have orders that are not known here; what came along is closed.
                _ = Descriptor(owning: passenger)
            } catch {
                return error.errno == .again ? .nothing : .ended
            }
        }
    }
}
