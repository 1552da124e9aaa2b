public import Wire

/// An endpoint's `/etc/hosts` and `/etc/resolv.conf`, for whoever runs its container to mount there.
///
/// What they say depends on what an endpoint keeps for as long as it is there: they never change.
public struct EndpointFiles: Hashable, Sendable {
    /// As the fabric sees it; for its owner alone. The files in it may be read by anybody who is shown them.
    public let directory: String

    public init(directory: String) { self.directory = directory }

    public var hosts: String { "\(directory)/hosts" }
    public var resolvConf: String { "\(directory)/resolv.conf" }

    /// hosts(5): the loopback's names, and the endpoint's own.
    public static func hosts(name: String, network: String, addresses: [String]) -> String {
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
            + addresses.map { "\($0)\t\(name).\(network) \(name)\n" }.joined()
    }

    /// resolv.conf(5). Without a server the C library would ask 127.0.0.1, where nobody is, and so fails at once
    /// instead of after seconds.
    public static func resolvConf(nameServers: [String], searchDomains: [String]) -> String {
        var text = "# Written by forge.\(nameServers.isEmpty ? " This network has no name server." : "")\n"
        for server in nameServers { text += "nameserver \(server)\n" }
        if !searchDomains.isEmpty { text += "search \(searchDomains.joined(separator: " "))\n" }
        return text
    }
}

extension NetworkMember {
    /// Whom it asks for names: its network's gateway, in the families that it has an address of. None where the
    /// network has no names.
    public var nameServers: [IPAddress] {
        network.dns == nil ? [] : endpoint.addresses.compactMap { network.gateway($0.family) }
    }

    /// Below which domains its resolver looks for a bare name.
    public var searchDomains: [String] { network.dns == nil ? [] : [network.searchDomain] }
}
