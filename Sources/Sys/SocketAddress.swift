internal import CLinux

/// The address and port of an Internet socket, as numbers.
package struct SocketAddress: Hashable, Sendable {
    /// The upper half of an IPv6 address.
    package var high: UInt64
    /// The lower half of an IPv6 address; an IPv4 address in the low 32 bits.
    package var low: UInt64
    /// The interface of a link-local address.
    package var scope: UInt32
    package var port: UInt16
    /// 4 or 6; 0 for sockets of any other kind.
    package var family: UInt8

    package init(family: UInt8, high: UInt64, low: UInt64, scope: UInt32 = 0, port: UInt16) {
        self.high = high
        self.low = low
        self.scope = scope
        self.port = port
        self.family = family
    }

    /// Of no Internet socket.
    package static let none = SocketAddress(family: 0, high: 0, low: 0, port: 0)

    init(_ peer: cl_peer) {
        self.init(
            family: UInt8(truncatingIfNeeded: peer.family), high: peer.high, low: peer.low, scope: peer.scope,
            port: peer.port)
    }

    var peer: cl_peer {
        cl_peer(high: high, low: low, scope: scope, port: port, family: UInt16(family))
    }
}

extension Descriptor {
    /// An Internet socket of family 4 or 6 that does not block.
    package static func internetSocket(family: UInt8, stream: Bool) throws(SystemError) -> Descriptor {
        Descriptor(owning: try system("socket") { cl_internet_socket(Int32(family), stream ? 1 : 0) })
    }

    /// A socket bound to an address in the calling thread's network namespace, and listening if it is a
    /// stream; it does not block.
    package static func bound(to address: SocketAddress, stream: Bool) throws(SystemError) -> Descriptor {
        let socket = try internetSocket(family: address.family, stream: stream)
        let number = socket.rawValue
        var peer = address.peer
        try system("bind", "port \(address.port)") { unsafe cl_bind_peer(number, &peer, stream ? 128 : 0) }
        return socket
    }

    /// A TCP socket that is neither bound nor connected, non-blocking.
    package static func stream(family: UInt8) throws(SystemError) -> Descriptor {
        try internetSocket(family: family, stream: true)
    }

    /// Where the socket is bound.
    package borrowing func localAddress() throws(SystemError) -> SocketAddress {
        let number = rawValue
        var peer = cl_peer()
        try system("getsockname") { unsafe cl_local_address(number, &peer) }
        return SocketAddress(peer)
    }

    /// Begins to connect.
    /// - Returns: false for a stream that is not connected yet: it can be written to when it is.
    package borrowing func connect(to address: SocketAddress) throws(SystemError) -> Bool {
        let number = rawValue
        var peer = address.peer
        do throws(SystemError) {
            try system("connect") { unsafe cl_connect_peer(number, &peer) }
            return true
        } catch {
            if error.errno == .inProgress { return false }
            throw error
        }
    }

    /// Undoes a connect; the socket gives its port back.
    package borrowing func disconnect() throws(SystemError) {
        let number = rawValue
        try system("disconnect") { cl_disconnect(number) }
    }

    /// What became of a connect that had to wait (SO_ERROR); 0 if it is well.
    package borrowing func pendingError() throws(SystemError) -> Errno {
        let number = rawValue
        return Errno(rawValue: try system("SO_ERROR") { cl_pending_error(number) })
    }

    /// Room for what comes in bursts, as far as the system gives it to an ordinary user.
    package borrowing func askForReceiveBuffer(_ bytes: Int32) {
        try? setOption(SOL_SOCKET, SO_RCVBUF, bytes)
    }

    /// Has datagrams that their sender gave to the kernel as one piece (UDP_SEGMENT of udp(7)) come as one: else each of
    /// a hundred would take as much of the socket's room as one that was sent by itself.
    package borrowing func takePiecesWhole() { try? setOption(SOL_UDP, UDP_GRO, 1) }

    package borrowing func setNonblocking() throws(SystemError) {
        let number = rawValue
        try system("fcntl") { cl_set_nonblocking(number) }
    }

    /// The next connection, which does not block, and whose it is; nil if there is none now.
    package borrowing func acceptNow() throws(SystemError) -> AcceptedConnection? {
        let number = rawValue
        var peer = cl_peer()
        do throws(SystemError) {
            let accepted = try system("accept") { unsafe cl_accept_peer(number, &peer) }
            return AcceptedConnection(descriptor: Descriptor(owning: accepted), peer: SocketAddress(peer))
        } catch {
            if error.errno == .again { return nil }
            throw error
        }
    }

    /// Sends without waiting.
    /// - Returns: the bytes taken, which may be fewer on a stream; 0 if none can be taken now.
    package borrowing func sendNow(_ bytes: [UInt8], from start: Int = 0) throws(SystemError) -> Int {
        let number = rawValue
        do throws(SystemError) {
            return try system("send") {
                unsafe bytes[start...].withUnsafeBytes {
                    unsafe cl_send_now(number, $0.baseAddress, $0.count)
                }
            }
        } catch {
            if error.errno == .again { return 0 }
            throw error
        }
    }

    /// Receives into `buffer` without waiting.
    /// - Returns: the bytes that came (0 at the end of a stream) and from whom; nil if nothing is there.
    package borrowing func receiveNow(
        into buffer: inout [UInt8]
    ) throws(SystemError) -> (count: Int, from: SocketAddress)? {
        let number = rawValue
        var peer = cl_peer()
        do throws(SystemError) {
            let got = try system("recv") {
                unsafe buffer.withUnsafeMutableBytes {
                    unsafe cl_receive_now(number, $0.baseAddress, $0.count, &peer)
                }
            }
            return (got, SocketAddress(peer))
        } catch {
            if error.errno == .again { return nil }
            throw error
        }
    }
}

/// A connection that a listening socket took.
package struct AcceptedConnection: ~Copyable {
    package let descriptor: Descriptor
    package let peer: SocketAddress

    package consuming func take() -> (Int32, SocketAddress) {
        let peer = peer
        return (descriptor.release(), peer)
    }
}

extension Errno {
    package static let inProgress = Errno(rawValue: EINPROGRESS)
}

/// Milliseconds of CLOCK_MONOTONIC: for deadlines within the process.
package func monotonicMilliseconds() -> UInt64 { cl_monotonic() }
