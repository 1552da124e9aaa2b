public import Wire

/// Policy values are coded in the words of the policy file, so that stored and printed documents are
/// readable.

extension PortRange: CustomStringConvertible {
    /// Reads `80/tcp`, `8000-8100/udp`, `80` (TCP), or a protocol alone for all its ports: `tcp`, `udp`,
    /// `sctp`, `icmp`.
    public init(_ text: some StringProtocol) throws(ParseError) {
        func refuse(_ reason: String) -> ParseError { ParseError("port", text, reason) }
        if let transport = TransportProtocol(rawValue: String(text)) {
            self.init(transport)
            return
        }
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let transport = parts.count == 2 ? TransportProtocol(rawValue: String(parts[1])) : .tcp else {
            throw refuse("the protocol must be tcp, udp, sctp or icmp")
        }
        guard transport != .icmp else { throw refuse("icmp has no ports; write icmp") }
        let ends = parts[0].split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false).map {
            port($0)
        }
        guard let first = ends.first ?? nil, let last = ends.last ?? nil else {
            throw refuse("expected ports from 1 to 65535 such as 80/tcp or 8000-8100/udp")
        }
        guard first <= last else { throw refuse("the range ends before it begins") }
        self.init(transport, first...last)
    }

    /// The form that `init(_:)` reads.
    public var description: String {
        if ports == 0...UInt16.max { return transport.rawValue }
        let numbers = ports.count == 1 ? "\(ports.lowerBound)" : "\(ports.lowerBound)-\(ports.upperBound)"
        return "\(numbers)/\(transport.rawValue)"
    }
}

/// Decimal digits without sign or leading zeros.
private func port(_ text: some StringProtocol) -> UInt16? {
    guard text.utf8.allSatisfy({ (48...57).contains($0) }), text.utf8.first != 48 else { return nil }
    return UInt16(text)
}

extension PortRange {
    public init(from decoder: any Decoder) throws {
        try self.init(decoder.singleValueContainer().decode(String.self))
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

extension NamedPort: CustomStringConvertible {
    /// Reads `http=80/tcp`, `dns=53/udp`, or `http=80` (TCP).
    public init(_ text: some StringProtocol) throws(ParseError) {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2 else {
            throw ParseError("port", text, "expected name=port such as http=80/tcp")
        }
        let range = try PortRange(parts[1])
        guard range.ports.count == 1 else {
            throw ParseError("port", text, "a name stands for one port such as http=80/tcp")
        }
        self.init(String(parts[0]), range.ports.lowerBound, range.transport)
    }

    /// The form that `init(_:)` reads.
    public var description: String { "\(name)=\(number)/\(transport.rawValue)" }
}

extension PortMatch: CustomStringConvertible {
    /// As `PortRange`; a named port as `web/tcp`, or `web` where its protocol does not matter.
    public var description: String {
        switch self {
        case .range(let range): range.description
        case .named(let name, let transport): name + (transport.map { "/\($0.rawValue)" } ?? "")
        }
    }

    /// Stands before a name in stored text, where `tcp` and a port called tcp must differ.
    private static let nameMark = "name:"

    public init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        guard text.hasPrefix(PortMatch.nameMark) else {
            self = .range(try PortRange(text))
            return
        }
        let parts = text.dropFirst(PortMatch.nameMark.count).split(separator: "/", maxSplits: 1)
        self = .named(
            parts.first.map(String.init) ?? "",
            parts.count == 2 ? TransportProtocol(rawValue: String(parts[1])) : nil)
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        if case .named = self {
            try container.encode(PortMatch.nameMark + description)
        } else {
            try container.encode(description)
        }
    }
}

extension EndpointSelector: Codable {
    private enum CodingKeys: String, CodingKey {
        case labels, expressions, networkLabels, names, network
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            labels: LabelSelector(
                try container.decodeIfPresent(Labels.self, forKey: .labels) ?? [:],
                try container.decodeIfPresent([LabelRequirement].self, forKey: .expressions) ?? []),
            networkLabels: try container.decodeIfPresent(LabelSelector.self, forKey: .networkLabels)
                ?? LabelSelector(),
            endpoints: try container.decodeIfPresent(Set<String>.self, forKey: .names),
            network: try container.decodeIfPresent(String.self, forKey: .network))
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        if !labels.matchLabels.isEmpty { try container.encode(labels.matchLabels, forKey: .labels) }
        if !labels.matchExpressions.isEmpty {
            try container.encode(labels.matchExpressions, forKey: .expressions)
        }
        if !networkLabels.matchesEverything { try container.encode(networkLabels, forKey: .networkLabels) }
        try container.encodeIfPresent(endpoints?.sorted(), forKey: .names)
        try container.encodeIfPresent(network, forKey: .network)
    }
}

extension PolicyPeer {
    private enum CodingKeys: String, CodingKey {
        case cidr, except, domain, unknown
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        guard !container.contains(.unknown) else {
            self = .unknown
            return
        }
        if let pattern = try container.decodeIfPresent(DomainPattern.self, forKey: .domain) {
            self = .domain(pattern)
            return
        }
        guard let block = try container.decodeIfPresent(CIDR.self, forKey: .cidr) else {
            self = .endpoints(try EndpointSelector(from: decoder))
            return
        }
        self = .cidr(block, except: try container.decodeIfPresent([CIDR].self, forKey: .except) ?? [])
    }

    public func encode(to encoder: any Encoder) throws {
        switch self {
        case .endpoints(let selector): try selector.encode(to: encoder)
        case .cidr(let block, let except):
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(block, forKey: .cidr)
            if !except.isEmpty { try container.encode(except, forKey: .except) }
        case .domain(let pattern):
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(pattern, forKey: .domain)
        case .unknown:
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(true, forKey: .unknown)
        }
    }
}

extension PolicyRule {
    private enum CodingKeys: String, CodingKey { case list, action, name, peers, ports, limit, verifyHost }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            try container.decode(RuleList.self, forKey: .list),
            try container.decode(RuleAction.self, forKey: .action),
            name: try container.decodeIfPresent(String.self, forKey: .name),
            peers: try container.decodeIfPresent([PolicyPeer].self, forKey: .peers),
            ports: try container.decodeIfPresent([PortMatch].self, forKey: .ports),
            limit: try container.decodeIfPresent(TrafficLimit.self, forKey: .limit),
            verifyHost: try container.decodeIfPresent(Bool.self, forKey: .verifyHost) ?? false)
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(list, forKey: .list)
        try container.encode(action, forKey: .action)
        try container.encodeIfPresent(name, forKey: .name)
        try container.encodeIfPresent(peers, forKey: .peers)
        try container.encodeIfPresent(ports, forKey: .ports)
        try container.encodeIfPresent(limit, forKey: .limit)
        if verifyHost { try container.encode(true, forKey: .verifyHost) }
    }
}

extension FirewallPolicy {
    private enum CodingKeys: String, CodingKey {
        case id, tier, selector, directions, rateLimit, limits, rules, mode
        // As policies were stored when there was only the native dialect.
        case name, allowPorts, trustedPeers, ingress, egress, ingressDeny, egressDeny
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        let selector = try container.decode(EndpointSelector.self, forKey: .selector)
        let directions = try container.decode(Set<Direction>.self, forKey: .directions)
        let rateLimit = try container.decodeIfPresent(Int.self, forKey: .rateLimit)
        if let id = try container.decodeIfPresent(PolicyID.self, forKey: .id) {
            self.init(
                id: id, tier: try container.decode(PolicyTier.self, forKey: .tier), selector: selector,
                directions: directions,
                limits: try container.decodeIfPresent(EndpointLimits.self, forKey: .limits)
                    ?? EndpointLimits(ingress: TrafficLimit(connections: rateLimit)),
                rules: try container.decode([PolicyRule].self, forKey: .rules))
            mode = try container.decodeIfPresent(PolicyMode.self, forKey: .mode) ?? .enforce
            return
        }
        func rules(_ key: CodingKeys) throws -> [PolicyRule] {
            try container.decode([FormerRule].self, forKey: key).map {
                PolicyRule(peers: $0.peers, ports: $0.ports)
            }
        }
        self.init(
            name: try container.decode(String.self, forKey: .name), selector: selector,
            directions: directions,
            allowPorts: try container.decodeIfPresent([PortMatch].self, forKey: .allowPorts),
            trustedPeers: try container.decodeIfPresent([PolicyPeer].self, forKey: .trustedPeers),
            rateLimit: rateLimit, ingress: try rules(.ingress), egress: try rules(.egress),
            ingressDeny: try rules(.ingressDeny), egressDeny: try rules(.egressDeny))
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(id, forKey: .id)
        try container.encode(tier, forKey: .tier)
        try container.encode(selector, forKey: .selector)
        try container.encode(directions, forKey: .directions)
        if limitsAreShort {
            try container.encode(rateLimit, forKey: .rateLimit)
        } else if !limits.isEmpty {
            try container.encode(limits, forKey: .limits)
        }
        try container.encode(rules, forKey: .rules)
        if mode != .enforce { try container.encode(mode, forKey: .mode) }
    }
}

/// A rule as it was stored when its list told what it does.
private struct FormerRule: Decodable {
    let peers: [PolicyPeer]?
    let ports: [PortMatch]?
}
