internal import Bridge
internal import Firewall
internal import Logging
public import Model
internal import NAT
internal import Namespaces
internal import Netlink
internal import Store
internal import Sys
internal import VNet
public import Wire

/// An endpoint that was assigned, and the way to its counters.
public struct Assignment: Sendable {
    public let member: NetworkMember
    let manager: NetworkManager

    public var endpoint: Endpoint { member.endpoint }
    public var network: Network { member.network }
    /// The container's addresses, IPv4 first.
    public var addresses: [IPAddress] { member.endpoint.addresses }

    /// The endpoint's counters now.
    /// - Throws: `ModelError.notFound` once it has been released.
    public func statistics() async throws -> EndpointStatistics {
        guard let own = try await manager.statistics([endpoint.id]).first else {
            throw ModelError.notFound("endpoint", endpoint.name)
        }
        return own
    }
}

extension NetworkManager {
    /// Gives a container its place in a network: veth, bridge, address, policy.
    ///
    /// Its policy is in force before the link comes up. The same request again returns the same endpoint.
    /// - Parameters:
    ///   - containerID: the runtime's name for the container.
    ///   - network: a network's name, id or id prefix.
    ///   - namespace: where the container's network namespace is.
    ///   - name: a DNS label, unique in the network; derived from the container id where nil.
    ///   - labels: what policies select the endpoint by.
    /// - Throws: `ModelError` naming the field and the value; whatever was made is undone.
    public func assign(
        containerID: String, network: String, namespace: NamespaceSource, name: String? = nil,
        labels: Labels = [:]
    ) throws -> Assignment {
        try assign(
            EndpointRequest(
                network: network, containerID: containerID, namespace: namespace, name: name, labels: labels))
    }

    /// As above, with every choice that a caller has.
    public func assign(_ request: EndpointRequest) throws -> Assignment {
        let network = try directory.network(named: request.network)
        let opened = try open(request.namespace)
        let reference = NamespaceReference(
            path: opened.path, device: opened.identity.device, inode: opened.identity.inode)

        let id = Identifier.endpoint(networkID: network.id, containerID: request.containerID)
        if let existing = directory.endpoints[id] {
            if try isSame(request, reference, existing) {
                return Assignment(member: try directory.member(existing), manager: self)
            }
            // The container was started anew, and the kernel has not told yet that its old namespace is gone.
            try request.validate()
            let failures = remove(existing)
            if !failures.isEmpty { throw TeardownError(failures: failures) }
        }
        guard let endpoint = try allocators[network.id]?.assign(request, namespace: reference) else {
            throw ModelError.notFound("network", request.network)
        }

        do {
            try store.save(endpoint)
            do { try firewall.setEndpoint(endpoint) } catch {
                throw error.refusing("container", request.containerID)
            }
            // Nothing of who had the addresses before lives on, whatever became of its release.
            try connections.cutAll(of: endpoint.addresses)
            do { try link(endpoint, network, opened) } catch {
                try? firewall.removeEndpoint(id: endpoint.id)
                throw error
            }
        } catch {
            allocators[endpoint.networkID]?.release(endpoint)
            try? store.delete(endpointIDs: [endpoint.id])
            throw error
        }
        directory.insert(endpoint)
        tellName(of: endpoint, in: network)
        do {
            try writeFiles(of: endpoint)
            try publish(request.published, to: endpoint)
        } catch {
            _ = remove(endpoint)
            throw error
        }
        log.info(
            "endpoint attached",
            metadata: [
                "endpoint": "\(network.name)/\(endpoint.name)",
                "addresses": "\(endpoint.addresses.map(\.description).joined(separator: ","))",
            ])
        let attached = directory.endpoints[endpoint.id] ?? endpoint
        return Assignment(member: try directory.member(attached), manager: self)
    }

    /// Takes a container out of one network, or out of all where `network` is nil. What is gone already is no
    /// error.
    /// - Returns: what was released.
    @discardableResult
    public func release(containerID: String, network: String? = nil) throws -> [NetworkMember] {
        var endpoints = directory.endpoints(ofContainer: containerID)
        if let network {
            let id = try directory.network(named: network).id
            endpoints = endpoints.filter { $0.networkID == id }
        }
        let members = try endpoints.map { try directory.member($0) }
        // First: what cannot be recorded does not happen.
        if !endpoints.isEmpty { try store.delete(endpointIDs: endpoints.map(\.id)) }
        let failures = endpoints.flatMap { takeApart($0) }
        if !failures.isEmpty { throw TeardownError(failures: failures) }
        return members
    }

    /// An endpoint by name, `network/name`, id, container id or unambiguous prefix of either id.
    public func endpoint(_ name: String) throws -> NetworkMember {
        try directory.member(try directory.endpoint(named: name))
    }

    /// The endpoints of one network, or all where `network` is nil, by network and name.
    public func endpoints(network: String? = nil) throws -> [NetworkMember] {
        let endpoints =
            if let network { directory.members(of: try directory.network(named: network).id) } else {
                Array(directory.endpoints.values)
            }
        return try endpoints.map { try directory.member($0) }
            .sorted { ($0.network.name, $0.endpoint.name) < ($1.network.name, $1.endpoint.name) }
    }

    // MARK: Steps

    /// Runs attach backwards and goes on past failures.
    func remove(_ endpoint: Endpoint) -> [any Error] {
        var failures = takeApart(endpoint)
        do { try store.delete(endpointIDs: [endpoint.id]) } catch { failures.append(error) }
        return failures
    }

    /// As `remove`, for an endpoint that is no longer recorded.
    func takeApart(_ endpoint: Endpoint) -> [any Error] {
        var failures: [any Error] = []
        if let network = directory.networks[endpoint.networkID] {
            do { try bridge.detach(endpoint, network: network) } catch { failures.append(error) }
        }
        do { try nat.publish([], to: endpoint.id) } catch { failures.append(error) }
        withdraw(directory.endpoints[endpoint.id]?.published ?? [])
        do { try firewall.removeEndpoint(id: endpoint.id) } catch { failures.append(error) }
        forgetName(of: endpoint)
        removeFiles(of: endpoint)
        // The address may be given to another: none of its connections may live on.
        do { try connections.cutAll(of: endpoint.addresses) } catch { failures.append(error) }
        allocators[endpoint.networkID]?.release(endpoint)
        if let member = try? directory.member(endpoint) { departed.remember(member) }
        directory.removeEndpoint(id: endpoint.id)
        hosts.refused[endpoint.id] = nil
        endDisallowedHosts(of: Set(endpoint.addresses))
        log.info(
            "endpoint released", metadata: ["endpoint": "\(endpoint.name)", "failures": "\(failures.count)"])
        return failures
    }

    func link(_ endpoint: Endpoint, _ network: Network, _ namespace: borrowing NetworkNamespace) throws {
        let index = try bridge(of: endpoint, network)
        var inside = try home.inside(namespace.descriptor) { try NetlinkSocket<RouteProtocol>() }
        do {
            _ = try bridge.attach(
                endpoint, network: network, bridge: index, namespace: namespace.descriptor, container: &inside
            )
        } catch {
            switch error.code {
            case .interfaceExists:
                throw ModelError.invalid(
                    "ifname", endpoint.interfaceName, "the container has such an interface already")
            case .bridgeFull: throw ModelError.exhausted("network", network.name, error.description)
            default: throw error
            }
        }
        do { try shapeNew(endpoint, network) } catch {
            try? bridge.detach(endpoint, network: network)
            throw error
        }
    }

    /// Opens a namespace, with errors that name the request's field.
    func open(_ source: NamespaceSource) throws -> NetworkNamespace {
        switch source {
        case .path(let path):
            do { return try NetworkNamespace.open(path: path, home: home.identity) } catch {
                throw ModelError.invalid("netns", path, wording(error))
            }
        case .pid(let pid):
            do { return try NetworkNamespace.open(pid: pid, home: home.identity) } catch {
                let isGone = error.code == .gone
                throw ModelError.invalid(
                    "pid", "\(pid)",
                    isGone ? "there is no such process" : "its network namespace \(wording(error))")
            }
        }
    }

    /// What is wrong with a namespace, to be read after the name that the caller has for it.
    private func wording(_ error: NamespaceError) -> String {
        switch error.code {
        case .notANetworkNamespace where error.cause?.errno == .noEntry: "does not exist"
        case .notANetworkNamespace: "is not a network namespace"
        case .own: "is the fabric's own, which cannot be attached to itself"
        case .foreign where configuration.ownsNamespace:
            "belongs to another user, or to the host: what makes namespaces to attach is started with forge unshare"
        case .foreign: "belongs to another user"
        default: error.description
        }
    }

    /// Whether a request asks for what is there already; false if what is there was of a namespace that has
    /// gone.
    /// - Throws: if it asks for something else, since the same container may be attached again only as it is.
    private func isSame(
        _ request: EndpointRequest, _ namespace: NamespaceReference, _ existing: Endpoint
    ) throws(ModelError) -> Bool {
        if (existing.namespace.device, existing.namespace.inode) == (namespace.device, namespace.inode) {
            try request.check(matches: existing)
            return true
        }
        guard reopen(existing.namespace) == nil else {
            throw .exists(
                "container", request.containerID,
                "is attached with network namespace \(existing.namespace.path), not \(namespace.path)")
        }
        return false
    }
}
