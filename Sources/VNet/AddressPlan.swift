package import Model
package import Wire

/// Which subnets networks have.
package enum AddressPlan {
    /// Makes a network of a request: validates it whole and chooses what it leaves open.
    ///
    /// - Parameters:
    ///   - existing: the fabric's networks.
    ///   - avoid: other blocks that chosen subnets keep away from, such as the host's own; a subnet that was
    ///     asked for may overlap them.
    package static func network(
        for request: NetworkRequest, existing: [Network], avoid: [CIDR] = []
    ) throws(ModelError) -> Network {
        try request.validate()
        let id = Identifier.network(name: request.name)
        for other in existing {
            if other.name == request.name { throw .exists("network", request.name, "exists already") }
            // Bridges are named by the first 48 bits of the id.
            if other.id.prefix(12) == id.prefix(12) {
                throw .exists(
                    "network", request.name, "has the same id as network \(other.name): choose another name")
            }
            for subnet in request.subnets {
                for taken in other.subnets where taken.overlaps(subnet) {
                    throw .invalid("subnet", subnet.description, "overlaps \(taken) of network \(other.name)")
                }
            }
        }
        var subnets = request.subnets
        let taken = existing.flatMap(\.subnets) + avoid
        for family in IPFamily.allCases where !subnets.contains(where: { $0.family == family }) {
            guard let subnet = defaultSubnet(family, networkID: id, taken: taken) else {
                throw .exhausted("subnet", request.name, "no \(family) subnet is left to choose: give one")
            }
            subnets.append(subnet)
        }
        // IPv4 first, as endpoints' addresses are.
        let network = Network(
            id: id, name: request.name, subnets: subnets.sorted(), isolation: request.isolation,
            defaultVerdict: request.defaultVerdict, mtu: request.mtu ?? NetworkRequest.defaultMTU,
            labels: request.labels, nat: request.nat, dns: request.dns)
        for upstream in request.dns?.upstreams ?? [] where network.isGateway(upstream.address) {
            throw .invalid("dns upstream", upstream.description, "is the network's own resolver")
        }
        return network
    }

    /// A block for a network that asked for none: 10.x.y.0/24, or a /64 of the network's own unique local
    /// prefix.
    ///
    /// Both are a function of the id, moved on past blocks that are taken. nil if all are.
    package static func defaultSubnet(_ family: IPFamily, networkID: String, taken: [CIDR]) -> CIDR? {
        // RFC 4193 section 3.1: fd, 40 bits of a global id, and a subnet id of 16 bits, which stays 0.
        let (prefix, span, step): (UInt128, UInt128, UInt128) =
            family == .v4 ? (10 << 24, 1 << 24, 1 << 8) : (0xfd << 120, 1 << 120, 1 << 80)
        let length = family == .v4 ? 24 : 64
        let start = Identifier.number(networkID, .low) % (span / step) * step
        let taken = taken.filter { $0.family == family }

        var offset = start
        var wrapped = false
        while true {
            let candidate = CIDR(
                containing: IPAddress(family, bits: prefix + offset), prefixLength: length)
            guard let obstacle = taken.first(where: { $0.overlaps(candidate) }) else { return candidate }
            // On to the first candidate past the obstacle, so that a large one costs no more than a small
            // one.
            let end = max(obstacle.last, candidate.last).bits - prefix
            offset = (end / step + 1) * step
            if offset >= span {
                guard !wrapped else { return nil }
                wrapped = true
                offset = 0
            }
            if wrapped, offset >= start { return nil }
        }
    }
}
