internal import CLinux

/// Stream sockets of the Unix domain (unix(7)); all are close-on-exec.
package enum UnixSocket {
    /// Binds and listens; the file gets mode 0600 and must not exist.
    package static func listen(at path: String, backlog: Int32 = 128) throws(SystemError) -> Descriptor {
        Descriptor(owning: try system("listen", path) { unsafe cl_unix_listen(path, backlog) })
    }

    /// As `listen(at:)`, in the place of a socket that nobody listens on any more.
    package static func listen(replacing path: String) throws(SystemError) -> Descriptor {
        _ = unsafe unlink(path)
        let socket = try listen(at: path)
        return socket
    }

    /// Connects to what listens there.
    ///
    /// - Parameter waits: until there is room for one more that waits to be accepted. Otherwise that is the
    ///   error `.again`, and the socket does not block later either.
    package static func connect(to path: String, waits: Bool = true) throws(SystemError) -> Descriptor {
        Descriptor(owning: try system("connect", path) { unsafe cl_unix_connect(path, waits ? 1 : 0) })
    }

    /// Two connected ends, each the caller's to close: tuples cannot hold owned descriptors.
    package static func pair() throws(SystemError) -> (Int32, Int32) {
        var ends: [Int32] = [-1, -1]
        let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
        try system("socketpair") { unsafe socketpair(AF_UNIX, kind, 0, &ends) }
        return (ends[0], ends[1])
    }
}

extension Descriptor {
    /// The next connection of a listening socket.
    package borrowing func accept() throws(SystemError) -> Descriptor {
        let number = rawValue
        return Descriptor(owning: try system("accept", "descriptor \(number)") { cl_accept(number) })
    }

    /// The user at the other end of a Unix socket (SO_PEERCRED), as the caller's user namespace counts.
    package static func peerUser(of connection: Int32) throws(SystemError) -> UInt32 {
        var (pid, uid, gid) = (Int32(0), UInt32(0), UInt32(0))
        try system("getsockopt", "SO_PEERCRED") { unsafe cl_peer_credentials(connection, &pid, &uid, &gid) }
        return uid
    }
}

/// Waits until one of the descriptors can be read, is closed at the other end, or fails.
/// - Returns: for each whether it is so; all false after `milliseconds` (-1: without limit).
package func waitReadable(_ descriptors: [Int32], milliseconds: Int32 = -1) throws(SystemError) -> [Bool] {
    var polled = descriptors.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
    try system("poll") { unsafe poll(&polled, nfds_t(polled.count), milliseconds) }
    return polled.map { $0.revents != 0 }
}

/// Waits until a descriptor takes bytes, or fails.
/// - Returns: false after `milliseconds` (-1: without limit).
package func waitWritable(_ descriptor: Int32, milliseconds: Int32 = -1) throws(SystemError) -> Bool {
    var polled = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
    try system("poll") { unsafe poll(&polled, 1, milliseconds) }
    return polled.revents != 0
}
