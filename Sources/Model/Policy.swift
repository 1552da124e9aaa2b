public import Wire

/// The direction of traffic, seen from the endpoint that a policy selects.
public enum Direction: String, Hashable, Sendable, CaseIterable, Codable {
    case ingress
    case egress
}

/// When a policy is asked. The tiers are asked in this order, and inside the first and the last the lower
/// priority comes first.
public enum PolicyTier: Hashable, Sendable, Codable {
    /// Before all others: what it decides, nobody can change.
    case admin(priority: Int)
    /// Native policies and `NetworkPolicy`: an endpoint selected here may do what they allow and no more.
    case standard
    /// Asked only where no policy of the standard tier selects the endpoint.
    case baseline(priority: Int)

    /// Smaller is asked first.
    var rank: (tier: Int, priority: Int) {
        switch self {
        case .admin(let priority): (0, priority)
        case .standard: (1, 0)
        case .baseline(let priority): (2, priority)
        }
    }

    /// The tier's name without its priority.
    public var name: String {
        switch self {
        case .admin: "admin"
        case .standard: "standard"
        case .baseline: "baseline"
        }
    }
}

/// Whether a policy's word counts.
public enum PolicyMode: String, Hashable, Sendable, CaseIterable, Codable {
    case enforce
    /// It decides nothing, neither allows nor denies: what it would deny of what passes is counted and told.
    case audit
}

/// What a rule does to traffic that it matches.
public enum RuleAction: String, Hashable, Sendable, CaseIterable, Codable {
    case allow
    case deny
    /// Leaves it to the tiers after the policy's own. Has no place in the standard tier.
    case pass
}

/// The other side of a flow.
public enum PolicyPeer: Hashable, Sendable, Codable {
    /// Endpoints of the fabric.
    case endpoints(EndpointSelector)
    /// Any address of a block, an endpoint's too, but not of these blocks inside it.
    case cidr(CIDR, except: [CIDR])
    /// Addresses outside the fabric that the resolver told the endpoint for such a name. In rules that allow
    /// what goes out, and in no others.
    case domain(DomainPattern)
    /// A kind that this program does not know. It fails closed: see `PolicyRule.effect`.
    case unknown
}

/// One rule: what it does, and the peers and ports that it speaks of.
public struct PolicyRule: Hashable, Sendable, Codable {
    /// Where in its policy it stands, which tells its direction.
    public var list: RuleList
    public var action: RuleAction
    /// What its author calls it.
    public var name: String?
    /// nil means anyone, inside the fabric and outside; an empty list nobody.
    public var peers: [PolicyPeer]?
    /// nil means all ports of all protocols.
    public var ports: [PortMatch]?
    /// Bounds on what the rule allows, for each selected endpoint by itself.
    public var limit: TrafficLimit?
    /// What it allows passes once the connection has asked for one of its domains, in the SNI of TLS
    /// (RFC 6066 section 3) or the Host of HTTP (RFC 9110 section 7.2).
    public var verifyHost: Bool

    public init(
        _ list: RuleList, _ action: RuleAction, name: String? = nil, peers: [PolicyPeer]? = nil,
        ports: [PortMatch]? = nil, limit: TrafficLimit? = nil, verifyHost: Bool = false
    ) {
        self.list = list
        self.action = action
        self.name = name
        self.peers = peers
        self.ports = ports
        self.limit = limit
        self.verifyHost = verifyHost
    }

    /// A rule whose place is said by the list that it is put into.
    public init(
        peers: [PolicyPeer]? = nil, ports: [PortMatch]? = nil, limit: TrafficLimit? = nil,
        verifyHost: Bool = false
    ) {
        self.init(.ingress, .allow, peers: peers, ports: ports, limit: limit, verifyHost: verifyHost)
    }

    public var direction: Direction { list.direction }

    /// What the rule comes to when peers of unknown kinds fail closed: those that it would allow match
    /// nobody, and a denial or a pass becomes a denial of everybody.
    public var effect: (action: RuleAction, peers: [PolicyPeer]?) {
        guard let peers, peers.contains(.unknown) else { return (action, peers) }
        return action == .allow ? (.allow, peers.filter { $0 != .unknown }) : (.deny, nil)
    }
}

/// What the endpoints that it selects may do: the one form that the native policy file, `NetworkPolicy` and
/// `ClusterNetworkPolicy` are read into.
public struct FirewallPolicy: Hashable, Sendable, Codable {
    public var id: PolicyID
    public var tier: PolicyTier
    public var selector: EndpointSelector
    /// In the standard tier: directions in which the selected endpoints may do only what policies allow.
    public var directions: Set<Direction>
    /// Bounds that hold for each selected endpoint by itself, whatever `directions` says.
    public var limits: EndpointLimits
    /// By list, and in each list in the order in which they are asked. In the standard tier a denial beats
    /// whatever is allowed; in the others the first rule that matches decides.
    public var rules: [PolicyRule]
    public var mode = PolicyMode.enforce

    public init(
        id: PolicyID, tier: PolicyTier = .standard, selector: EndpointSelector, directions: Set<Direction>,
        limits: EndpointLimits = EndpointLimits(), rules: [PolicyRule] = []
    ) {
        self.id = id
        self.tier = tier
        self.selector = selector
        self.directions = directions
        self.limits = limits
        self.rules = rules
    }

    /// What the policy is known by: unique among policies of all dialects.
    public var name: String { id.description }

    /// The rules of a list, in order.
    public func rules(_ list: RuleList) -> [PolicyRule] { rules.filter { $0.list == list } }

    /// Every rule with the reference that names it.
    public var referencedRules: [(rule: PolicyRule, reference: RuleReference)] {
        var places = RulePlaces()
        return rules.map { ($0, reference($0, places.next(in: $0.list))) }
    }

    /// - Parameter index: in its list, from 0.
    package func reference(_ rule: PolicyRule, _ index: Int) -> RuleReference {
        RuleReference(
            policy: id, list: rule.list, number: index + 1, name: rule.name, tier: tier,
            action: rule.effect.action)
    }
}

/// Counts rules by list, for the place that each has in its own.
package struct RulePlaces {
    private var counts = (trusted: 0, ingress: 0, egress: 0, ingressDeny: 0, egressDeny: 0)

    package init() {}

    /// The index of the list's next rule, from 0.
    package mutating func next(in list: RuleList) -> Int {
        func next(_ count: inout Int) -> Int {
            defer { count += 1 }
            return count
        }
        return switch list {
        case .trusted: next(&counts.trusted)
        case .ingress: next(&counts.ingress)
        case .egress: next(&counts.egress)
        case .ingressDeny: next(&counts.ingressDeny)
        case .egressDeny: next(&counts.egressDeny)
        }
    }
}
