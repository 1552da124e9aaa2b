internal import Firewall
internal import Model
internal import Wire

/// Bytes as choices: each asks for one byte, and after the last all choices are the first.
private struct Choices {
    private var rest: ArraySlice<UInt8>

    init(_ bytes: [UInt8]) { rest = bytes[...] }

    var isAtEnd: Bool { rest.isEmpty }

    mutating func number(below bound: Int) -> Int { Int(rest.popFirst() ?? 0) % bound }
    mutating func pick<T>(_ choices: [T]) -> T { choices[number(below: choices.count)] }
    mutating func some<T>(_ most: Int, _ make: (inout Choices) -> T) -> [T] {
        (0..<number(below: most + 1)).map { _ in make(&self) }
    }
}

/// A fabric that the bytes change step by step, and the compiler that follows it.
///
/// What must hold after the last step: the compiler judges every flow as the pure evaluation does, the
/// differences that it returned add up to its rows, those are what a compiler makes that knows the last state
/// alone, and no two runs of addresses or ports overlap, which the kernel would refuse.
func compilePolicies(_ bytes: [UInt8]) -> String? {
    var world = CompilerWorld(Choices(bytes))
    // More than this is the same again.
    for _ in 0..<64 {
        if world.isDone { break }
        if let violation = world.step() { return violation }
    }
    return world.violation()
}

private struct CompilerWorld {
    private var choices: Choices
    private var networks: [String: Network] = [:]
    private var endpoints: [Int: Endpoint] = [:]
    private var policies: [String: FirewallPolicy] = [:]
    private var compiler = PolicyCompiler()
    private var rows: [Row: UInt32] = [:]
    /// By endpoint, known or not: the addresses outside that it was told, and their names.
    private var told: [Int: [IPAddress: Set<String>]] = [:]

    private static let ports: [UInt16] = [1, 53, 80, 81, 443, 853, 65535]
    private static let outside = ["192.0.2.7", "10.1.0.200", "2001:db8::7"].compactMap { try? IPAddress($0) }
    private static let blocks = [
        "0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/24", "10.1.0.2/31", "10.1.0.3/32", "10.2.0.0/25", "192.0.2.0/24",
        "255.255.255.255/32", "::/0", "fd00:1::/64", "fd00:1::2/127", "2001:db8::/32",
    ].compactMap { try? CIDR($0) }

    init(_ choices: Choices) {
        self.choices = choices
        for index in 0..<2 { setNetwork(index) }
    }

    var isDone: Bool { choices.isAtEnd }

    // MARK: Steps

    mutating func step() -> String? {
        switch choices.number(below: 9) {
        case 8:
            let (index, address) = (choices.number(below: 6), choices.pick(Self.outside))
            let names = Set(choices.some(2) { $0.pick(["a.example", "b.a.example", "c.test"]) })
            told[index, default: [:]][address] = names.isEmpty ? nil : names
            return follow(compiler.setNames(names, of: address, toldTo: "id\(index)"))
        case 0:
            setNetwork(choices.number(below: 2))
            return follow(nil)
        case 1:
            let index = choices.number(below: 6)
            guard let gone = endpoints.removeValue(forKey: index) else { return nil }
            return follow(compiler.removeEndpoint(id: gone.id))
        case 2, 3:
            let endpoint = endpoint(choices.number(below: 6))
            return follow(compiler.setEndpoint(endpoint))
        case 4:
            let name = name()
            policies[name] = nil
            return follow(compiler.setPolicies([], removing: [name]))
        default:
            let policy = policy(name())
            // What validation refuses never reaches the compiler.
            guard policy.problems().isEmpty else { return nil }
            policies[policy.name] = policy
            return follow(compiler.setPolicies([policy]))
        }
    }

    private mutating func setNetwork(_ index: Int) {
        let name = "net\(index + 1)"
        let bits = UInt128(index + 1)
        let network = Network(
            id: name, name: name,
            subnets: [
                CIDR(containing: IPAddress(.v4, bits: 10 << 24 | bits << 16), prefixLength: 24),
                CIDR(containing: IPAddress(.v6, bits: 0xfd00 << 112 | bits << 96), prefixLength: 64),
            ],
            isolation: choices.pick([.none, .none, .none, .peerOnly]),
            defaultVerdict: choices.pick([.deny, .allow]), mtu: 1500,
            labels: choices.pick([[:], ["zone": "a"], ["zone": "b"]]), nat: index == 0,
            dns: index == 0 ? DNSSettings() : nil)
        networks[name] = network
        let delta = compiler.setNetwork(network)
        apply(delta)
    }

    private mutating func endpoint(_ index: Int) -> Endpoint {
        let network = "net\(index % 2 + 1)"
        let endpoint = Endpoint(
            id: "id\(index)", containerID: "c\(index)", networkID: network, name: "e\(index)",
            labels: choices.pick([[:], ["app": "a"], ["app": "b"], ["app": "a", "tier": "x"]]),
            addresses: networks[network]?.subnets.compactMap { $0.address(at: UInt128(index / 2 + 2)) } ?? [],
            mac: MACAddress(bits: 2 << 40 | UInt64(index)), interfaceName: "eth0",
            namespace: NamespaceReference(path: "/", device: 0, inode: 0),
            ports: choices.some(2) { choices in
                NamedPort(
                    choices.pick(["web", "dns"]), choices.pick(Self.ports), choices.pick([.tcp, .udp]))
            })
        endpoints[index] = endpoint
        return endpoint
    }

    // MARK: Policies

    private mutating func name() -> String { choices.pick(["p", "q", "r", "s", "t"]) }

    private mutating func policy(_ name: String) -> FirewallPolicy {
        let selector = selector()
        let priority = choices.number(below: 3)
        let isStandard = choices.number(below: 2) == 0
        var policy = FirewallPolicy(
            id: isStandard ? .native(name) : .clusterNetworkPolicy(name),
            tier: isStandard
                ? .standard : choices.pick([.admin(priority: priority), .baseline(priority: priority)]),
            selector: selector, directions: choices.pick([[.ingress], [.egress], [.ingress, .egress]]))
        if choices.number(below: 4) == 0 { policy.mode = .audit }
        for _ in 0..<choices.number(below: 5) {
            let list: RuleList
            let action: RuleAction
            if isStandard {
                list = choices.pick([.ingress, .egress, .ingressDeny, .egressDeny])
                action = list.denies ? .deny : .allow
            } else {
                list = choices.pick([.ingress, .egress])
                action = choices.pick([.allow, .deny, .pass])
            }
            var peers = peers()
            if list == .egress, action == .allow, choices.number(below: 3) == 0 {
                let domains = ["a.example", "*.example", "*"].compactMap { try? DomainPattern($0) }
                peers = (peers ?? []) + [.domain(choices.pick(domains))]
            }
            var rule = PolicyRule(list, action, peers: peers, ports: ports())
            if !rule.domains.isEmpty, choices.number(below: 2) == 0 {
                rule.peers = rule.domains.map { .domain($0) }
                let (a, b) = (choices.pick(Self.ports), choices.pick(Self.ports))
                rule.ports = [PortMatch(.tcp, min(a, b)...max(a, b))]
                rule.verifyHost = isStandard
            }
            policy.rules.append(rule)
        }
        return policy
    }

    private mutating func selector() -> EndpointSelector {
        switch choices.number(below: 8) {
        case 0: EndpointSelector()
        case 1: EndpointSelector(endpoints: ["e\(choices.number(below: 6))", "c1"])
        case 2: EndpointSelector(network: choices.pick(["net1", "net2", "net3"]))
        case 3:
            EndpointSelector(
                labels: LabelSelector([:], [requirement("app", ["a", "b"])]), networkLabels: LabelSelector())
        case 4:
            EndpointSelector(
                labels: LabelSelector(),
                networkLabels: LabelSelector(
                    [:], [requirement(choices.pick(["zone", Network.nameLabel]), ["a", "net1"])]))
        default: EndpointSelector(matchLabels: choices.pick([["app": "a"], ["app": "b"], ["tier": "x"]]))
        }
    }

    private mutating func requirement(_ key: String, _ values: [String]) -> LabelRequirement {
        let condition = choices.pick(LabelRequirement.Operator.allCases)
        let takesValues = condition == .isIn || condition == .isNotIn
        return LabelRequirement(key, condition, takesValues ? [choices.pick(values)] : [])
    }

    private mutating func peers() -> [PolicyPeer]? {
        if choices.number(below: 4) == 0 { return nil }
        return choices.some(3) { _ in () }.map { _ in
            switch choices.number(below: 8) {
            case 0: return .unknown
            case 1, 2, 3:
                let block = choices.pick(Self.blocks)
                let inner = choices.some(2) { $0.pick(Self.blocks) }
                return .cidr(block, except: inner.filter { block.contains($0) })
            default: return .endpoints(selector())
            }
        }
    }

    private mutating func ports() -> [PortMatch]? {
        if choices.number(below: 3) == 0 { return nil }
        return choices.some(3) { _ in () }.map { _ in
            switch choices.number(below: 6) {
            case 0: return PortMatch(.icmp)
            case 1: return PortMatch(choices.pick([.tcp, .udp, .sctp]))
            case 2: return .named(choices.pick(["web", "dns"]), choices.pick([nil, .tcp, .udp]))
            default:
                let (a, b) = (choices.pick(Self.ports), choices.pick(Self.ports))
                return PortMatch(choices.pick([.tcp, .udp, .sctp]), min(a, b)...max(a, b))
            }
        }
    }

    // MARK: What must hold

    private mutating func apply(_ delta: RulesetDelta) {
        for one in delta.removed { rows[one.row] = nil }
        for one in delta.added { rows[one.row] = one.value }
    }

    private mutating func follow(_ delta: RulesetDelta?) -> String? {
        for one in delta?.removed ?? [] where rows[one.row] != one.value { return "\(one.row) was not there" }
        let removed = Set((delta?.removed ?? []).map(\.row))
        for one in delta?.added ?? [] where rows[one.row] != nil && !removed.contains(one.row) {
            return "\(one.row) was there"
        }
        if let delta { apply(delta) }
        return rows == compiler.rows ? nil : "the differences do not add up to the rows"
    }

    func violation() -> String? {
        var anew = PolicyCompiler()
        for network in networks.values { anew.setNetwork(network) }
        for endpoint in endpoints.values { _ = anew.setEndpoint(endpoint) }
        _ = anew.setPolicies(Array(policies.values))
        for (index, known) in told {
            for (address, names) in known { _ = anew.setNames(names, of: address, toldTo: "id\(index)") }
        }
        if anew.rowCount != compiler.rowCount { return "the way to a state shows in its rows" }
        return overlap() ?? disagreement()
    }

    /// Runs of one set that overlap.
    private func overlap() -> String? {
        var runs: [String: [ClosedRange<UInt128>]] = [:]
        for row in rows.keys {
            switch row {
            case .segment(let direction, let subject, let first, let last):
                guard first <= last else { return "\(row) ends before it begins" }
                runs["\(direction) \(subject) \(first.family)", default: []].append(first.bits...last.bits)
            case .port(let number, let range):
                runs["\(number)", default: []].append(UInt128(range.lowerBound)...UInt128(range.upperBound))
            case .exception(let quarantine, let first, let last):
                guard first <= last else { return "\(row) ends before it begins" }
                runs["quarantine \(quarantine) \(first.family)", default: []].append(first.bits...last.bits)
            case .identity, .pair, .named, .quarantined, .limited, .connections, .rulePackets, .ruleBandwidth,
                .packets:
                break
            }
        }
        for (set, ranges) in runs {
            let sorted = ranges.sorted { $0.lowerBound < $1.lowerBound }
            for (one, next) in zip(sorted, sorted.dropFirst()) where one.upperBound >= next.lowerBound {
                return "overlapping runs in \(set)"
            }
        }
        return nil
    }

    private func disagreement() -> String? {
        let members = endpoints.values.compactMap { endpoint in
            networks[endpoint.networkID].map { NetworkMember(endpoint, in: $0) }
        }
        let set = PolicySet(policies.values, members: members)
        let sides =
            members.flatMap { member in member.endpoint.addresses.map { FlowSide($0, member) } }
            + Self.outside.map { FlowSide($0) }
        for from in sides {
            for to in sides
            where from.address.family == to.address.family && (from.member ?? to.member) != nil {
                for transport in Self.transports {
                    let known = from.member.flatMap { told[Int($0.endpoint.id.dropFirst(2)) ?? -1] }
                    let named = FlowSide(to.address, to.member, names: known?[to.address] ?? [])
                    let flow = Flow(from: from, to: named, transport)
                    let (l4proto, port) = Self.numbers(transport, from.address.family)
                    let outcome = compiler.judge(
                        from: from.address, to: to.address, l4proto: l4proto, port: port)
                    let decision = set.evaluate(flow)
                    if case .allowed(.verifiedRule, _) = decision {
                        guard outcome == .unverifiedHost else {
                            return "\(from.address) to \(to.address) \(transport): \(outcome) but \(decision)"
                        }
                        continue
                    }
                    guard outcome.isDenial != decision.isAllowed else {
                        return "\(from.address) to \(to.address) \(transport): \(outcome) but \(decision)"
                    }
                    guard outcome.isDenial || outcome.isAudit == (set.audit(flow) != nil) else {
                        return "\(from.address) to \(to.address) \(transport): audit differs from \(outcome)"
                    }
                    if case .rule(let rule) = decision.denial, compiler.rule(of: outcome) != rule {
                        return "\(from.address) to \(to.address) \(transport): not by \(rule)"
                    }
                }
            }
        }
        return nil
    }

    private static let transports: [FlowTransport] =
        [.icmp, .other(47), .sctp(80)] + ports.flatMap { [.tcp($0), .udp($0)] }

    private static func numbers(_ transport: FlowTransport, _ family: IPFamily) -> (UInt8, UInt16) {
        switch transport {
        case .tcp(let port): (6, port)
        case .udp(let port): (17, port)
        case .sctp(let port): (132, port)
        case .icmp: (family == .v4 ? 1 : 58, 0)
        case .other(let number): (number, 0)
        }
    }
}
