internal import Bridge
internal import Firewall
internal import Logging
public import Model
internal import NAT
internal import Store
internal import VNet
internal import Wire

extension NetworkManager {
    /// Makes a network and its bridge.
    ///
    /// - Throws: `ModelError` naming the field: a name that is no DNS label or is taken, subnets that
    ///   overlap, a bad MTU.
    @discardableResult
    public func createNetwork(_ request: NetworkRequest) throws -> Network {
        try checkNames(request)
        let network = try AddressPlan.network(for: request, existing: Array(directory.networks.values))
        try store.save(network)
        do {
            // The firewall knows the bridge before it exists: there is no moment in which it forwards
            // unjudged.
            try firewall.addNetwork(network)
            do {
                try nat.addNetwork(network)
                bridges[network.id] = [try bridge.ensureBridge(network).index]
            } catch {
                try? bridge.removeBridge(network)
                try? nat.removeNetwork(id: network.id)
                try? firewall.removeNetwork(id: network.id)
                throw error
            }
            do { try beginNames(network) } catch {
                endNames(of: network)
                try? bridge.removeBridge(network)
                try? nat.removeNetwork(id: network.id)
                try? firewall.removeNetwork(id: network.id)
                bridges[network.id] = nil
                throw error
            }
        } catch {
            try? store.delete(networkID: network.id, endpointIDs: [])
            throw error
        }
        directory.insert(network)
        allocators[network.id] = EndpointAllocator(network)
        tellUplink()
        followSubnets()
        log.info("network made", metadata: ["network": "\(network.name)", "id": "\(network.id.prefix(12))"])
        return network
    }

    /// Removes a network; with `force` its endpoints are released first.
    /// - Returns: the network as it was.
    @discardableResult
    public func deleteNetwork(_ name: String, force: Bool = false) throws -> Network {
        let network = try directory.network(named: name)
        let members = directory.members(of: network.id)
        guard members.isEmpty || force else {
            throw ModelError.precondition(
                "network", network.name,
                "has \(members.count) endpoint\(members.count == 1 ? "" : "s"); release them or force it")
        }
        // First: what cannot be recorded does not happen.
        try store.delete(networkID: network.id, endpointIDs: members.map(\.id))
        var failures = members.flatMap { takeApart($0) }
        for segment in (bridges[network.id] ?? [0]).indices {
            do { try bridge.removeBridge(network, segment: segment) } catch { failures.append(error) }
        }
        do { try nat.removeNetwork(id: network.id) } catch { failures.append(error) }
        do { try firewall.removeNetwork(id: network.id) } catch { failures.append(error) }
        directory.removeNetwork(id: network.id)
        endNames(of: network)
        tellUplink()
        followSubnets()
        allocators[network.id] = nil
        bridges[network.id] = nil
        log.info("network removed", metadata: ["network": "\(network.name)"])
        if !failures.isEmpty { throw TeardownError(failures: failures) }
        return network
    }

    /// Says whether a way out of the fabric's namespace is of any use, where that is not known yet.
    func tellUplink() {
        let wanted = directory.networks.values.contains { $0.nat }
        guard wanted != toldUplink, let tell = configuration.uplinkWanted, tell(wanted) else { return }
        toldUplink = wanted
    }

    /// A network by name, id or unambiguous prefix of its id.
    public func network(_ name: String) throws -> Network { try directory.network(named: name) }

    public func networks() -> [Network] { directory.networks.values.sorted { $0.name < $1.name } }

    /// Ensures that the network's bridge is in the kernel as it should be; idempotent.
    public func setUpBridge(network name: String) throws -> Network {
        let network = try directory.network(named: name)
        try ensureBridges(network)
        return network
    }

    /// Makes the network's bridges right, and their ports too if something was done to one.
    func ensureBridges(_ network: Network) throws {
        let members = directory.members(of: network.id)
        let count = max(bridges[network.id]?.count ?? 0, (members.map(\.segment).max() ?? 0) + 1)
        let ensured = try (0..<count).map { try bridge.ensureBridge(network, segment: $0) }
        let indexes = ensured.map(\.index)
        bridges[network.id] = indexes
        guard ensured.contains(where: { $0.change == .disturbed }) else { return }
        let report = try bridge.repair(members, network: network, bridges: indexes)
        for repaired in report.repaired { log.notice("repaired", metadata: ["what": "\(repaired)"]) }
    }

    /// The bridge that a new endpoint goes to; made if it is the first one there. The firewall knows it
    /// already.
    func bridge(of endpoint: Endpoint, _ network: Network) throws -> UInt32 {
        var indexes = bridges[network.id] ?? []
        while indexes.count <= endpoint.segment {
            indexes.append(try bridge.ensureBridge(network, segment: indexes.count).index)
            bridges[network.id] = indexes
        }
        return indexes[endpoint.segment]
    }
}
