internal import CLab
internal import CLinux
internal import Namespaces
internal import Sys

/// One attempt to get through, begun without waiting, so that hundreds can be under way at once.
package final class Probe {
    package enum Kind: Hashable, Sendable {
        case tcp(UInt16)
        case udp(UInt16)
        /// A raw packet, since the kernel may have no SCTP of its own.
        case sctp(UInt16)
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
            case .sctp: (Int32(SOCK_RAW.rawValue), Int32(IPPROTO_SCTP), 0)
            case .ping: (Int32(SOCK_DGRAM.rawValue), Int32(isIPv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP), 0)
            }
        socket = Descriptor(
            owning: try system("socket", "probe") { CLinux.socket(family, type | flags, number) })
        let descriptor = socket.rawValue
        if case .tcp = kind {
            // Ends with a reset, which leaves no port taken for a minute.
            var linger = linger(l_onoff: 1, l_linger: 0)
            let size = socklen_t(MemoryLayout.size(ofValue: linger))
            try system("setsockopt", "SO_LINGER") {
                unsafe setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, size)
            }
        }
        try unsafe Place(source, 0).use { name, length in
            try system("bind", source) { unsafe CLinux.bind(descriptor, name, length) }
        }
        let bytes: [UInt8] =
            switch kind {
            // RFC 792, RFC 4443: an echo request; the kernel fills in checksum and identifier.
            case .ping: [isIPv6 ? 128 : 8, 0, 0, 0, 0, 0, 0, 1]
            case .sctp(let port): SCTPBeginning.packet(to: port, token: token)
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

    /// TCP: the connection stands. Ping: the reply came. UDP, SCTP: unknown on this side.
    package var isAnswered: Bool {
        let descriptor = socket.rawValue
        switch kind {
        case .udp, .sctp: return false
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

/// A raw socket that collects the tokens of probes by SCTP.
package final class SCTPSink {
    private let socket: Descriptor
    private let isIPv6: Bool

    package init(_ address: String) throws {
        let isIPv6 = address.contains(":")
        self.isIPv6 = isIPv6
        let type = Int32(SOCK_RAW.rawValue | SOCK_CLOEXEC.rawValue)
        socket = Descriptor(
            owning: try system("socket", "SCTP") {
                CLinux.socket(isIPv6 ? AF_INET6 : AF_INET, type, Int32(IPPROTO_SCTP))
            })
        let descriptor = socket.rawValue
        try unsafe Place(address, 0).use { name, length in
            try system("bind", address) { unsafe CLinux.bind(descriptor, name, length) }
        }
    }

    /// The tokens that have come since the last call.
    package func drain() throws -> Set<UInt32> {
        var tokens: Set<UInt32> = []
        while try waitReadable([socket.rawValue], milliseconds: 0)[0] {
            var bytes = try socket.read(upTo: 256)[...]
            // raw(7): IPv4 comes with its header, whose length is in words; IPv6 without.
            if !isIPv6, let first = bytes.first { bytes = bytes.dropFirst(Int(first & 0xf) * 4) }
            if let token = SCTPBeginning.token(Array(bytes)) { tokens.insert(token) }
        }
        return tokens
    }
}

/// The first packet of an SCTP association: RFC 9260 sections 3.1 and 3.3.2.
enum SCTPBeginning {
    private static let headerLength = 12

    /// An INIT whose initiate tag is the token, which is not zero.
    static func packet(to port: UInt16, token: UInt32) -> [UInt8] {
        func big(_ value: UInt32) -> [UInt8] {
            [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) }
        }
        // Ports, verification tag (none yet) and room for the checksum.
        let header = big(0xc350 << 16 | UInt32(port)) + big(0) + big(0)
        // Type 1, no flags, length 20; tag, window, streams each way, first number.
        let chunk = big(1 << 24 | 20) + big(token) + big(65536) + big(1 << 16 | 1) + big(token)
        var packet = header + chunk
        let sum = checksum(packet)
        // Appendix A: in the order in which CRC32c comes out, least significant byte first.
        for index in 0..<4 { packet[8 + index] = UInt8(truncatingIfNeeded: sum >> (8 * index)) }
        return packet
    }

    static func token(_ packet: [UInt8]) -> UInt32? {
        guard packet.count >= headerLength + 8, packet[headerLength] == 1 else { return nil }
        return packet[headerLength + 4..<headerLength + 8].reduce(0) { $0 << 8 | UInt32($1) }
    }

    /// CRC32c, bit by bit.
    private static func checksum(_ bytes: [UInt8]) -> UInt32 {
        ~bytes.reduce(~0 as UInt32) { sum, byte in
            (0..<8).reduce(sum ^ UInt32(byte)) { sum, _ in sum & 1 == 1 ? sum >> 1 ^ 0x82f6_3b78 : sum >> 1 }
        }
    }
}
