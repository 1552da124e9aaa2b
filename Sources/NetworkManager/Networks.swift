internal import Bridge
internal import Firewall
internal import Logging
public import Model
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
        let network = try AddressPlan.network(for: request, existing: Array(directory.networks.values))
        try store.save(network)
        do {
            // The firewall knows the bridge before it exists: there is no moment in which it forwards
            // unjudged.
            try firewall.addNetwork(network)
            do { bridges[network.id] = try bridge.ensureBridge(network).index } catch {
                try? bridge.removeBridge(network)
                try? firewall.removeNetwork(id: network.id)
                throw error
            }
        } catch {
            try? store.delete(networkID: network.id, endpointIDs: [])
            throw error
        }
        directory.insert(network)
        allocators[network.id] = EndpointAllocator(network)
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
        do { try bridge.removeBridge(network) } catch { failures.append(error) }
        do { try firewall.removeNetwork(id: network.id) } catch { failures.append(error) }
        directory.removeNetwork(id: network.id)
        allocators[network.id] = nil
        bridges[network.id] = nil
        log.info("network removed", metadata: ["network": "\(network.name)"])
        if !failures.isEmpty { throw TeardownError(failures: failures) }
        return network
    }

    /// A network by name, id or unambiguous prefix of its id.
    public func network(_ name: String) throws -> Network { try directory.network(named: name) }

    public func networks() -> [Network] { directory.networks.values.sorted { $0.name < $1.name } }

    /// Ensures that the network's bridge is in the kernel as it should be; idempotent.
    public func setUpBridge(network name: String) throws -> Network {
        let network = try directory.network(named: name)
        try ensureBridge(network)
        return network
    }

    /// Makes the bridge right, and its ports too if something was done to it.
    func ensureBridge(_ network: Network) throws {
        let ensured = try bridge.ensureBridge(network)
        bridges[network.id] = ensured.index
        guard ensured.change == .disturbed else { return }
        let report = try bridge.repair(
            directory.members(of: network.id), network: network, bridge: ensured.index)
        for repaired in report.repaired { log.notice("repaired", metadata: ["what": "\(repaired)"]) }
    }
}
