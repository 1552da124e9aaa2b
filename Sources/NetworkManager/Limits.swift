internal import Bridge
internal import Firewall
internal import Logging
public import Model
internal import Netlink
internal import Wire

/// Limits beyond what rules of the firewall keep by themselves: bandwidth by traffic control, and the marks of
/// connections that began before their rule had a limit.
extension NetworkManager {
    /// Rules with a limit in all policies, of one direction: their numbers have 14 bits.
    static var limitedRules: Int { 15_000 }

    /// Everything that limits an endpoint, the strictest of all policies.
    public func limits(_ endpoint: String) throws -> EffectiveLimits {
        firewall.compiler.limits(ofEndpoint: try directory.endpoint(named: endpoint).id)
    }

    /// Whether the kernel can keep the limits of policies.
    /// - Throws: `ModelError` naming the field.
    func checkLimits(_ policies: [FirewallPolicy]) throws(ModelError) {
        for policy in policies {
            for direction in Direction.allCases {
                guard let bandwidth = policy.limits[direction].bandwidth,
                    let missing = missingShaping.first(where: { $0.directions.contains(direction) })
                else { continue }
                throw .invalid(
                    "policy \(policy.name): limits.\(direction.rawValue).bandwidth", bandwidth.description,
                    missing.explanation)
            }
        }
        let limiting = policies.contains { $0.rules.contains { $0.limit != nil } }
        guard limiting else { return }
        let replaced = Set(policies.map(\.name))
        let kept = directory.policies.values.filter { !replaced.contains($0.name) }
        for direction in Direction.allCases {
            let count = (kept + policies).reduce(0) { count, policy in
                count + policy.rules.count { $0.limit != nil && $0.direction == direction }
            }
            if count > Self.limitedRules {
                throw .exhausted(
                    "limit", "\(count)",
                    "at most \(Self.limitedRules) rules of \(direction.rawValue) in all policies can have one"
                )
            }
        }
    }

    /// Asks the kernel what it cannot do.
    func probeLimits() throws {
        missingShaping = try bridge.missingShaping()
        for missing in missingShaping {
            missingFeatures.append(.init(name: missing.name, explanation: missing.explanation))
        }
    }

    // MARK: Bandwidth

    /// Holds endpoints to the bandwidths that have changed; connections go on. To be called after every change
    /// of policies or labels, in the same step.
    func reshape() throws {
        var failure: (any Error)?
        for id in firewall.takeReshaped() {
            guard let endpoint = directory.endpoints[id] else { continue }
            do { try shape(endpoint) } catch { failure = failure ?? error }
        }
        if let failure { throw failure }
    }

    /// Holds an endpoint to its bandwidths.
    func shape(_ endpoint: Endpoint) throws {
        guard let network = directory.networks[endpoint.networkID] else { return }
        try bridge.shape(endpoint, shape(of: endpoint.id), mtu: network.mtu)
    }

    /// For a link that has just been made, and has none.
    func shapeNew(_ endpoint: Endpoint, _ network: Network) throws {
        _ = firewall.takeReshaped()
        guard firewall.compiler.bandwidths[endpoint.id] != nil else { return }
        try bridge.shape(endpoint, shape(of: endpoint.id), mtu: network.mtu)
    }

    /// Sets right what traffic control has lost, or has too much.
    func mendShapes() throws {
        _ = firewall.takeReshaped()
        let wanted = firewall.compiler.bandwidths.keys
        let all = Array(directory.endpoints.values)
        let misshapen = try bridge.misshapen(
            all, wanted: Dictionary(uniqueKeysWithValues: wanted.map { ($0, shape(of: $0)) })
        ) { directory.networks[$0.networkID]?.mtu ?? 1500 }
        for endpoint in misshapen {
            do {
                try shape(endpoint)
                log.notice(
                    "bandwidth was not limited as recorded", metadata: ["endpoint": "\(endpoint.name)"])
            } catch {
                log.error(
                    "bandwidth cannot be limited",
                    metadata: ["endpoint": "\(endpoint.name)", "error": "\(error)"])
            }
        }
    }

    /// Links that hold back what endpoints send, by name.
    var shapers: [String] {
        firewall.compiler.bandwidths.compactMap { id, bandwidth in
            bandwidth.egress == nil ? nil : directory.endpoints[id]?.shaperName
        }
    }

    /// What traffic control has dropped, as denials.
    func shapingDenials(of members: [NetworkMember]) throws -> [String: [DenialCount]] {
        let bandwidths = firewall.compiler.bandwidths
        let shaped = members.map(\.endpoint).filter { bandwidths[$0.id] != nil }
        var denials: [String: [DenialCount]] = [:]
        for (id, drops) in try bridge.shapingDrops(of: shaped) {
            guard let name = directory.endpoints[id]?.name else { continue }
            for (direction, packets) in [(Direction.ingress, drops.ingress), (.egress, drops.egress)]
            where packets > 0 {
                let limit = ExceededLimit(.bandwidth, .endpoint(direction, name))
                // The kernel does not count their bytes.
                denials[id, default: []].append(
                    DenialCount(reason: .limit(limit), packets: packets, bytes: 0))
            }
        }
        return denials
    }

    private func shape(of id: String) -> Shape {
        let bandwidth = firewall.compiler.bandwidths[id]
        return Shape(ingress: bandwidth?.ingress, egress: bandwidth?.egress)
    }

    // MARK: Connections

    /// Gives connections that stand the marks that they would get if they began now: a limit that a rule gets
    /// holds for them too.
    func markConnections(_ hadLimits: Bool) throws {
        guard hadLimits || firewall.compiler.limitsConnections else { return }
        try connections.mark { flow in
            guard
                directory.endpoint(at: flow.source) != nil || directory.endpoint(at: flow.destination) != nil
            else { return nil }
            return firewall.compiler.connectionMark(
                from: flow.source, to: flow.destination, l4proto: flow.l4proto, port: flow.destinationPort)
        }
    }
}
