internal import Model
internal import Protos
internal import SwiftProtobuf
internal import Wire

extension Forge_Network_V1_Endpoint {
    init(_ member: NetworkMember) {
        let endpoint = member.endpoint
        self.init()
        id = endpoint.id
        name = endpoint.name
        containerID = endpoint.containerID
        vnetID = endpoint.networkID
        vnet = member.network.name
        labels = endpoint.labels
        addresses = endpoint.addresses.map { address in
            .with {
                $0.address = address.description
                $0.prefixLength = UInt32(
                    member.network.subnet(address.family)?.prefixLength ?? address.family.width)
                $0.gateway = member.network.gateway(address.family)?.description ?? ""
            }
        }
        mac = endpoint.mac.description
        interfaceName = endpoint.interfaceName
        hostInterfaceName = endpoint.hostInterfaceName
        mtu = UInt32(clamping: member.network.mtu)
        namespace = .with {
            $0.path = endpoint.namespace.path
            $0.device = endpoint.namespace.device
            $0.inode = endpoint.namespace.inode
        }
        if let quarantine = member.quarantine {
            self.quarantine = .with {
                if let until = quarantine.until { $0.untilUnixMilliseconds = until }
                $0.allow = quarantine.exceptions.map(\.description)
            }
        }
        aliases = endpoint.aliases
        nameServers = member.nameServers.map(\.description)
        searchDomains = member.searchDomains
        resolvConfPath = member.files?.resolvConf ?? ""
        hostsPath = member.files?.hosts ?? ""
        published = endpoint.published.map { .init($0.port) }
        ports = endpoint.ports.map { port in
            .with {
                $0.name = port.name
                $0.port = UInt32(port.number)
                $0.protocol = .init(port.transport)
            }
        }
    }
}

extension EndpointRequest {
    init(_ message: Forge_Network_V1_AssignEndpointRequest) throws(ModelError) {
        try ContainerID.check(message.containerID, field: "container id")
        if !message.name.isEmpty { try Name.check(message.name, field: "name") }
        try LabelSyntax.check(message.labels, field: "label")
        try Bounds.check("ip", count: message.addresses.count, atMost: Bounds.addresses)
        var addresses: [IPAddress] = []
        for text in message.addresses {
            addresses.append(try parse("ip", text) { text throws(ParseError) in try IPAddress(text) })
        }
        try Bounds.check("port", count: message.ports.count, atMost: EndpointRequest.portLimit)
        var ports: [NamedPort] = []
        for port in message.ports { ports.append(try NamedPort(port)) }
        try Bounds.check("alias", count: message.aliases.count, atMost: EndpointRequest.aliasLimit)
        for alias in message.aliases { try Name.check(alias, field: "alias") }
        self.init(
            network: try Bounds.reference(message.vnet, "network"), containerID: message.containerID,
            namespace: try NamespaceSource(message.source), name: message.name.isEmpty ? nil : message.name,
            labels: message.labels, addresses: addresses,
            mac: message.mac.isEmpty
                ? nil : try parse("mac", message.mac) { text throws(ParseError) in try MACAddress(text) },
            interfaceName: message.interfaceName.isEmpty ? nil : message.interfaceName, ports: ports,
            aliases: message.aliases,
            published: message.publish.isEmpty ? [] : try PublishedPort.asked(message.publish))
    }
}

extension Forge_Network_V1_PublishedPort {
    init(_ port: PublishedPort) {
        self.init()
        address = port.address?.description ?? ""
        hostPort = UInt32(port.hostPort)
        endpointPort = UInt32(port.endpointPort)
        self.protocol = .init(port.transport)
    }
}

extension PublishedPort {
    /// The ports that a request speaks of, at least one.
    static func asked(_ texts: [String]) throws(ModelError) -> [PublishedPort] {
        try Bounds.check(field, count: texts.count, atMost: limit)
        for text in texts { _ = try Bounds.reference(text, field) }
        guard !texts.isEmpty else { throw .invalid(field, "", "there is none in the request") }
        return try parse(texts)
    }

    private static var field: String { "published port" }
}

extension NamedPort {
    fileprivate init(_ message: Forge_Network_V1_NamedPort) throws(ModelError) {
        let given: TransportProtocol? =
            message.protocol == .unspecified ? .tcp : TransportProtocol(message.protocol)
        guard let transport = given else {
            throw .invalid(
                "port \(message.name)", "\(message.protocol.rawValue)",
                "the protocol must be TCP, UDP or SCTP")
        }
        guard let number = UInt16(exactly: message.port) else {
            throw .invalid("port \(message.name)", "\(message.port)", "ports are 1 to 65535")
        }
        self.init(message.name, number, transport)
    }
}

extension NamespaceSource {
    fileprivate init(_ source: Forge_Network_V1_AssignEndpointRequest.OneOf_Source?) throws(ModelError) {
        switch source {
        case .netnsPath(let path):
            guard path.hasPrefix("/") else { throw .invalid("netns", path, "must be an absolute path") }
            guard path.utf8.count <= Bounds.path, !path.utf8.contains(0) else {
                throw .invalid("netns", path, "is not a path of at most \(Bounds.path) bytes")
            }
            self = .path(path)
        case .pid(let pid):
            guard pid > 0 else { throw .invalid("pid", "\(pid)", "must be the id of a process") }
            self = .pid(pid)
        case nil:
            throw .invalid("netns", "", "a namespace path or a pid is required")
        }
    }
}
