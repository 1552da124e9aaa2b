internal import Wire

/// How large one policy may be: far beyond what a person writes, far below what would hurt.
public enum PolicyLimits {
    public static let rules = 10_000
    public static let ports = 10_000
    public static let peers = 10_000
    /// New connections a second.
    public static let rateLimit = 1...1_000_000
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

/// Collects what is wrong instead of stopping at the first.
private struct PolicyCheck {
    private(set) var problems: [ModelError] = []

    private mutating func refuse(_ field: String, _ value: some CustomStringConvertible, _ reason: String) {
        guard problems.count < PolicyLimits.problems else { return }
        problems.append(.invalid(field, value.description, reason))
    }

    private mutating func attempt(_ body: () throws(ModelError) -> Void) {
        do throws(ModelError) { try body() } catch {
            if problems.count < PolicyLimits.problems { problems.append(error) }
        }
    }

    mutating func policy(_ policy: FirewallPolicy) {
        attempt { () throws(ModelError) in try Name.check(policy.name, field: "policy") }
        selector(policy.selector, "endpoints")
        directions(policy)
        if let rate = policy.rateLimit, !PolicyLimits.rateLimit.contains(rate) {
            refuse("rateLimit", rate, "must be 1 to 1000000 new connections a second")
        }
        let rules = RuleList.allCases.flatMap { policy.rules($0) }
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
        for list in RuleList.allCases where list != .trusted {
            for (index, rule) in policy.rules(list).enumerated() {
                self.rule(rule, list, "\(list.rawValue)[\(index)]")
            }
        }
    }

    private mutating func directions(_ policy: FirewallPolicy) {
        if policy.directions.isEmpty, policy.rateLimit == nil {
            refuse("directions", "[]", "the policy would do nothing: name ingress, egress or both")
        }
        for list in RuleList.allCases
        where !policy.rules(list).isEmpty && !policy.directions.contains(list.direction) {
            let field =
                list != .trusted ? list.rawValue : policy.allowPorts != nil ? "allowPorts" : "trustedPeers"
            refuse(
                field, policy.directions.map(\.rawValue).sorted().joined(separator: ", "),
                "has no effect: \(list.direction.rawValue) is not among the policy's directions")
        }
    }

    private mutating func rule(_ rule: PolicyRule, _ list: RuleList, _ path: String) {
        if let peers = rule.peers {
            let field = "\(path).\(list.direction == .ingress ? "from" : "to")"
            if peers.isEmpty, list.denies {
                refuse(field, "[]", "denies nobody; leave it out to mean anyone")
            }
            self.peers(peers, field)
        }
        if let ports = rule.ports { self.ports(ports, "\(path).ports") }
    }

    private mutating func ports(_ ports: [PortRange], _ path: String) {
        if ports.isEmpty { refuse(path, "[]", "names no port; leave it out to mean all ports") }
        for (index, range) in ports.enumerated() where range.ports != 0...UInt16.max {
            if range.transport == .icmp { refuse("\(path)[\(index)]", range, "icmp has no ports") }
            if range.ports.lowerBound == 0 { refuse("\(path)[\(index)]", range, "port 0 does not exist") }
        }
    }

    private mutating func peers(_ peers: [PolicyPeer], _ path: String) {
        for (index, peer) in peers.enumerated() {
            switch peer {
            case .endpoints(let selector): self.selector(selector, "\(path)[\(index)]")
            case .cidr(let block, let except):
                for (number, inner) in except.enumerated() where !block.contains(inner) {
                    refuse("\(path)[\(index)].except[\(number)]", inner, "must lie inside \(block)")
                }
            }
        }
    }

    private mutating func selector(_ selector: EndpointSelector, _ path: String) {
        attempt { () throws(ModelError) in
            try LabelSyntax.check(selector.matchLabels, field: "\(path).labels")
        }
        if let network = selector.network {
            attempt { () throws(ModelError) in try Name.check(network, field: "\(path).network") }
        }
        guard let names = selector.endpoints else { return }
        if names.isEmpty { refuse("\(path).names", "[]", "names no endpoint") }
        for name in names.sorted() {
            attempt { () throws(ModelError) in try ContainerID.check(name, field: "\(path).names") }
        }
    }
}

extension PolicyPeer {
    /// What the peer adds to a ruleset.
    fileprivate var size: Int {
        switch self {
        case .endpoints(let selector): max(selector.endpoints?.count ?? 1, 1)
        case .cidr(_, let except): 1 + except.count
        }
    }
}
