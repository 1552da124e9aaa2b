internal import Wire

/// How large one policy may be: far beyond what a person writes, far below what would hurt.
public enum PolicyLimits {
    public static let rules = 10_000
    public static let ports = 10_000
    public static let peers = 10_000
    /// New connections a second.
    public static let connections = 1...1_000_000
    /// Packets a second.
    public static let packets = 1...10_000_000
    /// From what one full packet a second needs, up to what the kernel's buckets can count.
    public static let bandwidth = Bandwidth(kilobits: 16)...Bandwidth(kilobits: 100_000_000)
    /// Of a policy in the admin or the baseline tier.
    public static let priority = 0...1000
    /// Rules of a `ClusterNetworkPolicy` in one direction.
    public static let clusterRules = 25
    /// Values of one condition on a label.
    public static let labelValues = 1_000
    /// Problems reported of one document; more tell nobody anything.
    public static let problems = 100
}

extension FirewallPolicy {
    /// - Throws: the first of `problems()`.
    public func validate() throws(ModelError) {
        if let first = problems().first { throw first }
    }

    /// Everything that is wrong with the policy, each naming the field as a path such as
    /// `ingress[0].ports[1]`.
    public func problems() -> [ModelError] {
        var check = PolicyCheck()
        check.policy(self)
        return check.problems
    }
}

/// Collects what is wrong instead of stopping at the first. Paths are put together where something is.
private struct PolicyCheck {
    private(set) var problems: [ModelError] = []

    private mutating func refuse(
        _ field: @autoclosure () -> String, _ value: some CustomStringConvertible,
        _ reason: @autoclosure () -> String
    ) {
        guard problems.count < PolicyLimits.problems else { return }
        problems.append(.invalid(field(), value.description, reason()))
    }

    private mutating func attempt(_ body: () throws(ModelError) -> Void) {
        do throws(ModelError) { try body() } catch {
            if problems.count < PolicyLimits.problems { problems.append(error) }
        }
    }

    mutating func policy(_ policy: FirewallPolicy) {
        attempt { () throws(ModelError) in try policy.id.check() }
        dialect(policy)
        let isNative = policy.id.dialect == .native
        selector(policy.selector, isNative ? "endpoints" : "spec")
        for direction in Direction.allCases {
            limit(
                policy.limits[direction], "limits.\(direction.rawValue)",
                connections: policy.limitsAreShort ? "rateLimit" : nil)
        }
        if !isNative, !policy.limits.isEmpty || policy.rules.contains(where: { $0.limit != nil }) {
            refuse("limits", policy.id.description, "only a native policy can limit")
        }
        let rules = policy.rules
        for (field, count, limit) in [
            ("rules", rules.count, PolicyLimits.rules),
            ("ports", rules.reduce(0) { $0 + ($1.ports?.count ?? 0) }, PolicyLimits.ports),
            (
                "peers", rules.reduce(0) { $0 + ($1.peers?.reduce(0) { $0 + $1.size } ?? 0) },
                PolicyLimits.peers
            ),
        ] where count > limit {
            // Nothing below is worth looking at then.
            return refuse(field, count, "at most \(limit) in one policy")
        }
        if let ports = policy.allowPorts { self.ports(ports, "allowPorts") }
        if let peers = policy.trustedPeers { self.peers(peers, "trustedPeers") }
        var places = RulePlaces()
        for rule in policy.rules where rule.list != .trusted {
            let list = rule.list
            let index = places.next(in: list)
            var path: String { "\(isNative ? "" : "spec.")\(list.rawValue)[\(index)]" }
            self.rule(rule, list, path)
            if rule.verifyHost { verifyHost(rule, policy.tier, path) }
        }
    }

    /// What a dialect has no words for.
    private mutating func dialect(_ policy: FirewallPolicy) {
        switch policy.id.dialect {
        case .native, .networkPolicy:
            if policy.tier != .standard {
                refuse(
                    "tier", policy.tier.name, "only a ClusterNetworkPolicy can be in another than standard")
            }
            for rule in policy.rules where rule.action == .pass {
                refuse(rule.list.rawValue, rule.action.rawValue, "there is no lower tier to pass to")
            }
            if policy.id.dialect == .native { directions(policy) }
        case .clusterNetworkPolicy:
            switch policy.tier {
            case .standard: refuse("spec.tier", policy.tier.name, "must be Admin or Baseline")
            case .admin(let priority), .baseline(let priority):
                if !PolicyLimits.priority.contains(priority) {
                    refuse("spec.priority", priority, "must be 0 to 1000")
                }
            }
            for list in [RuleList.ingress, .egress] {
                let count = policy.rules(list).count
                if count > PolicyLimits.clusterRules {
                    refuse("spec.\(list.rawValue)", count, "at most \(PolicyLimits.clusterRules) rules")
                }
            }
        }
    }

    private mutating func directions(_ policy: FirewallPolicy) {
        if policy.directions.isEmpty, policy.limits.isEmpty {
            refuse("directions", "[]", "the policy would do nothing: name ingress, egress or both")
        }
        guard !policy.rules.allSatisfy({ policy.directions.contains($0.direction) }) else { return }
        for list in RuleList.allCases
        where !policy.rules(list).isEmpty && !policy.directions.contains(list.direction) {
            let field =
                list != .trusted ? list.rawValue : policy.allowPorts != nil ? "allowPorts" : "trustedPeers"
            refuse(
                field, policy.directions.map(\.rawValue).sorted().joined(separator: ", "),
                "has no effect: \(list.direction.rawValue) is not among the policy's directions")
        }
    }

    private mutating func rule(_ rule: PolicyRule, _ list: RuleList, _ path: @autoclosure () -> String) {
        if let peers = rule.peers {
            var field: String { "\(path()).\(list.direction == .ingress ? "from" : "to")" }
            if peers.isEmpty, list.denies {
                refuse(field, "[]", "denies nobody; leave it out to mean anyone")
            }
            self.peers(peers, field, mayNameDomains: list == .egress && rule.action == .allow)
        }
        if let ports = rule.ports { self.ports(ports, "\(path()).ports") }
        guard let limit = rule.limit else { return }
        if list.denies || rule.action != .allow {
            refuse("\(path()).limit", rule.action.rawValue, "only a rule that allows can limit")
        }
        if limit.isEmpty {
            refuse("\(path()).limit", "{}", "limits nothing: give connections, packets or bandwidth")
        }
        self.limit(limit, "\(path()).limit")
    }

    /// - Parameter connections: what the field is called, where not by its path.
    private mutating func limit(
        _ limit: TrafficLimit, _ path: @autoclosure () -> String, connections: String? = nil
    ) {
        if let number = limit.connections, !PolicyLimits.connections.contains(number) {
            refuse(
                connections ?? "\(path()).connections", number,
                "must be 1 to 1000000 new connections a second")
        }
        if let number = limit.packets, !PolicyLimits.packets.contains(number) {
            refuse("\(path()).packets", number, "must be 1 to 10000000 packets a second")
        }
        if let bandwidth = limit.bandwidth, !PolicyLimits.bandwidth.contains(bandwidth) {
            refuse("\(path()).bandwidth", bandwidth, "must be 16kbit to 100gbit")
        }
    }

    /// Only TCP has hosts that are asked for where it can be seen (of QUIC the first packet is encrypted, if with a
    /// key that anyone can make).
    private mutating func verifyHost(
        _ rule: PolicyRule, _ tier: PolicyTier, _ path: @autoclosure () -> String
    ) {
        var field: String { "\(path()).verifyHost" }
        if tier != .standard { refuse(field, true, "has no meaning in tier \(tier.name)") }
        if rule.domains.isEmpty || rule.domains.count != rule.peers?.count {
            refuse(field, true, "needs toFQDNs, and nothing beside it")
        }
        if rule.limit != nil { refuse(field, true, "cannot stand beside a limit of the rule") }
        guard let ports = rule.ports else {
            return refuse(field, true, "needs ports, such as 443/tcp")
        }
        for (index, port) in ports.enumerated() {
            guard case .range(let range) = port, range.transport == .tcp else {
                refuse("\(path()).ports[\(index)]", port, "verifyHost needs ports of TCP")
                continue
            }
        }
    }

    private mutating func ports(_ ports: [PortMatch], _ path: @autoclosure () -> String) {
        if ports.isEmpty { refuse(path(), "[]", "names no port; leave it out to mean all ports") }
        for (index, port) in ports.enumerated() {
            switch port {
            case .range(let range):
                guard range.ports != 0...UInt16.max else { continue }
                if range.transport == .icmp { refuse("\(path())[\(index)]", range, "icmp has no ports") }
                if range.ports.lowerBound == 0 {
                    refuse("\(path())[\(index)]", range, "port 0 does not exist")
                }
            case .named(let name, _):
                attempt { () throws(ModelError) in try Name.checkPort(name, field: "\(path())[\(index)]") }
            }
        }
    }

    private mutating func peers(
        _ peers: [PolicyPeer], _ path: @autoclosure () -> String, mayNameDomains: Bool = false
    ) {
        for (index, peer) in peers.enumerated() {
            switch peer {
            case .endpoints(let selector): self.selector(selector, "\(path())[\(index)]")
            case .cidr(let block, let except):
                for (number, inner) in except.enumerated() where !block.contains(inner) {
                    refuse("\(path())[\(index)].except[\(number)]", inner, "must lie inside \(block)")
                }
            case .domain(let pattern):
                if !mayNameDomains {
                    refuse("\(path())[\(index)]", pattern, "only rules that allow egress can name domains")
                }
            case .unknown: break
            }
        }
    }

    private mutating func selector(_ selector: EndpointSelector, _ path: @autoclosure () -> String) {
        labels(selector.labels, "\(path()).labels")
        labels(selector.networkLabels, "\(path()).networkLabels")
        if let network = selector.network {
            attempt { () throws(ModelError) in try Name.check(network, field: "\(path()).network") }
        }
        guard let names = selector.endpoints else { return }
        if names.isEmpty { refuse("\(path()).names", "[]", "names no endpoint") }
        for name in names.sorted() {
            attempt { () throws(ModelError) in try ContainerID.check(name, field: "\(path()).names") }
        }
    }

    private mutating func labels(_ selector: LabelSelector, _ path: @autoclosure () -> String) {
        attempt { () throws(ModelError) in try LabelSyntax.check(selector.matchLabels, field: path()) }
        for one in selector.matchExpressions {
            attempt { () throws(ModelError) in try LabelSyntax.check(one, field: path()) }
        }
    }
}

extension PolicyPeer {
    /// What the peer adds to a ruleset.
    fileprivate var size: Int {
        switch self {
        case .endpoints(let selector): max(selector.endpoints?.count ?? 1, 1)
        case .cidr(_, let except): 1 + except.count
        case .domain, .unknown: 1
        }
    }
}
