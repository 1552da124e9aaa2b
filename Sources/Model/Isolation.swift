/// Isolation is judged before policy, and both networks must agree: the stricter level wins.
enum Isolation {
    /// The reason for which isolation forbids traffic between two sides, which are not the same endpoint.
    static func denial(_ source: NetworkMember?, _ destination: NetworkMember?) -> DenialReason? {
        let same = source?.network.id == destination?.network.id
        var strictest: Network?
        for network in [source?.network, destination?.network].compactMap(\.self) where forbids(network, same)
        {
            // Of two equal levels the source's is named.
            if strictest.map({ $0.isolation.strictness < network.isolation.strictness }) ?? true {
                strictest = network
            }
        }
        return strictest.map { .isolation($0.isolation, network: $0.name) }
    }

    private static func forbids(_ network: Network, _ sameNetwork: Bool) -> Bool {
        switch network.isolation {
        // Mesh links carry what a mesh-only network allows; a packet between endpoints is none.
        case .full, .meshOnly: true
        case .peerOnly: !sameNetwork
        case .none: false
        }
    }
}

extension IsolationLevel {
    fileprivate var strictness: Int {
        switch self {
        case .none: 0
        case .peerOnly: 1
        case .meshOnly: 2
        case .full: 3
        }
    }
}
