package import Model
package import Wire

/// Small worlds with generated policies: few labels, few addresses and few ports, so that rules meet.
package struct RandomWorld {
    package var generator: SeededGenerator
    package var networks: [Network] = []
    package var members: [NetworkMember] = []
    package var policies: [FirewallPolicy] = []

    package static let ports: [UInt16] = [1, 53, 79, 80, 81, 443, 8000, 8001, 8100, 65535]
    package static let blocks = [
        "10.1.0.0/24", "10.1.0.0/28", "10.1.0.8/29", "10.2.0.0/16", "203.0.113.0/24", "0.0.0.0/0",
        "fd00:1::/64", "2001:db8::/32", "::/0",
    ].compactMap { try? CIDR($0) }
    package static let outside = ["203.0.113.7", "198.51.100.9", "2001:db8::9", "2001:db8:ff::1"]
        .compactMap { try? IPAddress($0) }

    package init(seed: UInt64, policies count: Int = 6, endpoints: Int = 9) {
        generator = SeededGenerator(state: seed)
        // Of its own, so that a seed's world is otherwise what it was.
        var exits = SeededGenerator(state: seed ^ 0x6e61_7400)
        for index in 1...3 as ClosedRange<UInt128> {
            networks.append(
                Network(
                    id: String(repeating: "\(index)", count: 64), name: "net\(index)",
                    // 10.<index>.0.0/24 and fd00:<index>::/64
                    subnets: [
                        CIDR(containing: IPAddress(.v4, bits: 10 << 24 | index << 16), prefixLength: 24),
                        CIDR(containing: IPAddress(.v6, bits: 0xfd00 << 112 | index << 96), prefixLength: 64),
                    ],
                    isolation: pick([.none, .none, .peerOnly, .none]),
                    defaultVerdict: pick([.deny, .deny, .allow]), mtu: 1500,
                    labels: ["zone": pick(["inner", "outer"])], nat: Bool.random(using: &exits),
                    dns: Bool.random(using: &exits) ? DNSSettings() : nil))
        }
        for index in 0..<endpoints { members.append(endpoint(index)) }
        policies = (0..<count).map { policy("policy\($0)") }
    }

    package mutating func endpoint(_ index: Int) -> NetworkMember {
        let network = networks[index % networks.count]
        let host = UInt128(2 + index / networks.count)
        return NetworkMember(
            Endpoint(
                id: String(repeating: String(index % 10), count: 60) + String(1000 + index),
                containerID: "container\(index)",
                networkID: network.id, name: "e\(index)", labels: labels(),
                addresses: network.subnets.compactMap { $0.address(at: host) },
                mac: MACAddress(bits: 0x02_00_00_00_00_00 | UInt64(index)), interfaceName: "eth0",
                namespace: NamespaceReference(path: "/", device: 0, inode: 0), ports: namedPorts()),
            in: network)
    }

    private mutating func namedPorts() -> [NamedPort] {
        (0..<Int.random(in: 0...2, using: &generator)).map { _ in
            NamedPort(pick(["web", "dns"]), pick(Self.ports), pick([.tcp, .tcp, .udp]))
        }
    }

    /// Gives the networks that may be left this isolation towards all others, and lets what denies nothing out.
    package mutating func isolateExits(_ level: IsolationLevel) {
        let anywhere = [IPFamily.v4, .v6].map { CIDR(containing: IPAddress($0, bits: 0), prefixLength: 0) }
        policies.append(
            FirewallPolicy(
                name: "exits", selector: EndpointSelector(), directions: [.egress],
                egress: [
                    PolicyRule(
                        peers: anywhere.map { .cidr($0, except: []) },
                        ports: [PortMatch(.tcp, 1...443), PortMatch(.udp), PortMatch(.icmp)])
                ]))
        for (index, old) in networks.enumerated() where old.nat {
            networks[index] = Network(
                id: old.id, name: old.name, subnets: old.subnets, isolation: level,
                defaultVerdict: old.defaultVerdict, mtu: old.mtu, labels: old.labels, nat: true,
                dns: old.dns)
            for (place, member) in members.enumerated() where member.network.id == old.id {
                members[place] = NetworkMember(member.endpoint, in: networks[index])
            }
        }
    }

    /// Gives one network other labels or another default.
    package mutating func relabelNetwork() {
        let index = Int.random(in: networks.indices, using: &generator)
        let old = networks[index]
        networks[index] = Network(
            id: old.id, name: old.name, subnets: old.subnets, isolation: old.isolation,
            defaultVerdict: pick([.deny, .allow]), mtu: old.mtu,
            labels: ["zone": pick(["inner", "outer"])], nat: old.nat,
            dns: old.dns)
        for (place, member) in members.enumerated() where member.network.id == old.id {
            members[place] = NetworkMember(member.endpoint, in: networks[index])
        }
    }

    package mutating func labels() -> Labels {
        var labels: Labels = [:]
        if Bool.random(using: &generator) {
            labels["app"] = pick(["web", "db", "front"])
        }
        if Bool.random(using: &generator) { labels["tier"] = pick(["a", "b"]) }
        return labels
    }

    /// A policy of any dialect, whose name is as given.
    package mutating func policy(_ name: String) -> FirewallPolicy {
        var policy = nativePolicy(name)
        switch Int.random(in: 0..<10, using: &generator) {
        case 0..<4: break
        case 4, 5:
            policy.selector = wideSelector()
        default:
            let priority = Int.random(in: 0...2, using: &generator)
            policy.tier = chance(3) ? .baseline(priority: priority) : .admin(priority: priority)
            policy.selector = wideSelector()
            policy.rules = (0..<Int.random(in: 0...4, using: &generator)).map { _ in
                PolicyRule(
                    pick([.ingress, .egress]), pick([.allow, .deny, .pass]), peers: widePeers(),
                    ports: chance(3) ? nil : widePorts())
            }
        }
        if chance(6) { policy.mode = .audit }
        return policy
    }

    private mutating func nativePolicy(_ name: String) -> FirewallPolicy {
        var policy = FirewallPolicy(name: name, selector: selector())
        policy.directions = pick([[.ingress], [.egress], [.ingress, .egress]])
        if chance(4) { policy.allowPorts = ports() }
        if chance(4) { policy.trustedPeers = peers() }
        if policy.directions.contains(.ingress) {
            policy.ingress = limited(rules())
            if chance(3) { policy.ingressDeny = rules() }
        } else {
            policy.allowPorts = nil
            policy.trustedPeers = nil
        }
        if policy.directions.contains(.egress) {
            policy.egress = limited(rules())
            if chance(3) { policy.egressDeny = rules() }
        }
        return policy
    }

    package mutating func flow() -> Flow {
        func side() -> FlowSide {
            if chance(4) { return FlowSide(pick(Self.outside)) }
            let member = pick(members)
            return FlowSide(pick(member.endpoint.addresses), member)
        }
        while true {
            let (from, to) = (side(), side())
            guard from.address.family == to.address.family, from.member != nil || to.member != nil else {
                continue
            }
            let port = pick(Self.ports)
            let transport: FlowTransport =
                switch Int.random(in: 0..<8, using: &generator) {
                case 0: .icmp
                case 1: chance(2) ? .other(47) : .sctp(port)
                case 2, 3: .udp(port)
                default: .tcp(port)
                }
            return Flow(from: from, to: to, transport)
        }
    }

    /// `choices` must not be empty.
    private mutating func pick<T>(_ choices: [T]) -> T {
        choices[Int.random(in: choices.indices, using: &generator)]
    }

    package mutating func chance(_ of: Int) -> Bool { Int.random(in: 0..<of, using: &generator) == 0 }

    private mutating func selector() -> EndpointSelector {
        switch Int.random(in: 0..<6, using: &generator) {
        case 0: EndpointSelector()
        case 1: EndpointSelector(endpoints: ["e\(Int.random(in: 0..<9, using: &generator))"])
        case 2: EndpointSelector(network: "net\(Int.random(in: 1...3, using: &generator))")
        case 3: EndpointSelector(endpoints: ["container\(Int.random(in: 0..<9, using: &generator))", "e1"])
        default: EndpointSelector(matchLabels: labels())
        }
    }

    private mutating func peers() -> [PolicyPeer] {
        (0..<Int.random(in: 0...2, using: &generator)).map { _ in
            if chance(3) {
                let block = pick(Self.blocks)
                let except = Self.blocks.filter { block.contains($0) && $0 != block && chance(3) }
                return .cidr(block, except: except)
            }
            return .endpoints(selector())
        }
    }

    private mutating func ports() -> [PortMatch] {
        (0..<Int.random(in: 1...2, using: &generator)).map { _ in
            let transport: TransportProtocol = pick([.tcp, .tcp, .udp, .icmp])
            if transport == .icmp { return PortMatch(.icmp) }
            let (a, b) = (pick(Self.ports), pick(Self.ports))
            return PortMatch(transport, min(a, b)...max(a, b))
        }
    }

    private mutating func wideSelector() -> EndpointSelector {
        var selector = selector()
        if chance(3) { selector.labels.matchExpressions = [requirement(["app", "tier"])] }
        if chance(3) { selector.networkLabels.matchExpressions = [requirement(["zone", Network.nameLabel])] }
        if chance(4) { selector.networkLabels.matchLabels = ["zone": pick(["inner", "outer"])] }
        return selector
    }

    private mutating func requirement(_ keys: [String]) -> LabelRequirement {
        let condition = pick(LabelRequirement.Operator.allCases)
        let takesValues = condition == .isIn || condition == .isNotIn
        return LabelRequirement(
            pick(keys), condition, takesValues ? [pick(["web", "db", "a", "net1", "inner"])] : [])
    }

    private mutating func widePeers() -> [PolicyPeer]? {
        if chance(8) { return nil }
        return peers() + (chance(12) ? [.unknown] : []) + [.endpoints(wideSelector())]
    }

    private mutating func widePorts() -> [PortMatch] {
        ports() + (chance(2) ? [.named(pick(["web", "dns"]), pick([nil, .tcp, .udp]))] : [])
    }

    /// Some of them with limits that nothing in a test comes near to: what passes is what would without.
    private mutating func limited(_ rules: [PolicyRule]) -> [PolicyRule] {
        rules.map { rule in
            var rule = rule
            if chance(3) {
                rule.limit = TrafficLimit(
                    connections: 1_000_000, packets: chance(2) ? 10_000_000 : nil,
                    bandwidth: Bandwidth(kilobits: 100_000_000))
            }
            return rule
        }
    }

    private mutating func rules() -> [PolicyRule] {
        (0..<Int.random(in: 0...2, using: &generator)).map { _ in
            PolicyRule(peers: chance(4) ? nil : peers(), ports: chance(3) ? nil : widePorts())
        }
    }
}

/// SplitMix64: the same numbers for the same seed everywhere.
package struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }
}

extension FlowTransport {
    /// Protocol number and destination port, as the packet path sees them.
    package func numbers(_ family: IPFamily) -> (l4proto: UInt8, port: UInt16) {
        switch self {
        case .tcp(let port): (6, port)
        case .udp(let port): (17, port)
        case .sctp(let port): (132, port)
        case .icmp: (family == .v4 ? 1 : 58, 0)
        case .other(let number): (number, 0)
        }
    }
}
