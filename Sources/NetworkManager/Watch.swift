internal import Bridge
internal import Firewall
internal import Logging
internal import Model
internal import NAT
internal import Netlink
internal import Synchronization

/// The kernel tells when a link or a rule changes; nobody asks again and again.
extension NetworkManager {
    /// Between two reconciliations that nothing asked for.
    private static var interval: Duration { .seconds(300) }

    func startWatching() throws {
        let links = try Self.watchLinks(ownPort: bridge.port)
        watch(
            Task { [weak self] in
                for await change in links.changes { await self?.handle(change) }
            })
        if !firewall.ownsTables {
            let rules = try Self.watchRules(ownPorts: [firewall.port, nat.port])
            watch(
                Task { [weak self] in
                    for await table in rules.changes { await self?.mend(table) }
                })
        }
        watch(
            Task { [weak self] in
                while !Task.isCancelled {
                    do { try await Task.sleep(for: Self.interval) } catch { break }
                    await self?.reconcileAndLog(nil)
                }
            })
    }

    private static func watchLinks(ownPort: UInt32) throws -> KernelWatcher<RouteProtocol, LinkChange> {
        let socket = try NetlinkSocket<RouteProtocol>()
        for group in [RouteGroup.link, .ipv4Address, .ipv6Address, .trafficControl] {
            try socket.subscribe(to: group)
        }
        let memory = Mutex(LinkMemory(ownPort: ownPort))
        return KernelWatcher(socket) { socket in
            do {
                guard let messages = try socket.pendingNotifications() else { return nil }
                return memory.withLock { memory in messages.compactMap { memory.change($0) } }
            } catch { return [.lost] }
        }
    }

    /// Which of our tables somebody else has changed.
    private enum ChangedTable: Hashable {
        case firewall
        case nat
    }

    private static func watchRules(ownPorts: [UInt32]) throws -> KernelWatcher<
        NetfilterProtocol, ChangedTable
    > {
        let socket = try NetlinkSocket<NetfilterProtocol>()
        try socket.subscribeToNftables()
        return KernelWatcher(socket) { socket in
            do {
                guard let events = try socket.pendingNftEvents() else { return nil }
                // Other tables are not ours to mind; neither are our own changes.
                let foreign = events.filter { !ownPorts.contains($0.port) }
                if foreign.contains(where: FirewallPlane.isAbout) { return [.firewall] }
                return foreign.contains(where: NATPlane.isAbout) ? [.nat] : []
            } catch { return [.firewall] }
        }
    }

    private func handle(_ change: LinkChange) {
        switch change {
        case .gone(let name):
            if let endpoint = directory.endpoint(withInterface: name) {
                // The news may be of a link that has a successor by now.
                if (try? bridge.check(endpoint)) != nil { break }
                mend(endpoint)
            } else if network(withBridge: name) != nil {
                reconcileAndLog("bridge \(name) was removed")
            } else if shapers.contains(name) {
                mendShapesAndLog()
            }
        case .worse(let name), .carrierBack(let name):
            let network = directory.endpoint(withInterface: name).flatMap { directory.networks[$0.networkID] }
            if let network = network ?? self.network(withBridge: name) {
                mendAndLog(network)
            } else if shapers.contains(name) {
                mendShapesAndLog()
            }
        case .trafficControl:
            if !firewall.compiler.bandwidths.isEmpty { mendShapesAndLog() }
        case .addressGone(let link):
            guard let id = bridges.first(where: { $0.value.contains(link) })?.key,
                let network = directory.networks[id]
            else { break }
            mendAndLog(network)
        case .lost:
            reconcileAndLog("notifications were lost")
        }
    }

    private func network(withBridge name: String) -> Network? {
        directory.networks.values.first { network in
            (bridges[network.id] ?? []).indices.contains { network.bridgeName(segment: $0) == name }
        }
    }

    /// The bridges first, then their ports.
    private func mendAndLog(_ network: Network) {
        do {
            try ensureBridges(network)
            try mendLinks(of: network)
        } catch {
            log.error("repair", metadata: ["network": "\(network.name)", "error": "\(error)"])
        }
    }

    /// Mending the firewall mends all else too.
    private func mend(_ table: ChangedTable) {
        switch table {
        case .firewall: mendRules()
        case .nat:
            do { try mendTranslation() } catch {
                log.error("mend address translation", metadata: ["error": "\(error)"])
            }
        }
    }

    /// What others can do to rules, they can do whole: until these are back nothing passes our bridges.
    /// Reconciling sets the bridges up again.
    private func mendRules() {
        do { try bridge.takeDown(bridges.values.flatMap(\.self)) } catch {
            log.error("take bridges down", metadata: ["error": "\(error)"])
        }
        reconcileAndLog("somebody changed the ruleset")
    }

    private func mendShapesAndLog() {
        do { try mendShapes() } catch { log.error("repair", metadata: ["error": "\(error)"]) }
    }

    private func reconcileAndLog(_ cause: String?) {
        if let cause { log.notice("reconciling", metadata: ["cause": "\(cause)"]) }
        do { try reconcile() } catch { log.error("reconcile", metadata: ["error": "\(error)"]) }
    }
}
