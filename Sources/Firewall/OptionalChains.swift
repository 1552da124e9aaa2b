internal import Netlink

/// Chains with hooks of their own, which are there only while something needs them.
package enum OptionalChains: Hashable, Sendable {
    /// Counts the packets of ports, while some port has a limit.
    case packetLimits
    /// Leads connections whose host is to be verified to the proxy, while some rule verifies hosts.
    case verifiedHosts

    var chains: [NftChain] {
        switch self {
        case .packetLimits: PacketLimitChains().chains
        case .verifiedHosts: VerifiedHostChain.chains
        }
    }

    var rules: [NftRule] {
        switch self {
        case .packetLimits: PacketLimitChains().rules
        case .verifiedHosts: VerifiedHostChain.rules
        }
    }
}

extension NftBatch {
    /// Makes those that come.
    mutating func create(_ changes: [OptionalChains: Bool], _ generation: Generation) {
        for (optional, isComing) in changes where isComing {
            for chain in optional.chains { create(chain) }
            for rule in optional.rules { add(generation.rule(rule)) }
        }
    }

    /// Removes those that go, or with true those that would have come.
    mutating func delete(_ changes: [OptionalChains: Bool], where isComing: Bool) {
        for (optional, comes) in changes where comes == isComing {
            for chain in optional.chains { flush(chain) }
            for chain in optional.chains { delete(chain) }
        }
    }

    /// Has those that are there look into another copy of the large sets.
    mutating func turn(_ present: Set<OptionalChains>, to generation: Generation) {
        for optional in present {
            for chain in optional.chains where chain.table == KernelLayout.policyTable { flush(chain) }
            for rule in optional.rules where rule.table == KernelLayout.policyTable {
                add(generation.rule(rule))
            }
        }
    }
}
