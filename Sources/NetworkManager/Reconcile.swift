internal import Bridge
internal import Firewall
internal import Logging
internal import Model
internal import NAT
internal import Namespaces
internal import Netlink
internal import Store
internal import Sys
internal import VNet
internal import Wire

/// Start-up and self-healing are the same work: compare what is recorded with what the kernel has, and mend
/// the difference.
extension NetworkManager {
    /// Namespace-wide switches. In a namespace that is ours alone a connection that is picked up in
    /// mid-stream is none.
    func prepareNamespace() throws {
        guard configuration.ownsNamespace else { return }
        for (path, value, consequence) in [
            (
                "/proc/sys/net/netfilter/nf_conntrack_tcp_loose", "0",
                "TCP packets in mid-stream are told by their flags alone"
            ),
            // Bridged packets meet the inet hooks by being routed; a second pass through them is of no use.
            ("/proc/sys/net/bridge/bridge-nf-call-iptables", "0", "bridged packets pass the hooks twice"),
            ("/proc/sys/net/bridge/bridge-nf-call-ip6tables", "0", "bridged packets pass the hooks twice"),
            ("/proc/sys/net/bridge/bridge-nf-call-arptables", "0", "bridged packets pass the hooks twice"),
            // Only bridges speak IPv6, and say so themselves. A port that did would have a multicast route of
            // its own, in a list that the kernel walks for every further one.
            ("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1", "the more endpoints, the slower an attach"),
        ] {
            do throws(SystemError) { try writeFile(path, value) } catch {
                // A kernel without bridge netfilter or IPv6 has no such switch, and no such problem.
                if error.errno == .noEntry, !path.contains("/netfilter/") { continue }
                missingFeatures.append(
                    .init(
                        name: String(path.split(separator: "/").last ?? ""),
                        explanation: "\(error): \(consequence)"))
            }
        }
    }

    /// Loads what is recorded, puts it in force, and lets go of what no longer exists.
    func adopt() throws {
        let recorded = try store.loadAll()
        for network in recorded.networks {
            directory.insert(network)
            allocators[network.id] = EndpointAllocator(network)
        }
        for policy in recorded.policies { directory.insert(policy) }
        let tooMany = names.told.load(recorded.toldNames, now: wallClockMilliseconds())
        try store.save(told: [], forgotten: tooMany)
        for quarantine in recorded.quarantines { directory.quarantines[quarantine.endpointID] = quarantine }
        for endpoint in recorded.endpoints where directory.networks[endpoint.networkID] != nil {
            directory.insert(endpoint)
            allocators[endpoint.networkID]?.insert(endpoint)
            for publication in endpoint.published { ports.insert(publication, of: endpoint.id) }
        }
        // Rules first: links that are there already are judged by them from here on.
        try firewall.start(
            networks: Array(directory.networks.values), endpoints: Array(directory.endpoints.values),
            policies: Array(directory.policies.values), quarantines: recorded.quarantines,
            told: names.told.current)
        try nat.start(
            directory.networks.values, published: directory.endpoints.mapValues { translations(of: $0) })
        for network in directory.networks.values { try ensureBridges(network) }
        try mendLinks()
        mendFiles()
        try mendShapes()
        try removeStrangers()
        try adoptPorts()
        followGates()
        // What an earlier manager had recorded and not come to.
        try cutDisallowedConnections(of: nil)
        try markConnections(false)
        tellUplink()
    }

    /// Everything that is recorded is there, everything of ours that is there is recorded.
    func reconcile() throws {
        try cutIfDue()
        tellHostResolvers()
        followGates()
        mendListeners()
        tellUplink()
        tellProxyHost()
        if try firewall.reconcile() { log.warning("rules were not as recorded and have been mended") }
        try mendTranslation()
        try mendPorts()
        for network in directory.networks.values { try ensureBridges(network) }
        try mendLinks()
        mendFiles()
        try mendShapes()
        try removeStrangers()
    }

    func mendTranslation() throws {
        if try nat.reconcile() { log.warning("address translation was not as recorded and has been mended") }
    }

    /// Sets right what links have lost; attaches endpoints whose link is missing, or releases them if their
    /// container is gone.
    func mendLinks() throws {
        for network in directory.networks.values { try mendLinks(of: network) }
    }

    func mendLinks(of network: Network) throws {
        guard let indexes = bridges[network.id] else { return }
        let report = try bridge.repair(
            directory.members(of: network.id), network: network, bridges: indexes)
        for repaired in report.repaired { log.notice("repaired", metadata: ["what": "\(repaired)"]) }
        for id in report.missing { if let endpoint = directory.endpoints[id] { mend(endpoint) } }
    }

    /// One endpoint whose link has gone: by somebody's hand, or with its container.
    func mend(_ endpoint: Endpoint) {
        guard let network = directory.networks[endpoint.networkID], let namespace = reopen(endpoint.namespace)
        else {
            for failure in remove(endpoint) { log.warning("release", metadata: ["failure": "\(failure)"]) }
            return
        }
        do {
            try? bridge.detach(endpoint, network: network)
            try link(endpoint, network, namespace)
            log.warning("link was gone and has been made again", metadata: ["endpoint": "\(endpoint.name)"])
        } catch {
            log.error(
                "link cannot be made again", metadata: ["endpoint": "\(endpoint.name)", "error": "\(error)"])
            for failure in remove(endpoint) { log.warning("release", metadata: ["failure": "\(failure)"]) }
        }
    }

    /// The namespace that an endpoint was attached to, if it is still there: a path may lead to another one
    /// by now.
    func reopen(_ reference: NamespaceReference) -> NetworkNamespace? {
        guard let namespace = try? NetworkNamespace.open(path: reference.path),
            namespace.identity.device == reference.device, namespace.identity.inode == reference.inode
        else { return nil }
        return namespace
    }

    /// Links that carry our mark and that nothing recorded explains: left by a crash between two steps.
    private func removeStrangers() throws {
        let bridges = directory.networks.values.flatMap { network in
            (self.bridges[network.id] ?? []).indices.map { network.bridgeName(segment: $0) }
        }
        let ours = Set(bridges + directory.endpoints.values.map(\.hostInterfaceName) + shapers)
        for link in try bridge.observe() where !ours.contains(link.name) {
            log.warning(
                "link of ours that nothing recorded explains is removed", metadata: ["link": "\(link.name)"])
            try bridge.removeLink(link)
        }
    }
}
