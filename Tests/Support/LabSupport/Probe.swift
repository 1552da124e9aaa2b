internal import CLab
internal import CLinux
internal import Namespaces
internal import Sys

/// One attempt to get through, begun without waiting, so that hundreds can be under way at once.
package final class Probe {
    package enum Kind: Hashable, Sendable {
        case tcp(UInt16)
        case udp(UInt16)
        case ping
    }

    package let kind: Kind
    private let socket: Descriptor

    /// Begins: sends a SYN, a datagram with `token` or an echo request. In the calling thread's namespace.
    package init(_ kind: Kind, from source: String, to destination: String, token: UInt32) throws {
        self.kind = kind
        let isIPv6 = destination.contains(":")
        let family = isIPv6 ? AF_INET6 : AF_INET
        let flags = Int32(SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        let (type, number, port): (Int32, Int32, UInt16) =
            switch kind {
            case .tcp(let port): (Int32(SOCK_STREAM.rawValue), 0, port)
            case .udp(let port): (Int32(SOCK_DGRAM.rawValue), 0, port)
            case .ping: (Int32(SOCK_DGRAM.rawValue), Int32(isIPv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP), 0)
            }
        socket = Descriptor(
            owning: try system("socket", "probe") { CLinux.socket(family, type | flags, number) })
        let descriptor = socket.rawValue
        try unsafe Place(source, 0).use { name, length in
            try system("bind", source) { unsafe CLinux.bind(descriptor, name, length) }
        }
        let bytes: [UInt8] =
            switch kind {
            // RFC 792, RFC 4443: an echo request; the kernel fills in checksum and identifier.
            case .ping: [isIPv6 ? 128 : 8, 0, 0, 0, 0, 0, 0, 1]
            default: (0..<4).map { UInt8(truncatingIfNeeded: token >> (24 - 8 * $0)) }
            }
        try unsafe Place(destination, port).use { name, length in
            do throws(SystemError) {
                if case .tcp = kind {
                    try system("connect", destination) { unsafe CLinux.connect(descriptor, name, length) }
                } else {
                    try system("sendto", destination) {
                        unsafe sendto(descriptor, bytes, bytes.count, 0, name, length)
                    }
                }
            } catch {
                // Under way; or refused on the spot by the firewall of the sender's own side, which is an
                // answer too.
                guard [EINPROGRESS, EPERM].contains(error.errno.rawValue) else { throw error }
            }
        }
    }

    /// TCP: the connection stands. Ping: the reply came. UDP: unknown on this side.
    package var isAnswered: Bool {
        let descriptor = socket.rawValue
        switch kind {
        case .udp: return false
        case .ping: return ((try? waitReadable([descriptor], milliseconds: 0)) ?? [false])[0]
        case .tcp:
            var name = sockaddr_storage()
            var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
            return unsafe withUnsafeMutablePointer(to: &name) { name in
                unsafe name.withMemoryRebound(to: sockaddr.self, capacity: 1) { name in
                    unsafe getpeername(descriptor, name, &length) == 0
                }
            }
        }
    }
}

/// A datagram socket that collects the tokens of probes.
package final class TokenSink {
    private let socket: Descriptor

    package init(_ address: String, port: UInt16) throws {
        socket = try LabSockets.bind(.udp, address, port: port)
        try socket.setOption(SOL_SOCKET, SO_RCVBUF, 1 << 20)
    }

    /// The tokens that have come since the last call.
    package func drain() throws -> Set<UInt32> {
        var tokens: Set<UInt32> = []
        while try waitReadable([socket.rawValue], milliseconds: 0)[0] {
            let bytes = try socket.read(upTo: 64)
            if bytes.count == 4 { tokens.insert(bytes.reduce(0) { $0 << 8 | UInt32($1) }) }
        }
        return tokens
    }
}

/// A TCP port that accepts whatever comes.
package final class OpenPort {
    private let socket: Descriptor

    package init(_ address: String, port: UInt16) throws {
        socket = try LabSockets.bind(.tcp, address, port: port)
    }

    /// Takes the connections that stand in line, so that there is room for others.
    package func drain() throws {
        while try waitReadable([socket.rawValue], milliseconds: 0)[0] { _ = try socket.accept() }
    }
}
