internal import Firewall
internal import Logging
public import Model
internal import Store
internal import Wire

extension NetworkManager {
    /// Changes an endpoint's labels. Connections that its policy does not allow any more are cut before the
    /// call returns.
    ///
    /// - Parameter remove: keys; one that is not there is no error.
    /// - Throws: `ModelError` naming the label that is refused.
    @discardableResult
    public func relabel(endpoint name: String, set: Labels, remove: [String] = []) throws -> NetworkMember {
        let old = try directory.endpoint(named: name)
        var endpoint = old
        endpoint.labels = try LabelSyntax.changed(old.labels, set: set, remove: remove)
        guard endpoint != old else {
            try cutIfDue()
            return try directory.member(old)
        }
        let hadLimits = firewall.compiler.limitsConnections
        do { try firewall.setEndpoint(endpoint) } catch { throw error.refusing("endpoint", name) }
        do {
            try reshape()
            try store.save(endpoint)
        } catch {
            try firewall.setEndpoint(old)
            try? reshape()
            throw error
        }
        directory.insert(endpoint)
        forgetNameVerdicts()
        isCutDue = true
        try cutDisallowedConnections(of: Set(endpoint.addresses))
        try markConnections(hadLimits)
        isCutDue = false
        return try directory.member(endpoint)
    }

    /// Changes a network's labels, as `relabel(endpoint:set:remove:)` does.
    @discardableResult
    public func relabel(network name: String, set: Labels, remove: [String] = []) throws -> Network {
        let old = try directory.network(named: name)
        var network = old
        network.labels = try LabelSyntax.changed(old.labels, set: set, remove: remove)
        guard network != old else {
            try cutIfDue()
            return old
        }
        let hadLimits = firewall.compiler.limitsConnections
        do { try firewall.relabel(network) } catch { throw error.refusing("network", name) }
        do {
            try reshape()
            try store.save(network)
        } catch {
            try firewall.relabel(old)
            try? reshape()
            throw error
        }
        directory.insert(network)
        forgetNameVerdicts()
        isCutDue = true
        try cutDisallowedConnections(of: nil)
        try markConnections(hadLimits)
        isCutDue = false
        return network
    }
}
