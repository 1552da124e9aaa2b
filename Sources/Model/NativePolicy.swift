/// The native dialect: rules in five lists instead of one.
extension FirewallPolicy {
    /// - Parameters:
    ///   - allowPorts: shorthand for ingress: these ports from `trustedPeers` (from anyone where that is
    ///     nil).
    ///   - trustedPeers: shorthand for ingress: these peers on `allowPorts` (on all ports where that is nil).
    ///   - rateLimit: shorthand for `limits.ingress.connections`.
    public init(
        name: String, selector: EndpointSelector, directions: Set<Direction> = [.ingress, .egress],
        allowPorts: [PortMatch]? = nil, trustedPeers: [PolicyPeer]? = nil, rateLimit: Int? = nil,
        limits: EndpointLimits = EndpointLimits(), ingress: [PolicyRule] = [], egress: [PolicyRule] = [],
        ingressDeny: [PolicyRule] = [],
        egressDeny: [PolicyRule] = []
    ) {
        self.init(id: .native(name), selector: selector, directions: directions, limits: limits)
        if let rateLimit { self.rateLimit = rateLimit }
        if allowPorts != nil || trustedPeers != nil {
            rules = Self.stamped(.trusted, [PolicyRule(peers: trustedPeers, ports: allowPorts)])
        }
        // In the order of `RuleList.allCases`.
        rules += Self.stamped(.ingress, ingress)
        rules += Self.stamped(.egress, egress)
        rules += Self.stamped(.ingressDeny, ingressDeny)
        rules += Self.stamped(.egressDeny, egressDeny)
    }

    /// New connections a second that each selected endpoint accepts; nil is no limit.
    public var rateLimit: Int? {
        get { limits.ingress.connections }
        set { limits.ingress.connections = newValue }
    }

    /// `rateLimit` says all that there is to say of limits.
    var limitsAreShort: Bool {
        rateLimit != nil && limits == EndpointLimits(ingress: TrafficLimit(connections: rateLimit))
    }

    /// Ports of the shorthand for ingress, from `trustedPeers` or from anyone.
    public var allowPorts: [PortMatch]? {
        get { rules.first { $0.list == .trusted }?.ports }
        set { setShorthand(newValue, trustedPeers) }
    }

    /// Peers of the shorthand for ingress, on `allowPorts` or on all ports.
    public var trustedPeers: [PolicyPeer]? {
        get { rules.first { $0.list == .trusted }?.peers }
        set { setShorthand(allowPorts, newValue) }
    }

    public var ingress: [PolicyRule] {
        get { rules(.ingress) }
        set { setRules(.ingress, newValue) }
    }

    public var egress: [PolicyRule] {
        get { rules(.egress) }
        set { setRules(.egress, newValue) }
    }

    public var ingressDeny: [PolicyRule] {
        get { rules(.ingressDeny) }
        set { setRules(.ingressDeny, newValue) }
    }

    public var egressDeny: [PolicyRule] {
        get { rules(.egressDeny) }
        set { setRules(.egressDeny, newValue) }
    }

    private mutating func setShorthand(_ ports: [PortMatch]?, _ peers: [PolicyPeer]?) {
        setRules(.trusted, ports == nil && peers == nil ? [] : [PolicyRule(peers: peers, ports: ports)])
    }

    private static func stamped(_ list: RuleList, _ rules: [PolicyRule]) -> [PolicyRule] {
        guard !rules.isEmpty else { return [] }
        return rules.map { rule in
            var rule = rule
            (rule.list, rule.action) = (list, list.denies ? .deny : .allow)
            return rule
        }
    }

    /// Replaces the rules of a list, which do there what its name says.
    private mutating func setRules(_ list: RuleList, _ new: [PolicyRule]) {
        let stamped = Self.stamped(list, new)
        rules = RuleList.allCases.flatMap { $0 == list ? stamped : rules($0) }
    }
}
