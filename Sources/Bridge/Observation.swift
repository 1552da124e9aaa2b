package import Model
package import Netlink
internal import Sys
package import Wire

/// A link of ours, as it was found.
package struct FabricLink: Hashable, Sendable {
    package let index: UInt32
    package let name: String
    /// The id of the network or endpoint; nil if it was left half made.
    package let owner: String?
    package let isBridge: Bool
    /// The bridge that it is a port of; zero for none.
    package let master: UInt32
    package let isUp: Bool
    /// It and its other end are up.
    package let isRunning: Bool
    package let mtu: UInt32
    package let mac: MACAddress?
    /// From the fabric's side: what an endpoint sends, its link receives.
    package let statistics: LinkStatistics?

    /// Nil for a link that does not carry our mark.
    package init?(_ link: Link) {
        guard link.group == Ownership.group, ["bridge", "veth", "ifb"].contains(link.kind) else { return nil }
        index = link.index
        name = link.name
        owner = Ownership.owner(link.alias)
        isBridge = link.kind == "bridge"
        master = link.master
        isUp = link.flags.contains(.up)
        isRunning = link.flags.contains(.running)
        mtu = link.mtu
        mac = link.mac
        statistics = link.statistics
    }
}

/// What `repair` found and did.
package struct RepairReport: Hashable, Sendable {
    /// Ids of endpoints without a link: their container is gone, or someone deleted it.
    package var missing: [String] = []
    /// What was set right, for a log: "add proxy neighbour fd00::2".
    package var repaired: [String] = []
}

extension BridgePlane {
    /// All links that carry our mark.
    package mutating func observe(statistics: Bool = false) throws(BridgeError) -> [FabricLink] {
        try list(.listLinks(statistics: statistics), "cannot list links") { message throws(DecodeError) in
            FabricLink(try Link(message))
        }
    }

    /// The endpoint's link on the fabric's side; nil if it is gone.
    /// - Throws: `.foreignLink` if the link of that name is not ours.
    package mutating func check(_ endpoint: Endpoint) throws(BridgeError) -> FabricLink? {
        guard let link = try read([.name(endpoint.hostInterfaceName)], statistics: true)[0] else {
            return nil
        }
        guard Ownership.holds(link, id: endpoint.id, kind: "veth"), let ours = FabricLink(link) else {
            throw BridgeError(.foreignLink, "the interface \"\(link.name)\" exists and is not ours")
        }
        return ours
    }

    /// Removes a link of ours that nothing explains; succeeds if it is gone.
    package mutating func removeLink(_ link: FabricLink) throws(BridgeError) {
        try ask([.deleteLink(.index(link.index))], "cannot remove link \"\(link.name)\"") { $1 == .noDevice }
    }

    /// Counters of links by name; a link that is gone is left out.
    package mutating func statistics(of names: [String]) throws(BridgeError) -> [String: LinkStatistics] {
        // A link's answer is some kilobytes: past a handful one listing is cheaper.
        let links: [Link] =
            if names.count <= 8 {
                try read(names.map(LinkTarget.name), statistics: true).compactMap(\.self)
            } else {
                try list(.listLinks(statistics: true), "cannot list links", Link.init)
            }
        let wanted = Set(names)
        var counters: [String: LinkStatistics] = [:]
        for link in links where wanted.contains(link.name) { counters[link.name] = link.statistics }
        return counters
    }

    /// Sets right what the fabric's side of a network's endpoints has lost: ports that left the bridge or
    /// went down, the bridge's entries for them.
    ///
    /// Reads the tables, and writes only what differs. To be called for a bridge that was `disturbed`, and now
    /// and then.
    /// - Parameter bridges: the indexes of the network's bridges, by segment.
    package mutating func repair(
        _ endpoints: [Endpoint], network: Network, bridges: [UInt32]
    ) throws(BridgeError) -> RepairReport {
        let context = "cannot repair network \"\(network.name)\""
        var report = RepairReport()
        var requests: [Request] = []
        var links: [String: Link] = [:]
        for link in try list(.listLinks(), context, Link.init) { links[link.name] = link }
        var present: Set<Neighbour> = []
        for table in [Neighbour.Table.neighbours, .stations] {
            present.formUnion(try list(.listNeighbours(table), context, Neighbour.init))
        }
        var ways: Set<Way> = []
        if bridges.count > 1 {
            for family in IPFamily.allCases where network.has(family) {
                ways.formUnion(try list(.listRoutes(family), context, Route.init).map(Way.init))
            }
        }
        for endpoint in endpoints where bridges.indices.contains(endpoint.segment) {
            let plan = try EndpointPlan(
                endpoint, network: network, bridge: bridges[endpoint.segment], kernelHasIPv6: kernelHasIPv6)
            guard let link = links[endpoint.hostInterfaceName],
                Ownership.holds(link, id: endpoint.id, kind: "veth")
            else {
                report.missing.append(endpoint.id)
                continue
            }
            requests += plan.corrections(of: link)
            let entries = [.station(endpoint.mac, port: link.index)] + plan.bridgeEntries
            requests += entries.filter { !present.contains($0) }.map(Request.addNeighbour)
            requests += plan.bridgeRoutes.filter { !ways.contains(Way($0)) }.map(Request.replaceRoute)
        }
        // A link may vanish meanwhile; the next call reports it.
        try ask(requests, context) { $1 == .noDevice }
        report.repaired = requests.map(\.subject)
        return report
    }
}

/// Where a route leads; the kernel adds a metric of its own to some.
private struct Way: Hashable {
    let destination: CIDR?
    let link: UInt32

    init(_ route: Route) { (destination, link) = (route.destination, route.link) }
}

extension EndpointPlan {
    /// What makes a link that exists be as `create` and `finish` would have made it.
    func corrections(of link: Link) -> [Request] {
        var requests: [Request] = []
        // A port has options only once it is one.
        if link.master != bridge {
            requests.append(.changeLink(.index(link.index), LinkChange(master: bridge)))
        }
        var change = LinkChange()
        if link.master != bridge || link.port != Self.port { change.port = Self.port }
        if link.alias.isEmpty { change.alias = Ownership.alias(endpoint.id) }
        if link.mtu != mtu { change.mtu = mtu }
        if let mode = link.addressGeneration, mode != .none {
            change.addressGeneration = AddressGeneration.none
        }
        if !link.flags.contains(.up) { change.isUp = true }
        if !change.isEmpty { requests.append(.changeLink(.index(link.index), change)) }
        return requests
    }
}
