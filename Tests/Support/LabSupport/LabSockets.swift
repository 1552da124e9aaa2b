internal import CLab
internal import CLinux
internal import Namespaces
package import Sys

/// Sockets for tests: every wait has an end.
package enum LabSockets {
    package static var ownPID: Int32 { getpid() }

    /// Of the calling thread's network namespace.
    package static func bringLoopbackUp() throws { try system("lo up") { cl_loopback_up() } }

    package enum Transport: Hashable, Sendable {
        case udp
        case tcp
        var kind: Int32 {
            Int32((self == .udp ? SOCK_DGRAM : SOCK_STREAM).rawValue | SOCK_CLOEXEC.rawValue)
        }
    }

    /// A socket bound to an address (and listening, if TCP) in the calling thread's namespace.
    /// - Parameter port: 0 lets the kernel choose; `port(of:)` tells.
    package static func bind(_ transport: Transport, _ address: String, port: UInt16) throws -> Descriptor {
        let place = try Place(address, port)
        let socket = try place.socket(transport)
        try socket.setOption(SOL_SOCKET, SO_REUSEADDR, 1)
        let number = socket.rawValue
        try unsafe place.use { name, length in
            try system("bind", "\(address):\(port)") { unsafe CLinux.bind(number, name, length) }
        }
        if transport == .tcp { try system("listen", address) { listen(number, 64) } }
        return socket
    }

    /// A socket connected to an address.
    /// - Throws: `SystemError`; `timedOut` (ETIMEDOUT) after `timeoutSeconds` without an answer.
    package static func connect(
        _ transport: Transport, _ address: String, port: UInt16, timeoutSeconds: Double = 1
    ) throws -> Descriptor {
        let place = try Place(address, port)
        let socket = try place.socket(transport)
        let number = socket.rawValue
        try setTimeout(number, seconds: timeoutSeconds)
        do {
            try unsafe place.use { name, length in
                try system("connect", "\(address):\(port)") { unsafe CLinux.connect(number, name, length) }
            }
        } catch let error as SystemError where error.errno.rawValue == EINPROGRESS {
            // socket(7): SO_SNDTIMEO bounds connect too, and this is how that shows.
            throw SystemError("connect", Errno(rawValue: ETIMEDOUT), error.subject)
        }
        return socket
    }

    /// The next connection of a listening socket, within a time.
    package static func accept(_ socket: borrowing Descriptor, timeoutSeconds: Double = 2) throws
        -> Descriptor
    {
        try awaitInput(socket, seconds: timeoutSeconds)
        return try socket.accept()
    }

    /// Sends bytes on a connected socket.
    package static func send(_ socket: borrowing Descriptor, _ text: String) throws {
        try socket.write(Array(text.utf8))
    }

    /// What comes next, within a time.
    package static func receive(_ socket: borrowing Descriptor, timeoutSeconds: Double = 2) throws -> String {
        try awaitInput(socket, seconds: timeoutSeconds)
        return String(decoding: try socket.read(upTo: 65536), as: UTF8.self)
    }

    /// Answers the next datagram with its own bytes.
    package static func echoDatagram(_ socket: borrowing Descriptor, timeoutSeconds: Double = 2) throws {
        try awaitInput(socket, seconds: timeoutSeconds)
        var buffer = [UInt8](repeating: 0, count: 65536)
        var peer = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let number = socket.rawValue
        _ = try unsafe withUnsafeMutablePointer(to: &peer) { peer in
            try unsafe peer.withMemoryRebound(to: sockaddr.self, capacity: 1) { peer in
                let got = try system("recvfrom") {
                    unsafe recvfrom(number, &buffer, buffer.count, 0, peer, &length)
                }
                try system("sendto") { unsafe sendto(number, buffer, got, 0, peer, length) }
            }
        }
    }

    /// The local port of a bound socket.
    package static func port(of socket: borrowing Descriptor) throws -> UInt16 {
        var name = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let number = socket.rawValue
        _ = try unsafe withUnsafeMutablePointer(to: &name) { name in
            try unsafe name.withMemoryRebound(to: sockaddr.self, capacity: 1) { name in
                try system("getsockname") { unsafe getsockname(number, name, &length) }
            }
        }
        // sockaddr_in and sockaddr_in6 have the port at the same place, in network order.
        return unsafe withUnsafeBytes(of: name) { unsafe UInt16($0[2]) << 8 | UInt16($0[3]) }
    }

    /// Sends an echo request by a datagram socket of ping(8)'s kind, and waits for the reply.
    /// - Returns: whether one came.
    package static func ping(_ address: String, timeoutSeconds: Double = 1) throws -> Bool {
        let place = try Place(address, 0)
        let isIPv6 = address.contains(":")
        let socket = Descriptor(
            owning: try system("socket", "ping") {
                CLinux.socket(
                    isIPv6 ? AF_INET6 : AF_INET, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue),
                    Int32(isIPv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
            })
        let number = socket.rawValue
        // RFC 792, RFC 4443: type of an echo request, then code, checksum and identifier (the kernel's),
        // sequence.
        let request: [UInt8] = [isIPv6 ? 128 : 8, 0, 0, 0, 0, 0, 0, 1] + Array("forge".utf8)
        do {
            try unsafe place.use { name, length in
                try system("sendto", address) {
                    unsafe sendto(number, request, request.count, 0, name, length)
                }
            }
        } catch let error as SystemError
            where [EPERM, ENETUNREACH, EHOSTUNREACH].contains(error.errno.rawValue)
        {
            return false
        }
        let milliseconds = Int32(timeoutSeconds * 1000)
        guard try waitReadable([number], milliseconds: milliseconds)[0] else { return false }
        guard let reply = try? socket.read(upTo: 2048) else { return false }
        return reply.first == (isIPv6 ? 129 : 0)
    }

    private static func awaitInput(_ socket: borrowing Descriptor, seconds: Double) throws {
        guard try waitReadable([socket.rawValue], milliseconds: Int32(seconds * 1000))[0] else {
            throw SystemError("receive", Errno(rawValue: ETIMEDOUT), "after \(seconds) s")
        }
    }

    private static func setTimeout(_ number: Int32, seconds: Double) throws {
        var limit = timeval(tv_sec: Int(seconds), tv_usec: Int(seconds * 1e6) % 1_000_000)
        let size = socklen_t(MemoryLayout<timeval>.size)
        for name in [SO_SNDTIMEO, SO_RCVTIMEO] {
            try system("setsockopt", "timeout") { unsafe setsockopt(number, SOL_SOCKET, name, &limit, size) }
        }
    }
}

/// An address and port as the kernel takes them.
struct Place {
    private var storage = sockaddr_storage()
    private let length: socklen_t
    private let family: Int32

    init(_ address: String, _ port: UInt16) throws {
        var four = in_addr()
        var six = in6_addr()
        if unsafe inet_pton(AF_INET, address, &four) == 1 {
            family = AF_INET
            length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let name = sockaddr_in(
                sin_family: sa_family_t(AF_INET), sin_port: port.bigEndian, sin_addr: four,
                sin_zero: (0, 0, 0, 0, 0, 0, 0, 0))
            unsafe withUnsafeMutableBytes(of: &storage) {
                unsafe $0.storeBytes(of: name, as: sockaddr_in.self)
            }
        } else if unsafe inet_pton(AF_INET6, address, &six) == 1 {
            family = AF_INET6
            length = socklen_t(MemoryLayout<sockaddr_in6>.size)
            let name = sockaddr_in6(
                sin6_family: sa_family_t(AF_INET6), sin6_port: port.bigEndian, sin6_flowinfo: 0,
                sin6_addr: six,
                sin6_scope_id: 0)
            unsafe withUnsafeMutableBytes(of: &storage) {
                unsafe $0.storeBytes(of: name, as: sockaddr_in6.self)
            }
        } else {
            throw SystemError("inet_pton", .invalid, address)
        }
    }

    func socket(_ transport: LabSockets.Transport) throws -> Descriptor {
        let family = family
        return Descriptor(owning: try system("socket") { CLinux.socket(family, transport.kind, 0) })
    }

    @discardableResult
    func use<R>(_ body: (UnsafePointer<sockaddr>, socklen_t) throws -> R) rethrows -> R {
        try unsafe withUnsafePointer(to: storage) {
            try unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { try unsafe body($0, length) }
        }
    }
}
