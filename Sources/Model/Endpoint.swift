public import Wire

/// The network namespace that an endpoint lives in, and how to tell that it is still the same one.
public struct NamespaceReference: Hashable, Sendable, Codable {
    /// A path such as `/run/netns/x` or `/proc/123/ns/net`.
    public let path: String
    /// Device and inode of the namespace that was found there at attach.
    public let device: UInt64
    public let inode: UInt64

    public init(path: String, device: UInt64, inode: UInt64) {
        self.path = path
        self.device = device
        self.inode = inode
    }
}

/// One container's place in one network.
public struct Endpoint: Hashable, Sendable, Codable {
    /// 64 hexadecimal digits, a function of network id and container id.
    public let id: String
    public let containerID: String
    public let networkID: String
    /// Unique in its network, a DNS label.
    public let name: String
    public var labels: Labels
    /// At most one of each family, IPv4 first.
    public let addresses: [IPAddress]
    public let mac: MACAddress
    /// Which of the network's bridges it is a port of, counted from 0.
    public let segment: Int
    /// The interface's name inside the container.
    public let interfaceName: String
    public let namespace: NamespaceReference
    /// Ports that policies may call by name.
    public let ports: [NamedPort]
    /// Further names that the network's resolver knows it by, DNS labels; endpoints may share one.
    public let aliases: [String]
    /// Ports of the host that lead here.
    public var published: [Publication]

    public init(
        id: String, containerID: String, networkID: String, name: String, labels: Labels,
        addresses: [IPAddress], mac: MACAddress, segment: Int = 0, interfaceName: String,
        namespace: NamespaceReference, ports: [NamedPort] = [], aliases: [String] = [],
        published: [Publication] = []
    ) {
        self.id = id
        self.containerID = containerID
        self.networkID = networkID
        self.name = name
        self.labels = labels
        self.addresses = addresses
        self.mac = mac
        self.segment = segment
        self.interfaceName = interfaceName
        self.namespace = namespace
        self.ports = ports
        self.aliases = aliases
        self.published = published
    }

    public func address(_ family: IPFamily) -> IPAddress? { addresses.first { $0.family == family } }

    /// The interface's name on the fabric's side, at most 15 bytes.
    public var hostInterfaceName: String { "fv" + id.prefix(13) }
}
