import Model
import Wire

/// Evaluation spelled out: every policy, every rule, every peer, each time. Slow and obviously right.
enum NaiveTwin {
    static func evaluate(_ policies: [FirewallPolicy], _ flow: Flow) -> Decision {
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
            var selected = false
            var firstDeny: RuleReference?
            var firstAllow: RuleReference?
            for policy in policies.sorted(by: { $0.name < $1.name }) {
                guard policy.directions.contains(direction), matches(policy.selector, member) else {
                    continue
                }
                selected = true
                if direction == .ingress {
                    if policy.allowPorts != nil || policy.trustedPeers != nil {
                        let rule = PolicyRule(peers: policy.trustedPeers, ports: policy.allowPorts)
                        if firstAllow == nil, matches(rule, peer, flow.transport) {
                            firstAllow = RuleReference(policy: policy.name, list: .trusted)
                        }
                    }
                    for (index, rule) in policy.ingress.enumerated() where matches(rule, peer, flow.transport)
                    {
                        firstAllow =
                            firstAllow
                            ?? RuleReference(policy: policy.name, list: .ingress, number: index + 1)
                    }
                    for (index, rule) in policy.ingressDeny.enumerated()
                    where matches(rule, peer, flow.transport) {
                        firstDeny =
                            firstDeny
                            ?? RuleReference(policy: policy.name, list: .ingressDeny, number: index + 1)
                    }
                } else {
                    for (index, rule) in policy.egress.enumerated() where matches(rule, peer, flow.transport)
                    {
                        firstAllow =
                            firstAllow ?? RuleReference(policy: policy.name, list: .egress, number: index + 1)
                    }
                    for (index, rule) in policy.egressDeny.enumerated()
                    where matches(rule, peer, flow.transport) {
                        firstDeny =
                            firstDeny
                            ?? RuleReference(policy: policy.name, list: .egressDeny, number: index + 1)
                    }
                }
            }
            if let firstDeny { return .denied(.rule(firstDeny)) }
            if let firstAllow {
                grants.append(.rule(firstAllow))
            } else if !selected && member.network.defaultVerdict == .allow {
                grants.append(.networkDefault(network: member.network.name))
            } else {
                return .denied(.defaultDeny(direction, endpoint: member.endpoint.name))
            }
        }
        return .allowed(egress: grants[0], ingress: grants[1])
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
        for (key, value) in selector.matchLabels {
            if member.endpoint.labels[key] != value { return false }
        }
        return true
    }

    private static func matches(_ rule: PolicyRule, _ peer: FlowSide, _ transport: FlowTransport) -> Bool {
        var portMatches = false
        if let ports = rule.ports {
            for range in ports {
                switch transport {
                case .tcp(let port):
                    if range.transport == .tcp && range.ports.contains(port) { portMatches = true }
                case .udp(let port):
                    if range.transport == .udp && range.ports.contains(port) { portMatches = true }
                case .icmp: if range.transport == .icmp { portMatches = true }
                case .other: break
                }
            }
        } else {
            portMatches = true
        }
        if !portMatches { return false }
        guard let peers = rule.peers else { return true }
        for candidate in peers {
            switch candidate {
            case .endpoints(let selector):
                if let member = peer.member, matches(selector, member) { return true }
            case .cidr(let block, let except):
                if block.contains(peer.address) && !except.contains(where: { $0.contains(peer.address) }) {
                    return true
                }
            }
        }
        return false
    }
}
