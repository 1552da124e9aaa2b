import Model
import Wire

/// SplitMix64: the same numbers every time.
struct Seeded: RandomNumberGenerator {
    private var state: UInt64
    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
        return mixed ^ mixed >> 31
    }

    mutating func pick<T>(_ from: [T]) -> T { from[Int.random(in: 0..<from.count, using: &self)] }
    mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &self) < percent }
    mutating func some<T>(_ count: ClosedRange<Int>, _ make: (inout Seeded) -> T) -> [T] {
        (0..<Int.random(in: count, using: &self)).map { _ in make(&self) }
    }
}

func makeNetwork(
    _ name: String, _ number: Int = 0, isolation: IsolationLevel = .none, verdict: DefaultVerdict = .deny,
    labels: Labels = [:], nat: Bool = false, dns: DNSSettings? = nil
) throws -> Network {
    Network(
        id: "id-\(name)", name: name,
        subnets: [try CIDR("10.0.\(number).0/24"), try CIDR("fd00:0:0:\(String(number, radix: 16))::/64")],
        isolation: isolation, defaultVerdict: verdict, mtu: 1500, labels: labels, nat: nat,
        dns: dns)
}

func makeMember(
    _ name: String, _ number: Int, in network: Network, labels: Labels = [:], ports: [NamedPort] = []
) throws -> NetworkMember {
    let addresses = network.subnets.compactMap { $0.address(at: UInt128(number)) }
    let endpoint = Endpoint(
        id: "\(network.id)/\(name)", containerID: "container-\(name)", networkID: network.id, name: name,
        labels: labels,
        addresses: addresses, mac: MACAddress(bits: 2 << 40 | UInt64(number)), interfaceName: "eth0",
        namespace: NamespaceReference(path: "/run/netns/\(name)", device: 4, inode: UInt64(number)),
        ports: ports)
    return NetworkMember(endpoint, in: network)
}

extension FlowSide {
    init(_ member: NetworkMember, _ family: IPFamily = .v4) throws {
        self.init(try requireAddress(member, family), member)
    }
}

struct MissingAddress: Error {}

func requireAddress(_ member: NetworkMember, _ family: IPFamily) throws -> IPAddress {
    guard let address = member.endpoint.address(family) else { throw MissingAddress() }
    return address
}

/// Random worlds whose names, labels, blocks and ports are few, so that rules often meet flows.
struct World {
    var random: Seeded
    let members: [NetworkMember]

    private static let names = ["a", "b", "c", "d", "e"]
    private static let ports: [UInt16] = [22, 53, 80, 443, 8080]

    init(seed: UInt64) throws {
        var random = Seeded(seed)
        // Of its own, so that a seed's world is otherwise what it was.
        var exits = Seeded(seed ^ 0x6e61_7400)
        var members: [NetworkMember] = []
        for (number, name) in ["shop", "lab", "dmz"].enumerated() {
            let level = random.chance(70) ? IsolationLevel.none : random.pick(IsolationLevel.allCases)
            let network = try makeNetwork(
                name, number, isolation: level, verdict: random.pick([.deny, .allow]),
                labels: random.chance(70) ? ["zone": random.pick(["x", "y"])] : [:], nat: exits.chance(50),
                dns: exits.chance(50) ? DNSSettings() : nil)
            for (number, name) in World.names.enumerated() {
                let labels = World.labels(&random)
                members.append(
                    try makeMember(
                        name, number + 2, in: network, labels: labels, ports: World.namedPorts(&random)))
            }
        }
        self.random = random
        self.members = members
    }

    private static func labels(_ random: inout Seeded) -> Labels {
        var labels: Labels = [:]
        for key in ["app", "tier"] where random.chance(60) { labels[key] = random.pick(["x", "y", "z"]) }
        return labels
    }

    mutating func policies(_ count: ClosedRange<Int>) throws -> [FirewallPolicy] {
        try (0..<Int.random(in: count, using: &random)).map { try policy("p\($0)") }.shuffled(using: &random)
    }

    private static func namedPorts(_ random: inout Seeded) -> [NamedPort] {
        random.some(0...2) { random in
            NamedPort(
                random.pick(["web", "dns"]), random.pick(ports), random.pick([.tcp, .tcp, .udp, .sctp]))
        }
    }

    /// In any of the three dialects.
    mutating func policy(_ name: String) throws -> FirewallPolicy {
        switch Int.random(in: 0..<10, using: &random) {
        case 0..<4: try nativePolicy(name)
        case 4..<6: try networkPolicy(name)
        default: try clusterNetworkPolicy(name)
        }
    }

    private mutating func nativePolicy(_ name: String) throws -> FirewallPolicy {
        var policy = FirewallPolicy(name: name, selector: selector())
        policy.directions = random.pick([[.ingress], [.egress], [.ingress, .egress]])
        if policy.directions.contains(.ingress) {
            if random.chance(30) { policy.allowPorts = random.some(1...2) { World.range(&$0) } }
            if random.chance(30) { policy.trustedPeers = try peers(0...2) }
            policy.ingress = try rules(0...2)
            policy.ingressDeny = random.chance(30) ? try rules(1...1, denies: true) : []
        }
        if policy.directions.contains(.egress) {
            policy.egress = try rules(0...2, domains: true)
            policy.egressDeny = random.chance(30) ? try rules(1...1, denies: true) : []
        }
        if random.chance(20) { policy.rateLimit = Int.random(in: 1...1000, using: &random) }
        for direction in Direction.allCases where random.chance(20) {
            policy.limits[direction] = World.limit(&random)
        }
        return policy
    }

    private static func limit(_ random: inout Seeded) -> TrafficLimit {
        TrafficLimit(
            connections: random.chance(50) ? Int.random(in: 1...1000, using: &random) : nil,
            packets: random.chance(50) ? Int.random(in: 1...1000, using: &random) : nil,
            bandwidth: Bandwidth(kilobits: random.pick([16, 1500, 20_000, 3_000_000])))
    }

    private mutating func networkPolicy(_ name: String) throws -> FirewallPolicy {
        let namespace = random.pick(["shop", "lab", "dmz", "gone"])
        let directions: Set<Direction> = random.pick([[.ingress], [.egress], [.ingress, .egress]])
        var policy = FirewallPolicy(
            id: .networkPolicy(name, in: namespace),
            selector: EndpointSelector(labels: labelSelector(), network: namespace), directions: directions)
        for list in [RuleList.ingress, .egress] where directions.contains(list.direction) {
            for _ in 0..<Int.random(in: 0...2, using: &random) {
                let peers = try (0..<Int.random(in: 1...2, using: &random)).map { _ -> PolicyPeer in
                    if random.chance(30) { return .cidr(try block(), except: []) }
                    return random.chance(50)
                        ? .endpoints(EndpointSelector(labels: labelSelector(), network: namespace))
                        : .endpoints(clusterSelector())
                }
                policy.rules.append(
                    PolicyRule(
                        list, .allow, peers: random.chance(20) ? nil : peers,
                        ports: random.chance(40)
                            ? nil
                            : random.some(1...2) { random in
                                random.chance(30)
                                    ? .named(random.pick(["web", "dns"]), random.pick([.tcp, .udp]))
                                    : World.ported(&random)
                            }))
            }
        }
        return policy
    }

    private mutating func clusterNetworkPolicy(_ name: String) throws -> FirewallPolicy {
        let priority = Int.random(in: 0...3, using: &random)
        var policy = FirewallPolicy(
            id: .clusterNetworkPolicy(name),
            tier: random.chance(60) ? .admin(priority: priority) : .baseline(priority: priority),
            selector: clusterSelector(), directions: [])
        for list in [RuleList.ingress, .egress] {
            for number in 0..<Int.random(in: 0...3, using: &random) {
                let peers = try (0..<Int.random(in: 1...2, using: &random)).map { _ -> PolicyPeer in
                    if list == .egress, random.chance(30) { return .cidr(try block(), except: []) }
                    return random.chance(5) ? .unknown : .endpoints(clusterSelector())
                }
                policy.rules.append(
                    PolicyRule(
                        list, random.pick([.allow, .deny, .pass]),
                        name: random.chance(50) ? "rule-\(number)" : nil, peers: peers,
                        ports: random.chance(40)
                            ? nil
                            : random.some(1...2) { random in
                                random.chance(30)
                                    ? .named(random.pick(["web", "dns"]), nil) : World.ported(&random)
                            }))
            }
        }
        policy.directions = Set(policy.rules.map(\.direction))
        return policy
    }

    private mutating func labelSelector() -> LabelSelector {
        var selector = LabelSelector()
        if random.chance(40) { selector.matchLabels = World.labels(&random) }
        if random.chance(40) { selector.matchExpressions = [requirement(["app", "tier"])] }
        return selector
    }

    private mutating func clusterSelector() -> EndpointSelector {
        var networks = LabelSelector()
        if random.chance(30) { networks.matchLabels = ["zone": random.pick(["x", "y"])] }
        if random.chance(30) { networks.matchExpressions = [requirement(["zone", Network.nameLabel])] }
        return EndpointSelector(labels: labelSelector(), networkLabels: networks)
    }

    private mutating func requirement(_ keys: [String]) -> LabelRequirement {
        let condition = random.pick(LabelRequirement.Operator.allCases)
        let values = Set(random.some(1...2) { $0.pick(["x", "y", "shop", "lab"]) })
        let takesValues = condition == .isIn || condition == .isNotIn
        return LabelRequirement(random.pick(keys), condition, takesValues ? values : [])
    }

    static let domains = ["example.com", "*.example.com", "*.b.example.com", "*"]

    mutating func selector() -> EndpointSelector {
        var selector = EndpointSelector()
        if random.chance(60) { selector.matchLabels = World.labels(&random) }
        if random.chance(25) {
            selector.endpoints = Set(random.some(1...2) { $0.pick(World.names + ["container-a", "nobody"]) })
        }
        if random.chance(25) { selector.network = random.pick(["shop", "lab", "dmz", "gone"]) }
        return selector
    }

    private mutating func rules(
        _ count: ClosedRange<Int>, denies: Bool = false, domains: Bool = false
    ) throws -> [PolicyRule] {
        try (0..<Int.random(in: count, using: &random)).map { _ in
            let named =
                try domains && random.chance(30)
                ? random.some(1...2) { $0.pick(World.domains) }.map { .domain(try DomainPattern($0)) }
                : [PolicyPeer]()
            if !named.isEmpty, random.chance(40) {
                let first = random.pick([UInt16(80), 443, 8080])
                return PolicyRule(
                    peers: named, ports: [PortMatch(.tcp, first...first + (random.chance(50) ? 0 : 500))],
                    verifyHost: true)
            }
            return PolicyRule(
                peers: named.isEmpty && random.chance(25) ? nil : try peers((denies ? 1 : 0)...2) + named,
                ports: random.chance(40) ? nil : random.some(1...2) { World.range(&$0) },
                limit: !denies && random.chance(10) ? World.limit(&random) : nil)
        }
    }

    private mutating func peers(_ count: ClosedRange<Int>) throws -> [PolicyPeer] {
        try (0..<Int.random(in: count, using: &random)).map { _ in
            if random.chance(60) { return .endpoints(selector()) }
            let block = try block()
            let holes = try ["10.0.0.0/30", "10.0.0.3/32", "192.0.2.8/29", "fd00::2/128"].map { try CIDR($0) }
            let except = holes.filter { block.contains($0) }
            return .cidr(block, except: random.chance(40) ? except : [])
        }
    }

    private mutating func block() throws -> CIDR {
        try CIDR(
            random.pick([
                "10.0.0.0/24", "10.0.0.0/8", "0.0.0.0/0", "192.0.2.0/24", "fd00::/64", "fd00::/16", "::/0",
                "10.0.1.3/32",
            ]))
    }

    private static func ported(_ random: inout Seeded) -> PortMatch {
        while true {
            let port = range(&random)
            if port != PortMatch(.icmp) { return port }
        }
    }

    private static func range(_ random: inout Seeded) -> PortMatch {
        switch Int.random(in: 0..<5, using: &random) {
        case 0: PortMatch(.icmp)
        case 1: PortMatch(random.pick([.tcp, .udp, .sctp]))
        case 2:
            PortMatch(random.pick([.tcp, .udp]), random.pick([22...80, 80...443, 1...65_535, 444...8079]))
        default:
            { (port: UInt16) in PortMatch(random.pick([.tcp, .udp]), port...port) }(random.pick(ports))
        }
    }

    mutating func flow() throws -> Flow {
        let family: IPFamily = random.chance(50) ? .v4 : .v6
        return Flow(from: try side(family), to: try side(family), transport())
    }

    private mutating func side(_ family: IPFamily) throws -> FlowSide {
        if random.chance(80) { return try FlowSide(random.pick(members), family) }
        let outside =
            family == .v4 ? ["192.0.2.9", "192.0.2.200", "10.0.0.99"] : ["2001:db8::1", "fd00::99"]
        let names = ["example.com", "api.example.com", "a.b.example.com", "example.net"]
        return FlowSide(
            try IPAddress(random.pick(outside)), names: Set(random.some(0...2) { $0.pick(names) }))
    }

    private mutating func transport() -> FlowTransport {
        switch Int.random(in: 0..<10, using: &random) {
        case 0: .icmp
        case 1: random.chance(50) ? .other(47) : .sctp(random.pick(World.ports))
        case 2..<6: .udp(random.pick(World.ports))
        default: .tcp(random.pick(World.ports))
        }
    }
}
