package import Model
internal import Wire

/// What endpoints of one network have: addresses, link addresses and names, each given once, and a place on
/// one of its bridges.
///
/// A value: `assign` either gives everything or changes nothing.
package struct EndpointAllocator: Sendable {
    package let network: Network
    /// One for each family, IPv4 first.
    private var pools: [AddressPool]
    private var macs: Set<MACAddress> = []
    private var names: Set<String> = []
    /// How many endpoints each segment has.
    private var segments: [Int] = []

    /// Ports of one bridge. Making the kernel's 64th takes about as long as its first.
    package static let segmentSize = 64

    package init(_ network: Network, endpoints: some Sequence<Endpoint> = []) {
        self.network = network
        pools = IPFamily.allCases.compactMap { family in network.subnet(family).map { AddressPool($0) } }
        for endpoint in endpoints { insert(endpoint) }
    }

    /// Chooses and takes what a new endpoint needs. The same container gets the same again unless it is
    /// taken.
    ///
    /// - Throws: `ModelError`, with nothing taken.
    package mutating func assign(
        _ request: EndpointRequest, namespace: NamespaceReference
    ) throws(ModelError) -> Endpoint {
        try request.validate()
        for address in request.addresses where network.subnet(address.family) == nil {
            throw .invalid("ip", address.description, "the network has no \(address.family) subnet")
        }
        let id = Identifier.endpoint(networkID: network.id, containerID: request.containerID)
        let name = try name(for: request, id)
        let mac = try mac(for: request, id)
        let segment = segments.firstIndex { $0 < Self.segmentSize } ?? segments.count
        guard segment <= UInt16.max else {
            throw .exhausted("network", network.name, "it has as many endpoints as a network can have")
        }

        let addresses = try takeAddresses(request, id)
        macs.insert(mac)
        names.insert(name)
        enter(segment)
        return Endpoint(
            id: id, containerID: request.containerID, networkID: network.id, name: name,
            labels: request.labels,
            addresses: addresses, mac: mac, segment: segment,
            interfaceName: request.interfaceName ?? EndpointRequest.defaultInterfaceName,
            namespace: namespace, ports: request.ports, aliases: request.aliases)
    }

    private mutating func enter(_ segment: Int) {
        while segments.count <= segment { segments.append(0) }
        segments[segment] += 1
    }

    /// An address from each pool; none is taken where one cannot be had. (A copy to go back to would cost as
    /// much as the pool has addresses.)
    private mutating func takeAddresses(_ request: EndpointRequest, _ id: String) throws(ModelError)
        -> [IPAddress]
    {
        var taken: [IPAddress] = []
        do throws(ModelError) {
            for index in pools.indices {
                let family = pools[index].subnet.family
                if let asked = request.addresses.first(where: { $0.family == family }) {
                    try pools[index].take(asked)
                    taken.append(asked)
                } else {
                    taken.append(try pools[index].allocate(endpointID: id))
                }
            }
        } catch {
            for (index, address) in taken.enumerated() { pools[index].release(address) }
            throw error
        }
        return taken
    }

    /// Takes what an endpoint has that exists already.
    package mutating func insert(_ endpoint: Endpoint) {
        for address in endpoint.addresses {
            // An address that is taken or no longer in the subnet is not ours to judge here: the endpoint has
            // it.
            for index in pools.indices where pools[index].subnet.contains(address) {
                try? pools[index].take(address)
            }
        }
        macs.insert(endpoint.mac)
        names.insert(endpoint.name)
        enter(endpoint.segment)
    }

    /// Gives back what an endpoint had.
    package mutating func release(_ endpoint: Endpoint) {
        for address in endpoint.addresses {
            for index in pools.indices { pools[index].release(address) }
        }
        macs.remove(endpoint.mac)
        names.remove(endpoint.name)
        segments[endpoint.segment] -= 1
    }

    private func name(for request: EndpointRequest, _ id: String) throws(ModelError) -> String {
        if let asked = request.name {
            guard !names.contains(asked) else {
                throw .exists("name", asked, "is taken in network \(network.name)")
            }
            return asked
        }
        let derived = request.derivedName
        guard names.contains(derived) else { return derived }
        // Ids that agree in their beginning are told apart by the endpoint's id.
        let longer = "\(derived.prefix(50))-\(id.prefix(12))"
        guard !names.contains(longer) else {
            throw .exists("name", longer, "is taken in network \(network.name)")
        }
        return longer
    }

    private func mac(for request: EndpointRequest, _ id: String) throws(ModelError) -> MACAddress {
        if let asked = request.mac {
            guard !macs.contains(asked) else {
                throw .exists("mac", asked.description, "is taken in network \(network.name)")
            }
            return asked
        }
        for attempt in 0..<16 {
            let mac = Identifier.mac(endpointID: id, attempt: attempt)
            if !macs.contains(mac) { return mac }
        }
        throw .exhausted("mac", id, "no link address is left to choose: give one")
    }
}
