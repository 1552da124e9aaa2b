import Model
import Wire

@testable import API

/// A fabric without a kernel: what the services are tested against.
actor MemoryFabric: FabricControl {
    private var networksByName: [String: Network] = [:]
    private var members: [NetworkMember] = []
    private var policiesByName: [String: FirewallPolicy] = [:]

    private var flows: [FlowEvent] = []
    private var watchers: [(FlowFilter, AsyncStream<FlowEvent>.Continuation)] = []
    var watcherCount: Int { watchers.count }
    private(set) var watchersLeft = 0

    /// Thrown by `status` where it is set.
    var trouble: (any Error)?
    /// What `release` and `deleteNetwork` were asked last.
    private(set) var lastForce: Bool?
    private(set) var lastRequest: EndpointRequest?

    func fail(with error: any Error) { trouble = error }

    func createNetwork(_ request: NetworkRequest) throws -> Network {
        if networksByName[request.name] != nil {
            throw ModelError.exists("network", request.name, "is there already")
        }
        let digits = String(request.name.utf8.reduce(UInt64(7)) { $0 &* 31 &+ UInt64($1) }, radix: 16)
        let network = Network(
            id: String((digits + String(repeating: "0", count: 64)).prefix(64)), name: request.name,
            subnets: request.subnets.isEmpty
                ? [try CIDR("10.9.0.0/24"), try CIDR("fd00:9::/64")] : request.subnets,
            isolation: request.isolation, defaultVerdict: request.defaultVerdict, mtu: request.mtu ?? 1500,
            labels: request.labels, nat: request.nat, dns: request.dns)
        networksByName[request.name] = network
        return network
    }

    func deleteNetwork(_ name: String, force: Bool) throws -> Network {
        lastForce = force
        let network = try network(name)
        if !force, members.contains(where: { $0.network.id == network.id }) {
            throw ModelError.precondition("network", name, "has endpoints")
        }
        members.removeAll { $0.network.id == network.id }
        networksByName[name] = nil
        return network
    }

    func network(_ name: String) throws -> Network {
        guard let network = networksByName[name] else { throw ModelError.notFound("network", name) }
        return network
    }

    func networks() -> [Network] { Array(networksByName.values) }
    func setUpBridge(network name: String) throws -> Network { try network(name) }

    func assign(_ request: EndpointRequest) throws -> NetworkMember {
        lastRequest = request
        let network = try network(request.network)
        let number = members.count
        let digits = String(number, radix: 16)
        let endpoint = Endpoint(
            id: String(repeating: "0", count: 64 - digits.count) + digits, containerID: request.containerID,
            networkID: network.id, name: request.name ?? "endpoint-\(number)", labels: request.labels,
            addresses: IPFamily.allCases.compactMap { network.subnet($0)?.address(at: 2 + UInt128(number)) },
            mac: request.mac ?? MACAddress(bits: 0x0200_0000_0000),
            interfaceName: request.interfaceName ?? "eth0",
            namespace: NamespaceReference(path: "/run/netns/x", device: 4, inode: 5), aliases: request.aliases
        )
        let member = NetworkMember(endpoint, in: network)
        members.append(member)
        return member
    }

    func release(containerID: String, network: String?) -> [NetworkMember] {
        let released = members.filter {
            $0.endpoint.containerID == containerID && (network == nil || $0.network.name == network)
        }
        members.removeAll(where: released.contains)
        return released
    }

    func endpoint(_ name: String) throws -> NetworkMember {
        guard let member = members.first(where: { $0.endpoint.name == name }) else {
            throw ModelError.notFound("endpoint", name)
        }
        return member
    }

    func limits(_ endpoint: String) throws -> EffectiveLimits {
        EffectiveLimits(
            endpoint: EndpointLimits(egress: TrafficLimit(bandwidth: Bandwidth(kilobits: 20_000))),
            rules: [
                .init(
                    reference: RuleReference(policy: "p", list: .ingress, number: 2),
                    limit: TrafficLimit(connections: 5))
            ])
    }

    func endpoints(network: String?) -> [NetworkMember] {
        members.filter { network == nil || $0.network.name == network }
    }

    func publish(_ ports: [PublishedPort], to endpoint: String) throws -> NetworkMember {
        let old = try self.endpoint(endpoint)
        var new = old.endpoint
        new.published += ports.enumerated().map { Publication(id: UInt32($0.offset), port: $0.element) }
        return NetworkMember(new, in: old.network)
    }

    func unpublish(_ ports: [PublishedPort], from endpoint: String) throws -> NetworkMember {
        if let port = ports.first { throw ModelError.notFound("published port", port.description) }
        return try self.endpoint(endpoint)
    }

    func relabel(endpoint: String, set: Labels, remove: [String]) throws -> NetworkMember {
        let old = try self.endpoint(endpoint)
        var new = old.endpoint
        new.labels = try LabelSyntax.changed(new.labels, set: set, remove: remove)
        return NetworkMember(new, in: old.network)
    }

    func relabel(network: String, set: Labels, remove: [String]) throws -> Network {
        var new = try self.network(network)
        new.labels = try LabelSyntax.changed(new.labels, set: set, remove: remove)
        return new
    }

    func quarantine(_ name: String, for duration: Duration?, allowing: [QuarantineException]) throws
        -> NetworkMember
    {
        let member = try endpoint(name)
        let quarantine = Quarantine(
            endpointID: member.endpoint.id, until: duration.map { $0.components.seconds * 1000 },
            exceptions: allowing)
        return NetworkMember(member.endpoint, in: member.network, quarantine: quarantine)
    }

    func endQuarantine(_ name: String) throws -> NetworkMember? { try endpoint(name) }

    func apply(_ policies: [FirewallPolicy]) -> [PolicyChange] {
        policies.map { policy in
            let former = policiesByName.updateValue(policy, forKey: policy.name)
            return former == nil ? .created : former == policy ? .unchanged : .updated
        }
    }

    func preview(_ policies: [FirewallPolicy]) -> PolicyEffect {
        var effect = PolicyEffect()
        effect.changes = policies.map { policiesByName[$0.name] == nil ? .created : .updated }
        return effect
    }

    func warnings(_ policies: [FirewallPolicy]) -> [String] {
        members.isEmpty && !policies.isEmpty ? ["there is no endpoint"] : []
    }

    func deletePolicy(_ name: String) throws -> FirewallPolicy {
        let policy = try policy(name)
        policiesByName[name] = nil
        return policy
    }

    func policy(_ name: String) throws -> FirewallPolicy {
        guard let policy = policiesByName[name] else { throw ModelError.notFound("policy", name) }
        return policy
    }

    func policies() -> [FirewallPolicy] { Array(policiesByName.values) }

    func explain(_ query: FlowQuery) throws -> Explanation {
        func side(_ name: String) throws -> FlowSide {
            if let address = try? IPAddress(name) { return FlowSide(address) }
            let member = try endpoint(name)
            guard let address = member.endpoint.addresses.first else {
                throw ModelError.notFound("address of", name)
            }
            return FlowSide(address, member)
        }
        let flow = Flow(from: try side(query.from), to: try side(query.to), query.transport)
        let decision = PolicyEvaluator.evaluate(policies: policiesByName.values, flow: flow)
        return Explanation(flow: flow, decision: decision)
    }

    func statistics(_ names: [String]) throws -> [EndpointStatistics] {
        let chosen = names.isEmpty ? members : try names.map { try endpoint($0) }
        return chosen.map {
            EndpointStatistics(
                $0, receivedBytes: 10, receivedPackets: 1, sentBytes: 20, sentPackets: 2,
                denials: [DenialCount(reason: .rateLimit, packets: 3, bytes: 180)])
        }
    }

    func watchFlows(_ watch: FlowWatch) throws -> AsyncStream<FlowEvent> {
        let ids = Set(try watch.endpoints.map { try endpoint($0).endpoint.id })
        let filter = FlowFilter(endpointIDs: ids.isEmpty ? nil : ids, deniedOnly: watch.deniedOnly)
        let (stream, continuation) = AsyncStream.makeStream(of: FlowEvent.self)
        if watch.includesRecent {
            for event in flows where filter.passes(event) { continuation.yield(event) }
        }
        guard watch.follows else {
            continuation.finish()
            return stream
        }
        watchers.append((filter, continuation))
        continuation.onTermination = { [weak self] _ in Task { await self?.watcherLeft() } }
        return stream
    }

    /// Tells everyone who watches.
    func publish(_ event: FlowEvent) {
        flows.append(event)
        for (filter, watcher) in watchers where filter.passes(event) { watcher.yield(event) }
    }

    func endFlows() { for (_, watcher) in watchers { watcher.finish() } }

    private func watcherLeft() { watchersLeft += 1 }

    func status() throws -> FabricStatus {
        if let trouble { throw trouble }
        return FabricStatus(
            version: "1", mode: .rootless,
            roles: [.init(name: "manager", pid: 42, uptime: .milliseconds(1500), restarts: 1)],
            networkCount: networksByName.count, endpointCount: members.count,
            policyCount: policiesByName.count,
            missingFeatures: [.init(name: "queue", explanation: "no")], socketPath: "/s",
            runtimeDirectory: "/r",
            stateDirectory: "/d")
    }
}
