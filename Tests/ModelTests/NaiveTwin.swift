import Model
import Wire

/// Evaluation spelled out: every policy, every rule, every peer, each time. Slow and obviously right.
struct NaiveTwin {
    /// In the order in which they are asked.
    private let policies: [FirewallPolicy]

    init(_ policies: [FirewallPolicy]) { self.policies = policies.sorted(by: Self.isAsked) }

    func evaluate(_ flow: Flow) -> Decision {
        let source = flow.source
        let destination = flow.destination
        if source.member == nil && destination.member == nil { return .denied(.noEndpoint) }
        if let a = source.member, let b = destination.member, a.endpoint.id == b.endpoint.id {
            return .sameEndpoint
        }

        // Isolation: from the strictest level down, so that the stricter of two is the one that is named.
        for level in [IsolationLevel.full, .meshOnly, .peerOnly] {
            for side in [source, destination] {
                guard let member = side.member, member.network.isolation == level else { continue }
                let bothInside = source.member?.network.id == destination.member?.network.id
                if level == .peerOnly && bothInside { continue }
                // Out of the fabric, where the network may be left.
                if destination.member == nil && member.network.nat { continue }
                return .denied(.isolation(level, network: member.network.name))
            }
        }

        var grants: [Grant] = []
        for direction in [Direction.egress, .ingress] {
            let (subject, peer) = direction == .egress ? (source, destination) : (destination, source)
            guard let member = subject.member else {
                grants.append(.outside)
                continue
            }
            // A network with names: rules without ports do not open those where names are asked for.
            var isQuestion = false
            switch flow.transport {
            case .tcp(let port), .udp(let port): isQuestion = port == 53 || port == 853
            case .sctp, .icmp, .other: break
            }
            let withheld = direction == .egress && member.network.dns != nil && isQuestion
            switch judge(member, direction, peer, flow, withheld: withheld) {
            case .allowed(let grant): grants.append(grant)
            case .denied(let reason):
                if withheld, case .defaultDeny = reason,
                    case .allowed = judge(member, direction, peer, flow, withheld: false)
                {
                    return .denied(.foreignResolver(network: member.network.name))
                }
                return .denied(reason)
            }
        }
        return .allowed(egress: grants[0], ingress: grants[1])
    }

    private enum Judgement {
        case allowed(Grant)
        case denied(DenialReason)
    }

    private func judge(
        _ member: NetworkMember, _ direction: Direction, _ peer: FlowSide, _ flow: Flow, withheld: Bool
    ) -> Judgement {
        // Every rule that matches, in the order in which rules are asked.
        var matching: [(tier: PolicyTier, action: RuleAction, reference: RuleReference, verifiesHost: Bool)] =
            []
        var isSelected = false
        for policy in policies where Self.matches(policy.selector, member) {
            if policy.tier == .standard {
                if !policy.directions.contains(direction) { continue }
                isSelected = true
            }
            for list in RuleList.allCases where list.direction == direction {
                for (index, rule) in policy.rules(list).enumerated() {
                    guard let action = Self.action(of: rule, for: peer, flow) else { continue }
                    if withheld && action == .allow && rule.ports == nil { continue }
                    let reference = RuleReference(
                        policy: policy.id, list: list, number: index + 1, name: rule.name, tier: policy.tier,
                        action: action)
                    matching.append((policy.tier, action, reference, rule.verifyHost))
                }
            }
        }
        if let rule = matching.first(where: { $0.tier.name == "admin" }) {
            if rule.action == .allow { return .allowed(.rule(rule.reference)) }
            if rule.action == .deny { return .denied(.rule(rule.reference)) }
        }
        if isSelected {
            let standard = matching.filter { $0.tier == .standard }
            if let rule = standard.first(where: { $0.action == .deny }) {
                return .denied(.rule(rule.reference))
            }
            let allowing = standard.filter { $0.action == .allow }
            if let rule = allowing.first(where: { !$0.verifiesHost }) {
                return .allowed(.rule(rule.reference))
            }
            if let rule = allowing.first { return .allowed(.verifiedRule(rule.reference)) }
            return .denied(.defaultDeny(direction, endpoint: member.endpoint.name))
        }
        if let rule = matching.first(where: { $0.tier.name == "baseline" }) {
            if rule.action == .allow { return .allowed(.rule(rule.reference)) }
            if rule.action == .deny { return .denied(.rule(rule.reference)) }
        }
        if member.network.defaultVerdict == .allow && !withheld {
            return .allowed(.networkDefault(network: member.network.name))
        }
        return .denied(.defaultDeny(direction, endpoint: member.endpoint.name))
    }

    private static func isAsked(_ a: FirewallPolicy, _ b: FirewallPolicy) -> Bool {
        func priority(_ tier: PolicyTier) -> Int {
            switch tier {
            case .admin(let priority), .baseline(let priority): priority
            case .standard: 0
            }
        }
        if priority(a.tier) != priority(b.tier) { return priority(a.tier) < priority(b.tier) }
        return a.name < b.name
    }

    static func matches(_ selector: EndpointSelector, _ member: NetworkMember) -> Bool {
        if let network = selector.network {
            if network != member.network.name { return false }
        }
        if let names = selector.endpoints {
            if !names.contains(member.endpoint.name) && !names.contains(member.endpoint.containerID) {
                return false
            }
        }
        var networkLabels = member.network.labels
        networkLabels["kubernetes.io/metadata.name"] = member.network.name
        return matches(selector.labels, member.endpoint.labels)
            && matches(selector.networkLabels, networkLabels)
    }

    private static func matches(_ selector: LabelSelector, _ labels: Labels) -> Bool {
        for (key, value) in selector.matchLabels {
            if labels[key] != value { return false }
        }
        for expression in selector.matchExpressions {
            switch expression.condition {
            case .isIn:
                guard let value = labels[expression.key] else { return false }
                if !expression.values.contains(value) { return false }
            case .isNotIn:
                if let value = labels[expression.key], expression.values.contains(value) { return false }
            case .exists: if labels[expression.key] == nil { return false }
            case .doesNotExist: if labels[expression.key] != nil { return false }
            }
        }
        return true
    }

    /// What the rule does to the flow; nil where it does not speak of it.
    private static func action(of rule: PolicyRule, for peer: FlowSide, _ flow: Flow) -> RuleAction? {
        if let ports = rule.ports {
            if !ports.contains(where: { matches($0, flow) }) { return nil }
        }
        guard let peers = rule.peers else { return rule.action }
        // An unknown peer: an allowance does not match it, all else denies everybody.
        if peers.contains(.unknown) && rule.action != .allow { return .deny }
        for candidate in peers {
            switch candidate {
            case .endpoints(let selector):
                if let member = peer.member, matches(selector, member) { return rule.action }
            case .cidr(let block, let except):
                if block.contains(peer.address) && !except.contains(where: { $0.contains(peer.address) }) {
                    return rule.action
                }
            case .domain(let pattern):
                let parts = pattern.description.split(separator: ".")
                for name in peer.member == nil ? peer.names : [] {
                    var labels = name.split(separator: ".")
                    if parts.first == "*" {
                        guard labels.count >= parts.count else { continue }
                        labels = ["*"] + labels.suffix(parts.count - 1)
                    }
                    if labels == parts { return rule.action }
                }
            case .unknown: break
            }
        }
        return nil
    }

    private static func matches(_ port: PortMatch, _ flow: Flow) -> Bool {
        switch port {
        case .range(let range):
            switch flow.transport {
            case .tcp(let port): return range.transport == .tcp && range.ports.contains(port)
            case .udp(let port): return range.transport == .udp && range.ports.contains(port)
            case .sctp(let port): return range.transport == .sctp && range.ports.contains(port)
            case .icmp: return range.transport == .icmp
            case .other: return false
            }
        case .named(let name, let transport):
            for port in flow.destination.member?.endpoint.ports ?? [] where port.name == name {
                if let transport, transport != port.transport { continue }
                switch flow.transport {
                case .tcp(port.number): if port.transport == .tcp { return true }
                case .udp(port.number): if port.transport == .udp { return true }
                case .sctp(port.number): if port.transport == .sctp { return true }
                default: break
                }
            }
            return false
        }
    }
}
