public import Wire

/// What a caller asks of a new network; nil leaves the choice to the fabric.
public struct NetworkRequest: Hashable, Sendable {
    /// A DNS label, unique in the fabric.
    public var name: String
    /// The first of each family gives endpoints their addresses. Where a family is missing the fabric chooses
    /// one.
    public var subnets: [CIDR]
    public var isolation: IsolationLevel
    public var defaultVerdict: DefaultVerdict
    /// Bytes of an IP packet.
    public var mtu: Int?
    public var labels: Labels
    /// Whether its endpoints may leave the fabric, as far as policy allows.
    public var nat: Bool
    /// How its resolver answers; nil for none.
    public var dns: DNSSettings?

    public init(
        name: String, subnets: [CIDR] = [], isolation: IsolationLevel = .peerOnly,
        defaultVerdict: DefaultVerdict = .deny,
        mtu: Int? = nil, labels: Labels = [:], nat: Bool = false, dns: DNSSettings? = nil
    ) {
        self.name = name
        self.subnets = subnets
        self.isolation = isolation
        self.defaultVerdict = defaultVerdict
        self.mtu = mtu
        self.labels = labels
        self.nat = nat
        self.dns = dns
    }
}

/// Where a container's network namespace is to be found.
public enum NamespaceSource: Hashable, Sendable {
    /// A file such as `/run/netns/x` or `/proc/123/ns/net`.
    case path(String)
    /// The namespace that this process is in.
    case pid(Int32)
}

/// What a caller asks of a new endpoint; nil leaves the choice to the fabric.
public struct EndpointRequest: Hashable, Sendable {
    /// A network's name, id or unambiguous id prefix.
    public var network: String
    /// The runtime's name for the container: 1 to 128 printable ASCII characters without spaces.
    public var containerID: String
    public var namespace: NamespaceSource
    /// A DNS label, unique in the network.
    public var name: String?
    public var labels: Labels
    /// Static addresses, at most one of each family.
    public var addresses: [IPAddress]
    public var mac: MACAddress?
    /// The interface's name inside the container, at most 15 bytes.
    public var interfaceName: String?
    /// Ports that policies may call by name: each name once for a protocol.
    public var ports: [NamedPort]
    /// Further names that the network's resolver knows the endpoint by, DNS labels; endpoints may share one.
    public var aliases: [String]
    /// Ports of the host that are to lead to it.
    public var published: [PublishedPort]

    public init(
        network: String, containerID: String, namespace: NamespaceSource, name: String? = nil,
        labels: Labels = [:],
        addresses: [IPAddress] = [], mac: MACAddress? = nil, interfaceName: String? = nil,
        ports: [NamedPort] = [], aliases: [String] = [], published: [PublishedPort] = []
    ) {
        self.network = network
        self.containerID = containerID
        self.namespace = namespace
        self.name = name
        self.labels = labels
        self.addresses = addresses
        self.mac = mac
        self.interfaceName = interfaceName
        self.ports = ports
        self.aliases = aliases
        self.published = published
    }
}

/// A question to policy: may this reach that?
public struct FlowQuery: Hashable, Sendable {
    /// An endpoint's name, `network/name`, id, container id or unambiguous id prefix; or an IP address.
    public var from: String
    /// As `from`.
    public var to: String
    public var transport: FlowTransport

    public init(from: String, to: String, transport: FlowTransport) {
        self.from = from
        self.to = to
        self.transport = transport
    }
}
