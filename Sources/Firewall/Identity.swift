internal import Model
internal import Wire

/// All that any policy can tell about an address of the fabric: addresses with equal identities are treated
/// alike everywhere.
///
/// Endpoints with equal labels share one. An endpoint that some policy names is set apart by `pinned`, and
/// addresses that some policy's CIDR tells apart by `blocks`.
struct Identity: Hashable {
    let networkID: String
    let networkName: String
    let labels: Labels
    /// Name and container id, where a policy selects by either.
    let pinned: Pin?
    /// The blocks, of all that policies mention, that contain the address.
    let blocks: [CIDR]

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
        return selector.matchLabels.allSatisfy { labels[$0.key] == $0.value }
    }

    var stableHash: UInt32 {
        var hash = StableHash()
        hash.combine(networkID)
        for (key, value) in labels.sorted(by: { $0.key < $1.key }) {
            hash.combine(key)
            hash.combine(value)
        }
        hash.combine(pinned.map { "\($0.name)/\($0.containerID)" } ?? "")
        for block in blocks { hash.combine(block.description) }
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

extension FirewallPolicy {
    /// Every block in any rule, with repetitions.
    var mentionedBlocks: [CIDR] {
        allRules.flatMap { rule in
            (rule.peers ?? []).flatMap { peer -> [CIDR] in
                if case .cidr(let block, let except) = peer { [block] + except } else { [] }
            }
        }
    }

    /// Every endpoint name or container id in any selector, with repetitions.
    var mentionedEndpoints: [String] {
        Array(selector.endpoints ?? [])
            + allRules.flatMap { rule in
                (rule.peers ?? []).flatMap { peer -> [String] in
                    if case .endpoints(let selector) = peer { Array(selector.endpoints ?? []) } else { [] }
                }
            }
    }

    /// `allowPorts` and `trustedPeers` as the one ingress rule that they stand for.
    var shorthand: PolicyRule? {
        allowPorts == nil && trustedPeers == nil ? nil : PolicyRule(peers: trustedPeers, ports: allowPorts)
    }

    private var allRules: [PolicyRule] {
        ingress + egress + ingressDeny + egressDeny + (shorthand.map { [$0] } ?? [])
    }
}
