/// A protocol that policy can tell apart.
public enum TransportProtocol: String, Hashable, Sendable, CaseIterable, Codable {
    case tcp
    case udp
    case sctp
    /// ICMP and, over IPv6, ICMPv6: all types.
    case icmp
}

/// Ports of one protocol; ICMP has none and takes the whole range.
public struct PortRange: Hashable, Sendable, Codable {
    public let transport: TransportProtocol
    /// 1 to 65535 where a protocol has ports; 0 to 65535 is all of the protocol.
    public let ports: ClosedRange<UInt16>

    public init(_ transport: TransportProtocol, _ ports: ClosedRange<UInt16> = 0...UInt16.max) {
        self.transport = transport
        self.ports = ports
    }
}

/// A port that an endpoint gives a name.
public struct NamedPort: Hashable, Sendable, Codable {
    public let name: String
    public let number: UInt16
    public let transport: TransportProtocol

    public init(_ name: String, _ number: UInt16, _ transport: TransportProtocol) {
        self.name = name
        self.number = number
        self.transport = transport
    }
}

/// The ports that a rule speaks of.
public enum PortMatch: Hashable, Sendable, Codable {
    case range(PortRange)
    /// The ports that the destination endpoint calls so, of one protocol or of any. An address outside the
    /// fabric names no ports.
    case named(String, TransportProtocol?)

    public init(_ transport: TransportProtocol, _ ports: ClosedRange<UInt16> = 0...UInt16.max) {
        self = .range(PortRange(transport, ports))
    }
}
