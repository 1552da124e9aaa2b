package import Model
package import Netlink
internal import Sys
internal import Wire

/// One of a network's bridges as it is after `ensureBridge`.
package struct EnsuredBridge: Hashable, Sendable {
    package enum Change: Hashable, Sendable {
        /// It was as it should be.
        case none
        /// Something was set right.
        case converged
        /// It was made, or had been down, and so knows none of the endpoints it may have: see `repair`.
        case disturbed
    }

    package let index: UInt32
    package let change: Change
}

/// The plane of layers 2 and 3: one bridge a segment of a network, one veth pair an endpoint.
///
/// It works in the network namespace in which it was made and keeps no state that the kernel does not have:
/// another one made there later takes over what it finds. Calls block while the kernel works. One caller at a
/// time, such as an actor.
package struct BridgePlane: ~Copyable, Sendable {
    private var socket: NetlinkSocket<RouteProtocol>
    let kernelHasIPv6: Bool
    /// The next number to give a link, so that a pair can be made and set up without asking for it; nil until
    /// first used.
    private var nextIndex: UInt32?

    /// Works in the network namespace of the calling thread.
    package init() throws(BridgeError) {
        do throws(NetlinkError) {
            self.init(adopting: try NetlinkSocket<RouteProtocol>())
        } catch {
            throw BridgeError(.kernel, "cannot open a netlink socket", cause: error)
        }
    }

    /// Works in the socket's network namespace, which must also be the calling thread's (for /proc/sys).
    package init(adopting socket: consuming NetlinkSocket<RouteProtocol>) {
        self.socket = socket
        kernelHasIPv6 = (try? readFile("/proc/sys/net/ipv6/conf/all/forwarding", limit: 32)) != nil
    }

    // MARK: Bridges

    /// Makes a bridge of the network, or sets right what is not as it should be: addresses, MTU, settings, down.
    ///
    /// Does nothing to a bridge that is right, so it can be called on every notification.
    /// - Throws: `.foreignLink` if a link of that name is not ours.
    package mutating func ensureBridge(
        _ network: Network, segment: Int = 0
    ) throws(BridgeError) -> EnsuredBridge {
        let context = "cannot set up the bridge of network \"\(network.name)\""
        let name = network.bridgeName(segment: segment)
        var link = try ourBridge(name, network)
        if link == nil {
            // Without an MTU: one that is set at birth would be forgotten with the last port.
            let spec = LinkSpec(
                name: name, mac: network.gatewayMAC, group: Ownership.group,
                kind: .bridge(Self.bridgeOptions))
            try ask([.addLink(spec)], context)
            link = try ourBridge(name, network)
        }
        guard let link else { throw BridgeError(.noBridge, "\(context): it vanished while it was made") }

        let target = LinkTarget.index(link.index)
        let drift = self.drift(of: link, network)
        if link.bridge?.spanningTree == true {
            // net/bridge/br_stp.c: with the protocol on, the delay that we want is out of range.
            try ask([.changeLink(target, LinkChange(bridge: BridgeOptions(spanningTree: false)))], context)
        }
        if !drift.isEmpty { try ask([.changeLink(target, drift)], context) }
        let settings = Setting.all(
            for: network, bridge: name, hasIPv6: kernelHasIPv6 && network.mtu >= 1280)
        for setting in settings { try setting.apply() }

        var requests: [Request] = []
        let wasUp = link.flags.contains(.up)
        // The question waits for the carrier of a bridge whose ports were there before.
        if !wasUp { requests += [.changeLink(target, LinkChange(isUp: true)), .getLink(target)] }
        let present = try list(.listAddresses(link: link.index), context, InterfaceAddress.init)
        let missing = network.gateways.filter { wanted in
            !present.contains {
                $0.link == link.index && $0.address == wanted.address
                    && $0.prefixLength == wanted.prefixLength
            }
        }
        for (address, prefixLength) in missing {
            // The subnet's route is the first bridge's; endpoints on others have one each.
            requests += address.requests(
                link: link.index, prefixLength: prefixLength, flags: segment == 0 ? [] : .noPrefixRoute)
        }
        if !requests.isEmpty { try ask(requests, context) }
        let isChanged = !drift.isEmpty || !missing.isEmpty
        return EnsuredBridge(index: link.index, change: !wasUp ? .disturbed : isChanged ? .converged : .none)
    }

    /// Takes bridges down, so that nothing passes them; `ensureBridge` sets one up again.
    package mutating func takeDown(_ bridges: [UInt32]) throws(BridgeError) {
        let requests = bridges.map { Request.changeLink(.index($0), LinkChange(isUp: false)) }
        guard !requests.isEmpty else { return }
        try ask(requests, "cannot take bridges down") { $1 == .noDevice }
    }

    /// Removes a bridge of the network; succeeds if there is none. Its endpoints should be detached before.
    package mutating func removeBridge(_ network: Network, segment: Int = 0) throws(BridgeError) {
        guard let link = try ourBridge(network.bridgeName(segment: segment), network) else { return }
        try ask([.deleteLink(.index(link.index))], "cannot remove the bridge of network \"\(network.name)\"")
        {
            $1 == .noDevice
        }
    }

    /// Removes every link that carries our mark, in one go: far faster than one after another.
    package mutating func removeEverything() throws(BridgeError) {
        try ask([.deleteLinks(group: Ownership.group)], "cannot remove the fabric's links") {
            $1 == .noDevice
        }
    }

    static let bridgeOptions = BridgeOptions(forwardDelay: 0, spanningTree: false, multicastSnooping: false)

    private mutating func ourBridge(_ name: String, _ network: Network) throws(BridgeError) -> Link? {
        guard let link = try read([.name(name)])[0] else { return nil }
        guard Ownership.holds(link, id: network.id, kind: "bridge") else {
            throw BridgeError(
                .foreignLink,
                "the interface \"\(link.name)\" exists and is not ours: network \"\(network.name)\" needs it")
        }
        return link
    }

    private func drift(of link: Link, _ network: Network) -> LinkChange {
        var change = LinkChange()
        let mtu = UInt32(clamping: network.mtu)
        if link.mtu != mtu { change.mtu = mtu }
        if link.mac != network.gatewayMAC { change.mac = network.gatewayMAC }
        if link.alias.isEmpty { change.alias = Ownership.alias(network.id) }
        if link.bridge != Self.bridgeOptions { change.bridge = Self.bridgeOptions }
        // No link-local address: a router without one sends no redirects (RFC 4861 section 8.2), which would
        // name a shorter way that does not exist.
        if let mode = link.addressGeneration, mode != .none {
            change.addressGeneration = AddressGeneration.none
        }
        return change
    }

    // MARK: The socket

    /// The netlink port that our changes come from.
    package var port: UInt32 { socket.port }

    /// Sends requests; what is refused becomes an error of this module.
    @discardableResult
    mutating func ask(
        _ requests: [Request], _ context: @autoclosure () -> String,
        tolerate: (Int, Errno) -> Bool = { _, _ in false }
    ) throws(BridgeError) -> [[Message]] {
        do throws(NetlinkError) {
            return try socket.perform(requests, tolerate: tolerate)
        } catch {
            throw BridgeError(.kernel, context(), cause: error)
        }
    }

    /// Reads links; nil for each that is not there.
    mutating func read(_ targets: [LinkTarget], statistics: Bool = false) throws(BridgeError) -> [Link?] {
        let context = "cannot read links"
        let answers = try ask(targets.map { .getLink($0, statistics: statistics) }, context) {
            $1 == .noDevice
        }
        do throws(DecodeError) {
            var links: [Link?] = []
            for answer in answers { links.append(try answer.first.map(Link.init)) }
            return links
        } catch {
            throw BridgeError(.kernel, context, cause: error)
        }
    }

    /// Reads a table.
    mutating func list<T>(
        _ request: Request, _ context: @autoclosure () -> String,
        _ decode: (Message) throws(DecodeError) -> T?
    ) throws(BridgeError) -> [T] {
        do {
            var entries: [T] = []
            for message in try socket.dump(request) {
                if let entry = try decode(message) { entries.append(entry) }
            }
            return entries
        } catch {
            throw BridgeError(.kernel, context(), cause: error)
        }
    }

    /// Numbers for the two ends of a pair, which nobody else is likely to have.
    mutating func takeIndexes() throws(BridgeError) -> (host: UInt32, peer: UInt32) {
        // Dense numbers, since the kernel's table of links is a tree by number.
        let first: UInt32 = 1 << 16
        let last: UInt32 = .max >> 2
        let next: UInt32
        if let nextIndex, nextIndex < last {
            next = nextIndex
        } else {
            let links = try list(.listLinks(), "cannot list links", Link.init)
            next = (links.map(\.index).filter { $0 >= first && $0 < last }.max() ?? first - 1) + 1
        }
        nextIndex = next + 1
        // The ends need different numbers: a veth whose peer has its own number is taken for one without a
        // peer.
        return (next, next - first + 1 << 10)
    }
}
