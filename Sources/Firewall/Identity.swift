internal import Model
internal import Wire

/// All that any policy can tell about an address of the fabric: addresses with equal identities are treated
/// alike everywhere.
///
/// Endpoints with equal labels share one. An endpoint that some policy names is set apart by `pinned`, ports
/// that some policy calls by name by `ports`, and addresses that some policy's CIDR tells apart by `blocks`
/// and `family`.
struct Identity: Hashable {
    let networkID: String
    let networkName: String
    let networkLabels: Labels
    let defaultVerdict: DefaultVerdict
    /// Its network has a resolver.
    let hasNames: Bool
    let labels: Labels
    /// Name and container id, where a policy selects by either.
    let pinned: Pin?
    /// The endpoint's ports whose names some policy uses.
    let ports: [NamedPort]
    /// The blocks that contain the address, of those that policies mention and that do not hold all subnets
    /// of the network.
    let blocks: [CIDR]
    /// The address's family, where some policy mentions a block that holds all the network's subnets of it.
    let family: IPFamily?

    struct Pin: Hashable {
        let name: String
        let containerID: String
    }

    func matches(_ selector: EndpointSelector) -> Bool {
        if let network = selector.network, network != networkName { return false }
        if let endpoints = selector.endpoints {
            guard let pinned, endpoints.contains(pinned.name) || endpoints.contains(pinned.containerID) else {
                return false
            }
        }
        return selector.labels.matches { labels[$0] }
            && selector.networkLabels.matches { $0 == Network.nameLabel ? networkName : networkLabels[$0] }
    }

    var names: [String] { pinned.map { [$0.name, $0.containerID] } ?? [] }

    var stableHash: UInt32 {
        var hash = StableHash()
        hash.combine(networkID)
        for labels in [labels, networkLabels] {
            for (key, value) in labels.sorted(by: { $0.key < $1.key }) {
                hash.combine(key)
                hash.combine(value)
            }
            hash.combine("")
        }
        hash.combine(defaultVerdict.rawValue)
        hash.combine(pinned.map { "\($0.name)/\($0.containerID)" } ?? "")
        for port in ports {
            hash.combine("\(port.name)/\(port.transport.rawValue)")
            hash.combine(UInt32(port.number))
        }
        for block in blocks { hash.combine(block.description) }
        hash.combine(family?.description ?? "")
        return hash.folded
    }
}

/// The blocks that policies mention, found by address without a scan.
struct BlockIndex {
    /// How many times each block is mentioned.
    private var mentions: [CIDR: Int] = [:]
    /// How many blocks there are of each prefix length.
    private var lengths: [IPFamily: [Int: Int]] = [.v4: [:], .v6: [:]]

    /// - Returns: true if the block is new.
    mutating func insert(_ block: CIDR) -> Bool {
        mentions[block, default: 0] += 1
        guard mentions[block] == 1 else { return false }
        lengths[block.family]?[block.prefixLength, default: 0] += 1
        return true
    }

    /// - Returns: true if nobody mentions the block any more.
    mutating func remove(_ block: CIDR) -> Bool {
        guard let count = mentions[block] else { return false }
        mentions[block] = count == 1 ? nil : count - 1
        guard count == 1 else { return false }
        let left = (lengths[block.family]?[block.prefixLength] ?? 1) - 1
        lengths[block.family]?[block.prefixLength] = left == 0 ? nil : left
        return true
    }

    /// The blocks that contain the address, widest first.
    func containing(_ address: IPAddress) -> [CIDR] {
        (lengths[address.family] ?? [:]).keys.sorted().compactMap { length in
            let block = CIDR(containing: address, prefixLength: length)
            return mentions[block] == nil ? nil : block
        }
    }
}

extension CIDR {
    /// Whether it holds every address that endpoints of a network can have in its family.
    func holdsAll(of network: Network) -> Bool {
        network.subnets.allSatisfy { $0.family != family || contains($0) }
    }
}

/// What a policy mentions that identities are told apart by, with repetitions.
struct Mentions {
    /// In any rule.
    var blocks: [CIDR] = []
    /// Names and container ids in any selector.
    var endpoints: [String] = []
    /// Names in any rule.
    var ports: [String] = []
}

extension FirewallPolicy {
    var mentions: Mentions {
        var found = Mentions()
        if let names = selector.endpoints { found.endpoints += names }
        for rule in rules {
            for peer in rule.peers ?? [] {
                switch peer {
                case .endpoints(let selector):
                    if let names = selector.endpoints { found.endpoints += names }
                case .cidr(let block, let except):
                    found.blocks.append(block)
                    found.blocks += except
                case .domain, .unknown: break
                }
            }
            for case .named(let name, _) in rule.ports ?? [] { found.ports.append(name) }
        }
        return found
    }
}
