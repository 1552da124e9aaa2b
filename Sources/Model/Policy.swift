public import Wire

/// The direction of traffic, seen from the endpoint that a policy selects.
public enum Direction: String, Hashable, Sendable, CaseIterable, Codable {
    case ingress
    case egress
}

/// A protocol that policy can tell apart.
public enum TransportProtocol: String, Hashable, Sendable, CaseIterable, Codable {
    case tcp
    case udp
    /// ICMP and, over IPv6, ICMPv6: all types.
    case icmp
}

/// Ports of one protocol; ICMP has none and takes the whole range.
public struct PortRange: Hashable, Sendable, Codable {
    public let transport: TransportProtocol
    /// 1 to 65535 for TCP and UDP.
    public let ports: ClosedRange<UInt16>

    public init(_ transport: TransportProtocol, _ ports: ClosedRange<UInt16> = 0...UInt16.max) {
        self.transport = transport
        self.ports = ports
    }
}

/// Which endpoints: all conditions that are present must hold. An empty selector matches every endpoint.
public struct EndpointSelector: Hashable, Sendable, Codable {
    /// Every one of these labels with this value.
    public var matchLabels: Labels
    /// The endpoint's name or container id is one of these; nil asks nothing.
    public var endpoints: Set<String>?
    /// The name of the endpoint's network; nil asks nothing.
    public var network: String?

    public init(matchLabels: Labels = [:], endpoints: Set<String>? = nil, network: String? = nil) {
        self.matchLabels = matchLabels
        self.endpoints = endpoints
        self.network = network
    }
}

/// The other side of a flow.
public enum PolicyPeer: Hashable, Sendable, Codable {
    /// Endpoints of the fabric.
    case endpoints(EndpointSelector)
    /// Any address of a block, but not of these blocks inside it.
    case cidr(CIDR, except: [CIDR])
}

/// One rule: peers and ports that it speaks of. No peers means anyone; no ports means all ports of all
/// protocols.
public struct PolicyRule: Hashable, Sendable, Codable {
    public var peers: [PolicyPeer]?
    public var ports: [PortRange]?

    public init(peers: [PolicyPeer]? = nil, ports: [PortRange]? = nil) {
        self.peers = peers
        self.ports = ports
    }
}

/// What the endpoints that it selects may do. Deny beats allow; what nobody allows is denied.
public struct FirewallPolicy: Hashable, Sendable, Codable {
    public var name: String
    public var selector: EndpointSelector
    /// Directions in which the selected endpoints are no longer under the network's default.
    public var directions: Set<Direction>

    /// Shorthand for ingress: these ports from `trustedPeers` (from anyone where that is nil).
    public var allowPorts: [PortRange]?
    /// Shorthand for ingress: these peers on `allowPorts` (on all ports where that is nil).
    public var trustedPeers: [PolicyPeer]?
    /// New connections a second that each selected endpoint accepts; nil is no limit.
    public var rateLimit: Int?

    public var ingress: [PolicyRule]
    public var egress: [PolicyRule]
    public var ingressDeny: [PolicyRule]
    public var egressDeny: [PolicyRule]

    public init(
        name: String, selector: EndpointSelector, directions: Set<Direction> = [.ingress, .egress],
        allowPorts: [PortRange]? = nil, trustedPeers: [PolicyPeer]? = nil, rateLimit: Int? = nil,
        ingress: [PolicyRule] = [], egress: [PolicyRule] = [], ingressDeny: [PolicyRule] = [],
        egressDeny: [PolicyRule] = []
    ) {
        self.name = name
        self.selector = selector
        self.directions = directions
        self.allowPorts = allowPorts
        self.trustedPeers = trustedPeers
        self.rateLimit = rateLimit
        self.ingress = ingress
        self.egress = egress
        self.ingressDeny = ingressDeny
        self.egressDeny = egressDeny
    }
}
