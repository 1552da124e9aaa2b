/// Isolation is judged before policy, and both networks must agree: the stricter level wins.
package enum Isolation {
    /// The reason for which isolation forbids traffic between two sides, which are not the same endpoint.
    ///
    /// A network with NAT is open to the outside, outward: policy alone decides what of it is reached.
    package static func denial(_ source: NetworkMember?, _ destination: NetworkMember?) -> DenialReason? {
        if destination == nil, let source, source.network.nat { return nil }
        // Most levels forbid nothing: networks are looked at only where one does.
        let (forbidsFirst, forbidsSecond) = (forbids(source, destination), forbids(destination, source))
        guard forbidsFirst || forbidsSecond else { return nil }
        let first = forbidsFirst ? source?.network : nil
        let second = forbidsSecond ? destination?.network : nil
        guard let first, let second else {
            return (first ?? second).map { .isolation($0.isolation, network: $0.name) }
        }
        // Of two equal levels the source's is named.
        let stricter = second.isolation.strictness > first.isolation.strictness ? second : first
        return .isolation(stricter.isolation, network: stricter.name)
    }

    private static func forbids(_ member: NetworkMember?, _ peer: NetworkMember?) -> Bool {
        switch member?.network.isolation {
        // Mesh links carry what a mesh-only network allows; a packet between endpoints is none.
        case .full, .meshOnly: true
        case .peerOnly: member?.network.id != peer?.network.id
        case .some(.none), nil: false
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
