internal import Model
internal import Protos
internal import SwiftProtobuf
internal import Wire

// Policies keep the difference between "absent" and "empty" both ways: one means anyone, the other nobody.

extension FirewallPolicy {
    /// - Throws: with the field as a path below `policies`; what it means together is for the model to judge.
    init(_ message: Forge_Network_V1_Policy) throws(ModelError) {
        try Name.check(message.name, field: "policy")
        func field(_ name: String) -> String { "policy \(message.name): \(name)" }
        var directions: Set<Direction> = []
        for direction in message.directions {
            guard let known = Direction(direction) else {
                throw .invalid(field("directions"), "\(direction.rawValue)", "is neither ingress nor egress")
            }
            directions.insert(known)
        }
        func rules(_ name: String, _ messages: [Forge_Network_V1_Rule]) throws(ModelError) -> [PolicyRule] {
            var rules: [PolicyRule] = []
            for (index, message) in messages.enumerated() {
                rules.append(
                    PolicyRule(
                        peers: message.hasPeers
                            ? try readPeers(message.peers) { field("\(name)[\(index)].peers") } : nil,
                        ports: message.hasPorts
                            ? try readPorts(message.ports) { field("\(name)[\(index)].ports") } : nil,
                        limit: message.hasLimit ? TrafficLimit(message.limit) : nil,
                        verifyHost: message.verifyHost))
            }
            return rules
        }
        let mode: PolicyMode
        switch message.mode {
        case .unspecified, .enforce: mode = .enforce
        case .audit: mode = .audit
        case .UNRECOGNIZED:
            throw .invalid(field("mode"), "\(message.mode.rawValue)", "is neither enforce nor audit")
        }
        let limits = EndpointLimits(message.limits)
        if message.hasRateLimit, let limit = limits.ingress.connections, limit != Int(message.rateLimit) {
            throw .invalid(
                field("rateLimit"), "\(message.rateLimit)",
                "is short for limits.ingress.connections, which is \(limit)")
        }
        self.init(
            name: message.name, selector: EndpointSelector(message.selector),
            directions: directions.isEmpty ? [.ingress, .egress] : directions,
            allowPorts: message.hasAllowPorts
                ? try readPorts(message.allowPorts) { field("allowPorts") } : nil,
            trustedPeers: message.hasTrustedPeers
                ? try readPeers(message.trustedPeers) { field("trustedPeers") } : nil,
            rateLimit: message.hasRateLimit ? Int(message.rateLimit) : nil, limits: limits,
            ingress: try rules("ingress", message.ingress), egress: try rules("egress", message.egress),
            ingressDeny: try rules("ingressDeny", message.ingressDeny),
            egressDeny: try rules("egressDeny", message.egressDeny))
        self.mode = mode
    }
}

/// - Parameter path: names the field; asked for where something is wrong.
private func readPorts(_ message: Forge_Network_V1_PortRanges, _ path: () -> String) throws(ModelError)
    -> [PortMatch]
{
    var ranges: [PortMatch] = []
    for (index, range) in message.ranges.enumerated() {
        var field: String { "\(path())[\(index)]" }
        guard range.name.isEmpty else {
            throw .invalid(field, range.name, "a native policy speaks of ports by number")
        }
        guard let transport = TransportProtocol(range.protocol) else {
            throw .invalid(
                field, "\(range.protocol.rawValue)", "the protocol must be TCP, UDP, SCTP or ICMP")
        }
        if range.first == 0, range.last == 0 {
            ranges.append(PortMatch(transport))
            continue
        }
        let last = range.last == 0 ? range.first : range.last
        guard transport != .icmp else { throw .invalid(field, "\(range.first)", "ICMP has no ports") }
        guard range.first >= 1, range.first <= last, let first = UInt16(exactly: range.first),
            let last = UInt16(exactly: last)
        else {
            throw .invalid(
                field, "\(range.first)-\(last)", "ports are 1 to 65535, the first not above the last")
        }
        ranges.append(PortMatch(transport, first...last))
    }
    return ranges
}

private func readPeers(_ message: Forge_Network_V1_Peers, _ path: () -> String) throws(ModelError)
    -> [PolicyPeer]
{
    var peers: [PolicyPeer] = []
    for (index, peer) in message.peers.enumerated() {
        var field: String { "\(path())[\(index)]" }
        switch peer.kind {
        case .endpoints(let selector): peers.append(.endpoints(EndpointSelector(selector)))
        case .block(let block):
            var except: [CIDR] = []
            for text in block.except {
                except.append(
                    try parse(field + ".except", text) { text throws(ParseError) in try CIDR(text) })
            }
            let cidr = try parse(field + ".cidr", block.cidr) { text throws(ParseError) in try CIDR(text) }
            peers.append(.cidr(cidr, except: except))
        case .domain(let name):
            peers.append(
                .domain(
                    try parse(field, name) { text throws(ParseError) in
                        try DomainPattern(text)
                    }))
        case nil: throw .invalid(field, "", "must be endpoints, a block or a domain")
        }
    }
    return peers
}

extension EndpointSelector {
    fileprivate init(_ message: Forge_Network_V1_Selector) {
        self.init(
            matchLabels: message.matchLabels,
            endpoints: message.hasEndpoints ? Set(message.endpoints.names) : nil,
            network: message.vnet.isEmpty ? nil : message.vnet)
    }
}

extension Direction {
    fileprivate init?(_ message: Forge_Network_V1_Direction) {
        switch message {
        case .ingress: self = .ingress
        case .egress: self = .egress
        case .unspecified, .UNRECOGNIZED: return nil
        }
    }
}

extension TransportProtocol {
    init?(_ message: Forge_Network_V1_Protocol) {
        switch message {
        case .tcp: self = .tcp
        case .udp: self = .udp
        case .sctp: self = .sctp
        case .icmp: self = .icmp
        case .unspecified, .UNRECOGNIZED: return nil
        }
    }
}

extension Forge_Network_V1_Policy {
    init(_ policy: FirewallPolicy) {
        self.init()
        name = policy.name
        selector = .init(policy.selector)
        directions = Direction.allCases.filter(policy.directions.contains).map { .init($0) }
        dialect = .init(policy.id.dialect)
        tier = policy.tier.name
        switch policy.tier {
        case .admin(let value), .baseline(let value): priority = UInt32(clamping: value)
        case .standard: break
        }
        self.rules = UInt32(clamping: policy.rules.count)
        document = policy.yaml
        mode = policy.mode == .audit ? .audit : .enforce
        // The lists are the native dialect's; what is written in another one stands in `document`.
        guard policy.id.dialect == .native else { return }
        if let ports = policy.allowPorts { allowPorts = .init(ports) }
        if let peers = policy.trustedPeers { trustedPeers = .init(peers) }
        if let limit = policy.rateLimit { rateLimit = UInt32(clamping: limit) }
        if !policy.limits.isEmpty { limits = .init(policy.limits) }
        ingress = policy.ingress.map { .init($0) }
        egress = policy.egress.map { .init($0) }
        ingressDeny = policy.ingressDeny.map { .init($0) }
        egressDeny = policy.egressDeny.map { .init($0) }
    }
}

extension Forge_Network_V1_Selector {
    fileprivate init(_ selector: EndpointSelector) {
        self.init()
        matchLabels = selector.matchLabels
        if let names = selector.endpoints { endpoints = .with { $0.names = names.sorted() } }
        vnet = selector.network ?? ""
        matchExpressions = selector.labels.matchExpressions.map { .init($0) }
        vnetLabels = selector.networkLabels.matchLabels
        vnetExpressions = selector.networkLabels.matchExpressions.map { .init($0) }
    }
}

extension Forge_Network_V1_LabelRequirement {
    fileprivate init(_ requirement: LabelRequirement) {
        self.init()
        key = requirement.key
        `operator` = requirement.condition.rawValue
        values = requirement.values.sorted()
    }
}

extension Forge_Network_V1_Policy.Dialect {
    fileprivate init(_ dialect: PolicyID.Dialect) {
        switch dialect {
        case .native: self = .native
        case .networkPolicy: self = .networkPolicy
        case .clusterNetworkPolicy: self = .clusterNetworkPolicy
        }
    }
}

extension Forge_Network_V1_Rule {
    fileprivate init(_ rule: PolicyRule) {
        self.init()
        if let peers = rule.peers { self.peers = .init(peers) }
        if let ports = rule.ports { self.ports = .init(ports) }
        if let limit = rule.limit { self.limit = .init(limit) }
        verifyHost = rule.verifyHost
    }
}

extension Forge_Network_V1_Peers {
    fileprivate init(_ peers: [PolicyPeer]) {
        self.init()
        self.peers = peers.map { peer in
            .with {
                switch peer {
                case .endpoints(let selector): $0.endpoints = .init(selector)
                case .cidr(let cidr, let except):
                    $0.block = .with {
                        $0.cidr = cidr.description
                        $0.except = except.map(\.description)
                    }
                case .domain(let pattern): $0.domain = pattern.description
                // No native policy has one.
                case .unknown: break
                }
            }
        }
    }
}

extension Forge_Network_V1_PortRanges {
    fileprivate init(_ ports: [PortMatch]) {
        self.init()
        ranges = ports.map { port in
            .with {
                switch port {
                case .named(let name, let transport):
                    $0.name = name
                    if let transport { $0.protocol = .init(transport) }
                case .range(let range):
                    $0.protocol = .init(range.transport)
                    guard range.ports != 0...UInt16.max else { return }
                    $0.first = UInt32(range.ports.lowerBound)
                    $0.last = UInt32(range.ports.upperBound)
                }
            }
        }
    }
}

extension Forge_Network_V1_Protocol {
    init(_ transport: TransportProtocol) {
        switch transport {
        case .tcp: self = .tcp
        case .udp: self = .udp
        case .sctp: self = .sctp
        case .icmp: self = .icmp
        }
    }
}

extension Forge_Network_V1_Direction {
    init(_ direction: Direction) {
        switch direction {
        case .ingress: self = .ingress
        case .egress: self = .egress
        }
    }
}
