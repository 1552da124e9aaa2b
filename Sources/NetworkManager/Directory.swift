internal import Model
internal import Wire

/// What the fabric should look like, in memory: networks, endpoints and policies, found by any of their
/// names.
struct Directory {
    /// Where endpoints' files are kept; nil for nowhere.
    var filesDirectory: String?
    private(set) var networks: [String: Network] = [:]
    private(set) var endpoints: [String: Endpoint] = [:]
    private(set) var policies: [String: FirewallPolicy] = [:]
    /// By endpoint id, of endpoints that are not there too.
    var quarantines: [String: Quarantine] = [:]
    /// Endpoint ids by container id.
    private var containers: [String: Set<String>] = [:]
    /// Endpoint ids by host interface name.
    private var interfaces: [String: String] = [:]
    /// Endpoint ids by address.
    private var addresses: [IPAddress: String] = [:]
    /// Endpoint ids by the number that they begin with.
    private var numbers: [UInt64: String] = [:]
    /// Endpoint ids by network id.
    private var members: [String: Set<String>] = [:]
    /// Endpoint ids by name.
    private var names: [String: Set<String>] = [:]

    mutating func insert(_ network: Network) { networks[network.id] = network }
    mutating func removeNetwork(id: String) { networks[id] = nil }

    mutating func insert(_ endpoint: Endpoint) {
        removeEndpoint(id: endpoint.id)
        endpoints[endpoint.id] = endpoint
        containers[endpoint.containerID, default: []].insert(endpoint.id)
        interfaces[endpoint.hostInterfaceName] = endpoint.id
        numbers[endpoint.number] = endpoint.id
        members[endpoint.networkID, default: []].insert(endpoint.id)
        names[endpoint.name, default: []].insert(endpoint.id)
        for address in endpoint.addresses { addresses[address] = endpoint.id }
    }

    mutating func removeEndpoint(id: String) {
        guard let endpoint = endpoints.removeValue(forKey: id) else { return }
        func drop(_ index: inout [String: Set<String>], _ key: String) {
            index[key]?.remove(id)
            if index[key]?.isEmpty ?? false { index[key] = nil }
        }
        drop(&containers, endpoint.containerID)
        drop(&members, endpoint.networkID)
        drop(&names, endpoint.name)
        interfaces[endpoint.hostInterfaceName] = nil
        numbers[endpoint.number] = nil
        for address in endpoint.addresses { addresses[address] = nil }
    }

    mutating func insert(_ policy: FirewallPolicy) { policies[policy.name] = policy }
    mutating func removePolicy(_ name: String) { policies[name] = nil }

    // MARK: Look-up

    /// A network by name, id or unambiguous prefix of its id.
    func network(named name: String) throws(ModelError) -> Network {
        if let network = networks[name] ?? networks.values.first(where: { $0.name == name }) {
            return network
        }
        return try one(of: networks.values.filter { isPrefix(name, of: $0.id) }, "network", name) { $0.name }
    }

    /// An endpoint by name, `network/name`, id, container id or unambiguous prefix of either id.
    func endpoint(named name: String) throws(ModelError) -> Endpoint {
        if let endpoint = endpoints[name] { return endpoint }
        if let slash = name.firstIndex(of: "/") {
            let network = try network(named: String(name[..<slash]))
            let rest = String(name[name.index(after: slash)...])
            guard
                let found = members(of: network.id).first(where: { $0.name == rest || $0.containerID == rest }
                )
            else {
                throw .notFound("endpoint", name)
            }
            return found
        }
        let exact = (names[name] ?? []).union(containers[name] ?? []).compactMap { endpoints[$0] }
        if !exact.isEmpty { return try one(of: exact, "endpoint", name, describe) }
        let matching = endpoints.values.filter {
            isPrefix(name, of: $0.id) || isPrefix(name, of: $0.containerID)
        }
        return try one(of: matching, "endpoint", name, describe)
    }

    func policy(named name: String) throws(ModelError) -> FirewallPolicy {
        guard let policy = policies[name] else { throw .notFound("policy", name) }
        return policy
    }

    func members(of networkID: String) -> [Endpoint] {
        (members[networkID] ?? []).compactMap { endpoints[$0] }
    }

    func endpoints(ofContainer id: String) -> [Endpoint] {
        (containers[id] ?? []).compactMap { endpoints[$0] }
    }
    /// In whatever network.
    func endpoints(withName name: String) -> [Endpoint] { (names[name] ?? []).compactMap { endpoints[$0] } }
    func endpoint(withInterface name: String) -> Endpoint? { interfaces[name].flatMap { endpoints[$0] } }
    /// As the resolver numbers them: by the first 16 digits of the id.
    func endpoint(numbered number: UInt64) -> Endpoint? { numbers[number].flatMap { endpoints[$0] } }
    func endpoint(at address: IPAddress) -> Endpoint? { addresses[address].flatMap { endpoints[$0] } }

    func member(_ endpoint: Endpoint) throws(ModelError) -> NetworkMember {
        guard let network = networks[endpoint.networkID] else {
            throw .notFound("network", endpoint.networkID)
        }
        return NetworkMember(
            endpoint, in: network, quarantine: quarantines[endpoint.id], files: files(of: endpoint, network))
    }

    private func files(of endpoint: Endpoint, _ network: Network) -> EndpointFiles? {
        guard network.dns != nil, let filesDirectory else { return nil }
        return EndpointFiles(directory: "\(filesDirectory)/\(endpoint.id)")
    }

    func member(at address: IPAddress) -> NetworkMember? {
        endpoint(at: address).flatMap { try? member($0) }
    }

    private func describe(_ endpoint: Endpoint) -> String {
        "\(networks[endpoint.networkID]?.name ?? endpoint.networkID)/\(endpoint.name)"
    }

    /// An id may be shortened, though not to nothing.
    private func isPrefix(_ name: String, of id: String) -> Bool {
        name.utf8.count >= 2 && id.hasPrefix(name)
    }

    private func one<T>(
        of matches: [T], _ kind: String, _ name: String, _ describe: (T) -> String
    ) throws(ModelError) -> T {
        guard let first = matches.first else { throw .notFound(kind, name) }
        guard matches.count == 1 else { throw .ambiguous(kind, name, matches.map(describe).sorted()) }
        return first
    }
}
