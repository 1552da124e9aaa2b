public import Wire

/// An endpoint together with the network that it is in: what selectors and isolation look at.
///
/// It is boxed, since flows carry it about: a copy is a reference, not a score of them.
public struct NetworkMember: Hashable, Sendable {
    private final class Box: Sendable {
        let endpoint: Endpoint
        let network: Network
        let quarantine: Quarantine?
        let files: EndpointFiles?

        init(
            _ endpoint: Endpoint, _ network: Network, _ quarantine: Quarantine?, _ files: EndpointFiles?
        ) {
            self.endpoint = endpoint
            self.network = network
            self.quarantine = quarantine
            self.files = files
        }
    }

    private let box: Box

    public init(
        _ endpoint: Endpoint, in network: Network, quarantine: Quarantine? = nil, files: EndpointFiles? = nil
    ) {
        box = Box(endpoint, network, quarantine, files)
    }

    public var endpoint: Endpoint { box.endpoint }
    public var network: Network { box.network }
    /// Present while the endpoint is cut off.
    public var quarantine: Quarantine? { box.quarantine }
    /// Where its files are; nil where its network has no names, or the fabric keeps none.
    public var files: EndpointFiles? { box.files }

    /// Whether one was made from the other, and nothing need be compared.
    func isCopy(of other: NetworkMember) -> Bool { box === other.box }

    public static func == (a: NetworkMember, b: NetworkMember) -> Bool {
        a.isCopy(of: b)
            || a.endpoint == b.endpoint && a.network == b.network && a.quarantine == b.quarantine
                && a.files == b.files
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(endpoint)
        hasher.combine(network)
    }
}

/// One end of a flow: an address, and the endpoint that has it if it is one of the fabric's.
public struct FlowSide: Hashable, Sendable {
    public let address: IPAddress
    /// nil for an address outside the fabric.
    public let member: NetworkMember?
    /// The names that the other side was told the address for; none of an endpoint. In lower case.
    public let names: Set<String>

    public init(_ address: IPAddress, _ member: NetworkMember? = nil, names: Set<String> = []) {
        self.address = address
        self.member = member
        self.names = member == nil ? names : []
    }
}

/// What policy sees of a packet above the Internet layer.
public enum FlowTransport: Hashable, Sendable, CustomStringConvertible {
    /// The destination port.
    case tcp(UInt16)
    case udp(UInt16)
    case sctp(UInt16)
    /// ICMP, or ICMPv6.
    case icmp
    /// Any other protocol, by its number: only rules without ports speak of it.
    case other(UInt8)

    /// - Parameters:
    ///   - number: as in the IP header (IANA "Protocol Numbers").
    ///   - port: the destination port; of use to TCP, UDP and SCTP alone.
    public init(number: UInt8, port: UInt16) {
        switch number {
        case 6: self = .tcp(port)
        case 17: self = .udp(port)
        case 132: self = .sctp(port)
        case 1, 58: self = .icmp
        default: self = .other(number)
        }
    }

    /// Reads `80/tcp`, `80` (TCP), `icmp` or the number of another protocol such as `proto-47`.
    public init(_ text: String) throws(ParseError) {
        if text.hasPrefix("proto-"), let number = UInt8(text.dropFirst(6)) {
            self.init(number: number, port: 0)
            return
        }
        let range = try PortRange(text)
        guard range.transport == .icmp || range.ports.count == 1 else {
            throw ParseError("port", text, "expected one port such as 80/tcp")
        }
        switch range.transport {
        case .icmp: self = .icmp
        case .tcp: self = .tcp(range.ports.lowerBound)
        case .udp: self = .udp(range.ports.lowerBound)
        case .sctp: self = .sctp(range.ports.lowerBound)
        }
    }

    public var description: String {
        switch self {
        case .tcp(let port): "\(port)/tcp"
        case .udp(let port): "\(port)/udp"
        case .sctp(let port): "\(port)/sctp"
        case .icmp: "icmp"
        case .other(let number): "proto-\(number)"
        }
    }
}

/// The first packet of a connection: what evaluation judges. Replies are implicit and not asked about.
public struct Flow: Hashable, Sendable {
    public let source: FlowSide
    public let destination: FlowSide
    public let transport: FlowTransport

    public init(from source: FlowSide, to destination: FlowSide, _ transport: FlowTransport) {
        self.source = source
        self.destination = destination
        self.transport = transport
    }

    /// Comes from outside the fabric to a port that is published: isolation does not come between them.
    var isToPublishedPort: Bool {
        source.member == nil && destination.member?.endpoint.publishes(transport) ?? false
    }

    /// One side is an endpoint and the other its network's gateway: isolation does not come between them.
    var isWithGateway: Bool {
        if source.member == nil {
            destination.member?.network.isGateway(source.address) ?? false
        } else {
            destination.member == nil && source.member?.network.isGateway(destination.address) ?? false
        }
    }
}

extension FlowTransport {
    /// Protocol and destination port where a protocol has ports.
    public var port: (transport: TransportProtocol, number: UInt16)? {
        switch self {
        case .tcp(let port): (.tcp, port)
        case .udp(let port): (.udp, port)
        case .sctp(let port): (.sctp, port)
        case .icmp, .other: nil
        }
    }
}

extension PortRange {
    /// Whether these ports speak of a flow's protocol and destination port.
    public func contains(_ transport: FlowTransport) -> Bool {
        if transport == .icmp { return self.transport == .icmp }
        return transport.port.map { $0.transport == self.transport && ports.contains($0.number) } ?? false
    }
}
