package import Model
package import Netlink
package import Sys
internal import Wire

/// An endpoint's link, made.
package struct AttachedLink: Hashable, Sendable {
    /// The fabric's end.
    package let index: UInt32
    /// The number of the interface inside the container.
    package let containerIndex: UInt32
    /// Both ends pass frames already. Kernels before 6.8 may need another moment for it.
    package let isReady: Bool
}

extension BridgePlane {
    /// Makes an endpoint's link: a veth pair from the network's bridge into the container, with addresses and
    /// routes.
    ///
    /// Takes four datagrams and no file. A failure undoes what was made. Where the container has a default
    /// route already, that one stays the preferred.
    /// - Parameters:
    ///   - bridge: the index that `ensureBridge` returned for the endpoint's segment.
    ///   - namespace: the container's network namespace.
    ///   - container: a socket opened in that namespace.
    /// - Throws: `.interfaceExists`, `.attached`, `.foreignLink`, `.noBridge`, `.bridgeFull`,
    ///   `.addressOutside`, `.kernel`.
    package mutating func attach(
        _ endpoint: Endpoint, network: Network, bridge: UInt32, namespace: borrowing Descriptor,
        container: inout NetlinkSocket<RouteProtocol>
    ) throws(BridgeError) -> AttachedLink {
        let plan = try EndpointPlan(endpoint, network: network, bridge: bridge, kernelHasIPv6: kernelHasIPv6)
        let indexes = try create(plan, namespace: namespace.rawValue, container: &container)
        do throws(BridgeError) {
            try ask(plan.mark(index: indexes.host), plan.context)
            try setUp(plan, index: indexes.peer, container: &container)
            let answers = try ask(plan.finish(index: indexes.host), plan.context)
            let link = try? answers[0].first.map(Link.init)
            return AttachedLink(
                index: indexes.host, containerIndex: indexes.peer,
                isReady: link?.flags.contains(.running) ?? false)
        } catch {
            undo(plan, index: indexes.host)
            throw error
        }
    }

    /// Makes the pair with numbers of our choice; tries others while they are taken.
    private mutating func create(
        _ plan: EndpointPlan, namespace: Int32, container: inout NetlinkSocket<RouteProtocol>
    ) throws(BridgeError) -> (host: UInt32, peer: UInt32) {
        for _ in 0..<64 {
            let indexes = try takeIndexes()
            let request = plan.create(index: indexes.host, peerIndex: indexes.peer, namespace: namespace)
            var refused: Errno?
            do throws(BridgeError) {
                try ask([request], plan.context) { _, errno in
                    refused = errno
                    return false
                }
                return indexes
            } catch {
                switch refused {
                // A name or a number is taken, here or there.
                case .exists?, .busy?: try explainCollision(plan, container: &container)
                // net/bridge/br_if.c: find_portno
                case .exchangeFull?:
                    throw BridgeError(
                        .bridgeFull, "\(plan.context): its network has 1,023 endpoints already", cause: error)
                default:
                    if try read([.index(plan.bridge)])[0] == nil {
                        throw BridgeError(.noBridge, "\(plan.context): its bridge is gone", cause: error)
                    }
                    throw error
                }
            }
        }
        throw BridgeError(.kernel, "\(plan.context): no interface number is free")
    }

    /// Throws if it was a name; returns if it can only have been a number.
    private mutating func explainCollision(
        _ plan: EndpointPlan, container: inout NetlinkSocket<RouteProtocol>
    ) throws(BridgeError) {
        let endpoint = plan.endpoint
        if let link = try read([.name(endpoint.hostInterfaceName)])[0] {
            guard Ownership.holds(link, id: endpoint.id, kind: "veth") else {
                throw BridgeError(
                    .foreignLink,
                    "the interface \"\(link.name)\" is not ours, and endpoint \"\(endpoint.name)\" needs it"
                )
            }
            throw BridgeError(.attached, "endpoint \"\(endpoint.name)\" is attached already (\(link.name))")
        }
        do throws(NetlinkError) {
            try container.perform(.getLink(.name(endpoint.interfaceName)))
        } catch {
            if error.errno == .noDevice { return }
            throw BridgeError(.kernel, plan.context, cause: error)
        }
        throw BridgeError(
            .interfaceExists,
            "container \"\(endpoint.containerID)\" has an interface \"\(endpoint.interfaceName)\" already")
    }

    /// Sets up the container's side. Routes that it has already stay the preferred ones.
    private func setUp(
        _ plan: EndpointPlan, index: UInt32, container: inout NetlinkSocket<RouteProtocol>
    ) throws(BridgeError) {
        var requests = plan.container(index: index)
        var routes = plan.routes(index: index)
        do throws(NetlinkError) {
            for rank in 0..<64 as Range<UInt32> {
                let firstRoute = requests.count
                requests += routes.map { .addRoute($0.ranked(rank)) }
                var taken: [Route] = []
                try container.perform(requests) { position, errno in
                    guard position >= firstRoute, errno == .exists else { return false }
                    taken.append(routes[position - firstRoute])
                    return true
                }
                if taken.isEmpty { return }
                requests = []
                routes = taken
            }
        } catch {
            throw BridgeError(.kernel, plan.context, cause: error)
        }
    }

    /// Takes back what `attach` has done so far; the error that led here is the one to report.
    private mutating func undo(_ plan: EndpointPlan, index: UInt32) {
        _ = try? ask([.deleteLink(.index(index))] + plan.forgetting, "") { _, _ in true }
    }

    /// Removes an endpoint's link and what the bridge knows of it; succeeds if it is gone. See
    /// `detach(_:network:)`.
    package mutating func detach(_ endpoint: Endpoint, network: Network) throws(BridgeError) {
        try detach([endpoint], network: network)
    }

    /// Removes the links of endpoints of one network, and what the bridge knows of them; succeeds for those
    /// that are gone.
    ///
    /// The kernel takes some 20 ms to be rid of links, however many they are (it waits for all processors):
    /// it is told of all together. If one is not ours, the others are removed all the same.
    /// - Throws: `.foreignLink`, `.kernel`.
    package mutating func detach(_ endpoints: [Endpoint], network: Network) throws(BridgeError) {
        let context = "cannot detach from network \"\(network.name)\""
        let segments = Array(Set(endpoints.map(\.segment)))
        let bridges = try read(segments.map { .name(network.bridgeName(segment: $0)) })
        let indexes = Dictionary(uniqueKeysWithValues: zip(segments, bridges))
        let names = endpoints.map(\.hostInterfaceName) + endpoints.map(\.shaperName)
        let links = try read(names.map { .name($0) })
        var failure: BridgeError?
        var entries: [Request] = []
        var doomed: [UInt32] = []
        for (endpoint, shaper) in zip(endpoints, links.dropFirst(endpoints.count)) {
            if let shaper, Ownership.holds(shaper, id: endpoint.id, kind: "ifb") {
                doomed.append(shaper.index)
            }
        }
        for (endpoint, link) in zip(endpoints, links) {
            if case let bridge?? = indexes[endpoint.segment] {
                let plan = try EndpointPlan(
                    endpoint, network: network, bridge: bridge.index, kernelHasIPv6: kernelHasIPv6)
                entries += plan.forgetting
            }
            guard let link else { continue }
            if Ownership.holds(link, id: endpoint.id, kind: "veth") {
                doomed.append(link.index)
            } else {
                failure = BridgeError(
                    .foreignLink, "the interface \"\(link.name)\" is not ours and was not removed")
            }
        }
        // A route that is gone is no such process (ESRCH).
        try ask(entries, context) { $1 == .noDevice || $1 == .noEntry || $1 == .noProcess }
        try delete(doomed, context)
        if let failure { throw failure }
    }

    private mutating func delete(_ indexes: [UInt32], _ context: String) throws(BridgeError) {
        if indexes.count == 1 {
            try ask([.deleteLink(.index(indexes[0]))], context) { $1 == .noDevice }
            return
        }
        // A datagram takes 64 requests, and the kernel works through one to its end: no link is left in that
        // group.
        for start in stride(from: 0, to: indexes.count, by: 63) {
            let some = indexes[start..<min(start + 63, indexes.count)]
            let mark = LinkChange(group: Ownership.doomedGroup)
            try ask(
                some.map { .changeLink(.index($0), mark) } + [.deleteLinks(group: Ownership.doomedGroup)],
                context
            ) {
                $1 == .noDevice
            }
        }
    }
}

extension EndpointPlan {
    /// What an error begins with.
    var context: String { "cannot attach endpoint \"\(endpoint.name)\"" }

    /// Takes from the bridge what it knows of the endpoint.
    fileprivate var forgetting: [Request] {
        bridgeEntries.map(Request.deleteNeighbour) + bridgeRoutes.map(Request.deleteRoute)
    }
}

extension Route {
    /// Behind `rank` others to the same destination.
    fileprivate func ranked(_ rank: UInt32) -> Route {
        var route = self
        // An IPv6 route without a metric gets 1024 (IP6_RT_PRIO_USER).
        if rank > 0 { route.metric = (family == .v4 ? 0 : 1024) + 100 * rank }
        return route
    }
}
