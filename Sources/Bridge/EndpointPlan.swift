internal import Model
internal import Netlink
internal import Wire

/// All that the kernel is told of one endpoint, as values: nothing happens before they are sent.
///
/// ```
///     the fabric                           the container
///   bridge (neighbours, routes)
///     | isolated port, station
///   fv0123456789abc  <------ veth ------>  eth0 (addresses, routes, gateway's MAC)
/// ```
///
/// The container sends everything through the gateway, what is for its own subnet too: peers may be behind
/// another bridge, and none is ever asked for its MAC.
///
/// The order matters. The fabric's end is up first and has no carrier; the container's end comes up after it
/// and finds its peer up, so it can send at once. The kernel tells the fabric's end by deferred work, which
/// the first question about that link waits for (`finish`): after that both ends pass frames and the bridge's
/// carrier is on.
struct EndpointPlan: Hashable, Sendable {
    let endpoint: Endpoint
    let mtu: UInt32
    let gatewayMAC: MACAddress
    /// Address, prefix length and gateway by family.
    let places: [Place]
    let bridge: UInt32
    /// IPv6 exists in this kernel and for links with this MTU.
    let hasIPv6: Bool
    /// The network has IPv6.
    let usesIPv6: Bool

    struct Place: Hashable, Sendable {
        let address: IPAddress
        let prefixLength: UInt8
        let gateway: IPAddress
    }

    init(_ endpoint: Endpoint, network: Network, bridge: UInt32, kernelHasIPv6: Bool) throws(BridgeError) {
        self.endpoint = endpoint
        self.bridge = bridge
        mtu = UInt32(clamping: network.mtu)
        gatewayMAC = network.gatewayMAC
        // RFC 8200 section 5; linux/ipv6.h: IPV6_MIN_MTU.
        hasIPv6 = kernelHasIPv6 && network.mtu >= 1280
        usesIPv6 = network.has(.v6)
        var places: [Place] = []
        for address in endpoint.addresses {
            guard let subnet = network.subnets.first(where: { $0.contains(address) }),
                let gateway = subnet.address(at: 1)
            else {
                throw BridgeError(
                    .addressOutside, "address \"\(address)\" is in no subnet of network \"\(network.name)\"")
            }
            places.append(Place(address: address, prefixLength: UInt8(subnet.prefixLength), gateway: gateway))
        }
        self.places = places
    }

    /// What the fabric's end is like, once it is a port of the bridge.
    ///
    /// Nothing is learnt and nothing is flooded: a frame to this endpoint leaves by this port or not at all.
    static let port = PortOptions(
        isolated: true, learning: false, unicastFlood: false, multicastFlood: false, broadcastFlood: false)

    /// Makes the pair. It goes alone: were it refused, what follows could meet another link of that number.
    func create(index: UInt32, peerIndex: UInt32, namespace: Int32) -> Request {
        // One queue: more cost time to make, and buy nothing where the sender's own processor delivers.
        .addLink(
            LinkSpec(
                name: endpoint.hostInterfaceName, index: index, mtu: mtu, group: Ownership.group,
                master: bridge,
                queues: 1,
                kind: .veth(
                    peer: VethPeer(
                        name: endpoint.interfaceName, index: peerIndex, mac: endpoint.mac, mtu: mtu,
                        namespace: namespace))))
    }

    /// Marks the fabric's end, makes it a port as it shall be, and then brings it up.
    func mark(index: UInt32) -> [Request] {
        // While it is down no one is told of the change; up, the kernel would walk all routes and neighbours
        // for it.
        let marks = LinkChange(
            alias: Ownership.alias(endpoint.id), addressGeneration: hasIPv6 ? AddressGeneration.none : nil,
            port: Self.port)
        return [.changeLink(.index(index), marks), .changeLink(.index(index), LinkChange(isUp: true))]
    }

    /// The container's side without its routes.
    func container(index: UInt32) -> [Request] {
        var requests = [Request.changeLink(.index(loopbackIndex), LinkChange(isUp: true))]
        if hasIPv6 {
            requests.append(.changeLink(.index(index), LinkChange(addressGeneration: AddressGeneration.none)))
        }
        requests.append(.changeLink(.index(index), LinkChange(isUp: true)))
        for place in places {
            requests += place.address.requests(
                link: index, prefixLength: place.prefixLength, flags: .noPrefixRoute)
        }
        if usesIPv6 {
            requests.append(
                .addAddress(
                    InterfaceAddress(
                        link: index, address: .v6(endpoint.mac.linkLocalIPv6), prefixLength: 64,
                        flags: .noDuplicateDetection)))
        }
        for place in places {
            requests.append(.addNeighbour(.permanent(place.gateway, gatewayMAC, link: index)))
        }
        return requests
    }

    /// The container's routes: to its subnet and to everywhere, all through the gateway.
    func routes(index: UInt32) -> [Route] {
        places.flatMap { place in
            let subnet = CIDR(containing: place.address, prefixLength: Int(place.prefixLength))
            return [subnet, nil].map {
                Route(
                    destination: $0, family: place.gateway.family, gateway: place.gateway, link: index,
                    onLink: true)
            }
        }
    }

    /// Waits for the carrier of port and bridge, in this order, and teaches the bridge about the endpoint.
    func finish(index: UInt32) -> [Request] {
        [
            .getLink(.index(index)), .getLink(.index(bridge)),
            .addNeighbour(.station(endpoint.mac, port: index)),
        ]
            + bridgeEntries.map(Request.addNeighbour) + bridgeRoutes.map(Request.addRoute)
    }

    /// Where the bridge sends packets for this endpoint.
    var bridgeEntries: [Neighbour] {
        places.map { .permanent($0.address, endpoint.mac, link: bridge) }
    }

    /// The way from other bridges to the endpoint's. The first bridge has the route of the whole subnet.
    var bridgeRoutes: [Route] {
        guard endpoint.segment > 0 else { return [] }
        return places.map { Route(destination: CIDR($0.address), family: $0.address.family, link: bridge) }
    }
}

extension IPAddress {
    /// Puts the address on a link that is up, so that it receives from the next packet on.
    func requests(link: UInt32, prefixLength: UInt8, flags: AddressFlags = []) -> [Request] {
        var address = InterfaceAddress(link: link, address: self, prefixLength: prefixLength, flags: flags)
        guard family == .v6 else { return [.addAddress(address)] }
        // We give the addresses out, so none is a duplicate.
        address.flags.insert(.noDuplicateDetection)
        // The kernel leaves the route that makes the address its own to deferred work (net/ipv6/addrconf.c:
        // addrconf_dad_work); what came before would be refused. One of ours stands in, and goes by itself.
        let standIn = Route(
            .local, destination: CIDR(self), family: .v6, link: link, metric: 1, lifetime: standInSeconds)
        return [.addAddress(address), .replaceRoute(standIn)]
    }
}

private let standInSeconds: UInt32 = 10

/// The loopback link of every network namespace (net/core: LOOPBACK_IFINDEX).
private let loopbackIndex: UInt32 = 1
