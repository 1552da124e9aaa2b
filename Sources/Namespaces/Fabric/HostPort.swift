package import Sys

/// A port of the host's that is to be published.
package struct HostPort: Hashable, Sendable, CustomStringConvertible {
    /// As an IPv6 address, an IPv4 one in its low 32 bits.
    package let high: UInt64
    package let low: UInt64
    /// 4 or 6; 0 for every address of both.
    package let family: UInt8
    package let port: UInt16
    package let isStream: Bool

    package init(family: UInt8, high: UInt64 = 0, low: UInt64 = 0, port: UInt16, isStream: Bool) {
        self.high = high
        self.low = low
        self.family = family
        self.port = port
        self.isStream = isStream
    }

    package var description: String { "\(port)/\(isStream ? "tcp" : "udp")" }

    /// Opens it in the calling thread's network namespace; it does not block.
    package func open() throws(SystemError) -> Descriptor {
        try .hostPort(family: family, high: high, low: low, port: port, stream: isStream)
    }
}
