/// A list of rules in a policy.
public enum RuleList: String, Hashable, Sendable, CaseIterable, Codable {
    /// The one ingress rule that a native policy's `allowPorts` and `trustedPeers` stand for.
    case trusted
    case ingress
    case egress
    case ingressDeny
    case egressDeny

    public var direction: Direction {
        switch self {
        case .trusted, .ingress, .ingressDeny: .ingress
        case .egress, .egressDeny: .egress
        }
    }

    /// The list is of a native policy and its rules deny.
    public var denies: Bool { self == .ingressDeny || self == .egressDeny }
}

/// Names one rule for people: `rule 2 of ingressDeny in policy web`.
public struct RuleReference: Hashable, Sendable, Codable, CustomStringConvertible {
    public let policy: PolicyID
    public let list: RuleList
    /// Counted from 1; always 1 in `RuleList.trusted`.
    public let number: Int
    /// What the rule's author calls it.
    public let name: String?
    public let tier: PolicyTier
    /// What the rule does to traffic, peers of unknown kinds considered.
    public let action: RuleAction

    public init(
        policy: PolicyID, list: RuleList, number: Int, name: String?, tier: PolicyTier, action: RuleAction
    ) {
        self.policy = policy
        self.list = list
        self.number = number
        self.name = name
        self.tier = tier
        self.action = action
    }

    /// A rule of a native policy.
    public init(policy: String, list: RuleList, number: Int = 1) {
        self.init(
            policy: .native(policy), list: list, number: number, name: nil, tier: .standard,
            action: list.denies ? .deny : .allow)
    }

    public var description: String {
        if list == .trusted { return "trusted peers and ports of policy \(policy)" }
        let rule = "rule \(number)" + (name.map { " \"\($0)\"" } ?? "") + " of \(list.rawValue) in "
        switch policy.dialect {
        case .native: return rule + "policy \(policy)"
        case .networkPolicy: return rule + "NetworkPolicy \(policy)"
        case .clusterNetworkPolicy:
            return rule + "ClusterNetworkPolicy \(policy.name) (\(tier.name))"
        }
    }
}

/// Why a packet may not pass: one value for the counter, the log, the CLI and the API.
public enum DenialReason: Hashable, Sendable, Codable, CustomStringConvertible {
    /// A network's isolation level, the stricter of the two.
    case isolation(IsolationLevel, network: String)
    /// A deny rule.
    case rule(RuleReference)
    /// No rule allows it in this direction, seen from the named endpoint.
    case defaultDeny(Direction, endpoint: String)
    /// The named endpoint is quarantined.
    case quarantine(endpoint: String)
    /// Neither side is an endpoint: the fabric carries nothing for others.
    case noEndpoint
    /// The sender used a MAC or an address that is not its own. Like the following, known to the packet path
    /// alone.
    case spoofedSource
    /// A limit that is no longer in force.
    case rateLimit
    /// More connections, packets or bits a second than a policy lets pass.
    case limit(ExceededLimit)
    /// The endpoint's network has a resolver, and rules allow others to be asked only where they name the port.
    case foreignResolver(network: String)
    /// A rule allows the connection for the hosts that it names, and the connection asked for none of them.
    case unverifiedHost
    /// A packet in the middle of a connection that is not known, or not any more.
    case notTracked
    /// The destination is an address of the network that no endpoint has.
    case noSuchPeer
    /// A rule of a policy that has been replaced or removed since.
    case formerRule

    public var description: String {
        switch self {
        case .isolation(let level, let network): "isolation (\(level.rawValue), network \(network))"
        case .rule(let rule): rule.description
        case .defaultDeny(let direction, let endpoint): "default deny (\(direction.rawValue) of \(endpoint))"
        case .quarantine(let endpoint): "quarantine (\(endpoint))"
        case .noEndpoint: "neither side is an endpoint"
        case .spoofedSource: "spoofed source"
        case .rateLimit: "rate limit"
        case .limit(let limit): "rate limit: \(limit)"
        case .foreignResolver(let network): "names are asked of the resolver of network \(network)"
        case .unverifiedHost: "it asks for no host that a rule allows"
        case .notTracked: "not part of a known connection"
        case .noSuchPeer: "no endpoint has the destination address"
        case .formerRule: "a rule that is no longer in force"
        }
    }
}

/// What lets a packet pass in one direction.
public enum Grant: Hashable, Sendable, Codable, CustomStringConvertible {
    case rule(RuleReference)
    /// A connection begins, and goes on once it has asked for a host that the rule allows.
    case verifiedRule(RuleReference)
    /// No policy selects the endpoint in this direction and its network's default is allow.
    case networkDefault(network: String)
    /// A question to the resolver of the endpoint's own network.
    case nameService(network: String)
    /// This side is not an endpoint, so nobody asks it.
    case outside

    public var description: String {
        switch self {
        case .rule(let rule): rule.description
        case .verifiedRule(let rule): "\(rule), for a host that it names"
        case .nameService(let network): "a question to the resolver of network \(network)"
        case .networkDefault(let network): "default allow of network \(network)"
        case .outside: "outside the fabric"
        }
    }
}

/// The outcome of an evaluation, with what decided it.
public enum Decision: Hashable, Sendable, Codable, CustomStringConvertible {
    /// The source's egress and the destination's ingress both allow it.
    case allowed(egress: Grant, ingress: Grant)
    /// An endpoint may always talk to itself.
    case sameEndpoint
    case denied(DenialReason)

    public var isAllowed: Bool { denial == nil }

    public var denial: DenialReason? {
        if case .denied(let reason) = self { reason } else { nil }
    }

    public var description: String {
        switch self {
        case .allowed(let egress, let ingress): "allowed: egress by \(egress), ingress by \(ingress)"
        case .sameEndpoint: "allowed: the same endpoint"
        case .denied(let reason): "denied: \(reason)"
        }
    }
}
