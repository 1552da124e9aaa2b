internal import CLinux

/// Which of many descriptors can be read or written now (epoll(7)).
package struct Epoll: ~Copyable {
    /// What is waited for; errors and the other end's closing are always told.
    package struct Interest: OptionSet, Hashable, Sendable {
        package let rawValue: UInt32
        package init(rawValue: UInt32) { self.rawValue = rawValue }
        package static let read = Interest(rawValue: EPOLLIN.rawValue)
        package static let write = Interest(rawValue: EPOLLOUT.rawValue)
        package static let failed = Interest(rawValue: EPOLLERR.rawValue | EPOLLHUP.rawValue)
    }

    /// A descriptor's caller-chosen token, and what it is ready for.
    package struct Event: Hashable, Sendable {
        package let token: UInt64
        package let ready: Interest
    }

    private let descriptor: Descriptor
    private var room: [cl_event]

    package init() throws(SystemError) {
        descriptor = Descriptor(
            owning: try system("epoll_create1") { epoll_create1(Int32(EPOLL_CLOEXEC)) })
        room = [cl_event](repeating: cl_event(), count: Int(CL_BATCH))
    }

    package borrowing func add(_ file: Int32, _ interest: Interest, token: UInt64) throws(SystemError) {
        try control(EPOLL_CTL_ADD, file, interest, token)
    }

    package borrowing func change(_ file: Int32, _ interest: Interest, token: UInt64) throws(SystemError) {
        try control(EPOLL_CTL_MOD, file, interest, token)
    }

    /// To be called before the file is closed where a duplicate of it may live on.
    package borrowing func remove(_ file: Int32) {
        _ = cl_epoll_control(descriptor.rawValue, EPOLL_CTL_DEL, file, 0, 0)
    }

    private borrowing func control(
        _ operation: Int32, _ file: Int32, _ interest: Interest, _ token: UInt64
    ) throws(SystemError) {
        let number = descriptor.rawValue
        try system("epoll_ctl", "descriptor \(file)") {
            cl_epoll_control(number, operation, file, interest.rawValue, token)
        }
    }

    /// Waits until something is ready.
    /// - Parameter milliseconds: the longest to wait; -1 is without limit.
    package mutating func wait(milliseconds: Int32) throws(SystemError) -> [Event] {
        let number = descriptor.rawValue
        let limit = Int32(room.count)
        let count = try system("epoll_wait") {
            unsafe cl_epoll_wait(number, &room, limit, milliseconds)
        }
        return room.prefix(Int(count)).map {
            Event(token: $0.token, ready: Interest(rawValue: $0.ready))
        }
    }
}

/// Wakes a thread that waits in `Epoll`, from any other (eventfd(2)).
package struct WakeUp: ~Copyable, Sendable {
    private let descriptor: Descriptor

    package init() throws(SystemError) {
        descriptor = Descriptor(
            owning: try system("eventfd") {
                eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
            })
    }

    package var rawValue: Int32 { descriptor.rawValue }

    package borrowing func signal() {
        // Fails only if it has been signalled more often than can be counted: then it is awake.
        _ = eventfd_write(descriptor.rawValue, 1)
    }

    package borrowing func clear() {
        var count: eventfd_t = 0
        _ = unsafe eventfd_read(descriptor.rawValue, &count)
    }
}
