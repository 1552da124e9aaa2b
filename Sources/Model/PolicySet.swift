/// Policies made ready for evaluation, and the endpoints that they apply to.
///
/// A value: evaluation is a pure function of the policies and the flow. Endpoints are inserted so that their
/// selection is worked out once; a flow of an endpoint that was not inserted, or was changed since, gets the
/// same answer, only slower.
///
/// Traffic from A to B needs the egress of A and the ingress of B to allow it. In this order:
/// 1. A packet of an endpoint to itself is allowed; one between two addresses outside is not ours and is
///    denied.
/// 2. Isolation of either network may deny it (not with the network's own gateway), then a quarantine of A or of B that does not except the other.
///    What is left of a question to the resolver of A's own network is allowed.
/// 3. The egress of A, then the ingress of B, each through the tiers:
///    - admin: the first rule that matches allows, denies, or passes on to what follows here;
///    - standard: the first deny rule that matches denies. Otherwise the first allow rule that matches
///      allows, one that verifies the host only where no other does. Otherwise an endpoint selected in that direction denies;
///    - baseline, for one that is not: the first rule that matches allows, denies, or passes;
///    - its network's default.
///
/// "First" is by priority, then by the policy's name, then its lists (trusted, ingress or egress, deny), then
/// the rule's number. What egress denies is reported as egress, whatever ingress would say: a packet dropped
/// there never meets the other side.
public struct PolicySet: Sendable {
    /// Those that are enforced, sorted by name.
    public let policies: [FirewallPolicy]
    /// If there are policies in audit mode: all policies, those enforced too.
    private var strict: [PolicySet] = []

    private let index: SelectorIndex
    /// As `policies`.
    private let placed: [PlacedPolicy]
    /// By their numbers.
    private let rules: [RuleReference]
    /// Policies by the number of their selector.
    private let bySelector: [Int: [Int]]
    /// Endpoints that the same selectors match share one profile.
    private var profiles: [[Int]: Profile] = [:]
    private var members: [String: KnownMember] = [:]

    /// - Parameter policies: in any order; names are expected to differ.
    public init(_ policies: some Sequence<FirewallPolicy>, members: some Sequence<NetworkMember> = []) {
        let all = Array(policies)
        let members = Array(members)
        let enforced = all.filter { $0.mode == .enforce }
        self.init(enforced: enforced, members: members)
        guard enforced.count < all.count else { return }
        strict = [PolicySet(enforced: all, members: members)]
    }

    private init(enforced policies: [FirewallPolicy], members: [NetworkMember]) {
        let sorted = policies.map { (name: $0.name, policy: $0) }.sorted { $0.name < $1.name }.map(\.policy)
        var index = SelectorIndex()
        var rules: [RuleReference] = []
        var placed = [PlacedPolicy?](repeating: nil, count: sorted.count)
        for number in sorted.indices.sorted(by: { PolicySet.isAsked(sorted, $0, before: $1) }) {
            placed[number] = PlacedPolicy(sorted[number], &index, &rules)
        }
        self.placed = placed.compactMap(\.self)
        bySelector = Dictionary(grouping: sorted.indices) { index.known(sorted[$0].selector) ?? -1 }
        self.rules = rules
        self.policies = sorted
        self.index = index
        for member in members { insert(member) }
    }

    private static func isAsked(_ policies: [FirewallPolicy], _ a: Int, before b: Int) -> Bool {
        let (first, second) = (policies[a].tier.rank, policies[b].tier.rank)
        return (first.tier, first.priority, a) < (second.tier, second.priority, b)
    }

    /// Works out once what applies to an endpoint; replaces what was known of the same id.
    public mutating func insert(_ member: NetworkMember) {
        let matched = index.matches(member)
        let profile = profiles[matched] ?? makeProfile(matched)
        profiles[matched] = profile
        members[member.endpoint.id] = KnownMember(member, profile)
        if !strict.isEmpty { strict[0].insert(member) }
    }

    /// Forgets an endpoint. Profiles stay: they belong to the policies.
    public mutating func remove(endpointID: String) {
        members[endpointID] = nil
        if !strict.isEmpty { strict[0].remove(endpointID: endpointID) }
    }

    /// The policies that select an endpoint, by name.
    public func selecting(_ member: NetworkMember) -> [FirewallPolicy] {
        profile(of: member).policies.map { policies[$0] }
    }

    /// Why policies in audit mode would deny what passes; nil where they would not, and of what does not pass.
    public func audit(_ flow: Flow) -> DenialReason? {
        guard let strict = strict.first, evaluate(flow).isAllowed else { return nil }
        return strict.evaluate(flow).denial
    }

    /// The verdict on the first packet of a flow, and what decides it.
    public func evaluate(_ flow: Flow) -> Decision {
        let source = flow.source.member
        let destination = flow.destination.member
        if source == nil, destination == nil { return .denied(.noEndpoint) }
        if let source, source.endpoint.id == destination?.endpoint.id { return .sameEndpoint }
        if !flow.isWithGateway, !flow.isToPublishedPort,
            let reason = Isolation.denial(source, destination)
        {
            return .denied(reason)
        }
        if let reason = source?.quarantined(from: flow.destination, flow.transport)
            ?? destination?.quarantined(from: flow.source, flow.transport)
        {
            return .denied(reason)
        }
        if let network = source?.network, destination == nil,
            NameService.isAsked(of: network, at: flow.destination.address, flow.transport)
        {
            return .allowed(egress: .nameService(network: network.name), ingress: .outside)
        }

        let query = flow.portQuery
        // Not by `map`, whose closure would hold a copy of all of this.
        let sourceProfile = if let source { profile(of: source) } else { nil as Profile? }
        let destinationProfile = if let destination { profile(of: destination) } else { nil as Profile? }
        let egress = rule(source, sourceProfile, .egress, flow.destination, destinationProfile, query)
        if let reason = denial(egress, .egress, of: source) { return .denied(reason) }
        let ingress = rule(destination, destinationProfile, .ingress, flow.source, sourceProfile, query)
        if let reason = denial(ingress, .ingress, of: destination) { return .denied(reason) }
        return .allowed(egress: grant(egress, to: source), ingress: grant(ingress, to: destination))
    }

    private func rule(
        _ subject: NetworkMember?, _ profile: Profile?, _ direction: Direction, _ peer: FlowSide,
        _ peerProfile: Profile?, _ query: PortQuery
    ) -> Ruling {
        guard let subject, let profile else { return .outside }
        let tiers = direction == .ingress ? profile.ingress : profile.egress
        let selectors = peerProfile?.matched ?? []
        let byDefault = subject.network.defaultVerdict
        let asksForeignResolver =
            direction == .egress && query.nameService != nil && subject.network.dns != nil
        guard asksForeignResolver else { return rule(tiers, peer, selectors, query, false, byDefault) }
        let ruling = rule(tiers, peer, selectors, query, true, byDefault)
        guard ruling == .undecided else { return ruling }
        switch rule(tiers, peer, selectors, query, false, byDefault) {
        case .denied, .undecided: return .undecided
        default: return .foreignResolver
        }
    }

    private func rule(
        _ tiers: Profile.Tiers, _ peer: FlowSide, _ selectors: [Int], _ query: PortQuery,
        _ withholdsNames: Bool, _ byDefault: DefaultVerdict
    ) -> Ruling {
        func first(_ table: RuleTable?) -> RuleNumber {
            table?.first(peer, selectors: selectors, query, withholdsNames: withholdsNames) ?? .noRule
        }
        /// What a tier whose rules do as each says decides; nil where it leaves the matter open.
        func ask(_ table: RuleTable?) -> Ruling? {
            let number = first(table)
            guard number != .noRule else { return nil }
            switch rules[number].action {
            case .allow: return .allowed(number)
            case .deny: return .denied(number)
            case .pass: return nil
            }
        }
        if let ruling = ask(tiers.admin) { return ruling }
        guard tiers.selectsStandard else {
            if let ruling = ask(tiers.baseline) { return ruling }
            return byDefault == .allow && !withholdsNames ? .networkDefault : .undecided
        }
        let deny = first(tiers.deny)
        if deny != .noRule { return .denied(deny) }
        let allow = first(tiers.allow)
        if allow != .noRule { return .allowed(allow) }
        let verified = first(tiers.verified)
        return verified != .noRule ? .verified(verified) : .undecided
    }

    /// Why a ruling lets nothing pass; nil where it does.
    private func denial(_ ruling: Ruling, _ direction: Direction, of subject: NetworkMember?) -> DenialReason?
    {
        switch ruling {
        case .denied(let number): .rule(rules[number])
        case .undecided: .defaultDeny(direction, endpoint: subject?.endpoint.name ?? "")
        case .foreignResolver: .foreignResolver(network: subject?.network.name ?? "")
        case .outside, .allowed, .verified, .networkDefault: nil
        }
    }

    /// What a ruling lets pass, of one that does.
    private func grant(_ ruling: Ruling, to subject: NetworkMember?) -> Grant {
        switch ruling {
        case .allowed(let number): .rule(rules[number])
        case .verified(let number): .verifiedRule(rules[number])
        case .networkDefault: .networkDefault(network: subject?.network.name ?? "")
        case .outside, .denied, .undecided, .foreignResolver: .outside
        }
    }

    private func profile(of member: NetworkMember) -> Profile {
        if let known = members[member.endpoint.id], known.isStill(member) { return known.profile }
        let matched = index.matches(member)
        return profiles[matched] ?? makeProfile(matched)
    }

    private func makeProfile(_ matched: [Int]) -> Profile {
        let numbers = matched.flatMap { bySelector[$0] ?? [] }.sorted()
        return Profile(matched: matched, policies: numbers, rules: { placed[$0] })
    }
}

/// An endpoint as it was when it was inserted.
private final class KnownMember: Sendable {
    let profile: Profile
    private let member: NetworkMember

    init(_ member: NetworkMember, _ profile: Profile) {
        self.profile = profile
        self.member = member
    }

    /// Whether selectors cannot tell it from what it was.
    func isStill(_ other: NetworkMember) -> Bool {
        other.isCopy(of: member)
            || other.endpoint.labels == member.endpoint.labels && other.endpoint.name == member.endpoint.name
                && other.endpoint.containerID == member.endpoint.containerID
                && other.network.name == member.network.name
                && other.network.labels == member.network.labels
    }
}

/// What one side says of a flow. Rules are told by number: nothing is counted where it is handed about.
private enum Ruling: Equatable {
    /// This side is not an endpoint.
    case outside
    case allowed(RuleNumber)
    /// For hosts that the rule names.
    case verified(RuleNumber)
    case denied(RuleNumber)
    case networkDefault
    /// No rule speaks of it, and the default is to deny.
    case undecided
    /// No rule speaks of it by its port, which is that of names.
    case foreignResolver
}

/// A policy's rules, with their selectors by number and their places among all rules.
private struct PlacedPolicy: Sendable {
    let tier: PolicyTier
    let directions: Set<Direction>
    let rules: [PlacedRule]

    /// - Parameter placed: the rules of policies that are asked before this one.
    init(_ policy: FirewallPolicy, _ index: inout SelectorIndex, _ placed: inout [RuleReference]) {
        tier = policy.tier
        directions = policy.directions
        _ = index.number(of: policy.selector)
        var rules: [PlacedRule] = []
        for (rule, reference) in policy.referencedRules {
            let (action, peers) = rule.effect
            let placedPeers = peers?.compactMap { peer -> PlacedPeer? in
                switch peer {
                case .endpoints(let selector): .selector(index.number(of: selector))
                case .cidr(let block, let except): .block(block, except: except)
                case .domain(let pattern): .domain(pattern)
                case .unknown: nil
                }
            }
            rules.append(
                PlacedRule(
                    number: placed.count, reference: reference, action: action, ports: rule.ports,
                    peers: placedPeers, verifiesHost: rule.verifyHost))
            placed.append(reference)
        }
        self.rules = rules
    }
}

/// What applies to endpoints that the same selectors match.
private final class Profile: Sendable {
    /// Rules of one direction by tier; nil where there are none. A class, as the tables: evaluation hands
    /// them about.
    final class Tiers: Sendable {
        let admin: RuleTable?
        /// Whether a policy of the standard tier selects the endpoint in that direction.
        let selectsStandard: Bool
        /// Of the standard tier, as the two that follow.
        let deny: RuleTable?
        let allow: RuleTable?
        /// Those that allow the hosts that they name.
        let verified: RuleTable?
        let baseline: RuleTable?

        init(admin: [PlacedRule], standard: [PlacedRule]?, baseline: [PlacedRule]) {
            func table(_ rules: [PlacedRule]) -> RuleTable? {
                rules.isEmpty ? nil : RuleTable(rules.sorted { $0.number < $1.number })
            }
            self.admin = table(admin)
            selectsStandard = standard != nil
            let standard = standard ?? []
            deny = table(standard.filter { $0.action == .deny })
            allow = table(standard.filter { $0.action == .allow && !$0.verifiesHost })
            verified = table(standard.filter { $0.action == .allow && $0.verifiesHost })
            self.baseline = table(baseline)
        }
    }

    /// Numbers of the selectors, ascending.
    let matched: [Int]
    /// Numbers of the policies that select the endpoint, ascending.
    let policies: [Int]
    let ingress: Tiers
    let egress: Tiers

    init(matched: [Int], policies: [Int], rules: (Int) -> PlacedPolicy) {
        self.matched = matched
        self.policies = policies
        let selecting = policies.map(rules)
        ingress = Profile.tiers(selecting, .ingress)
        egress = Profile.tiers(selecting, .egress)
    }

    private static func tiers(_ policies: [PlacedPolicy], _ direction: Direction) -> Tiers {
        var rules: [[PlacedRule]] = [[], [], []]
        var isSelected = false
        for policy in policies {
            // Elsewhere than in the standard tier a direction is what it has rules for.
            if policy.tier == .standard {
                guard policy.directions.contains(direction) else { continue }
                isSelected = true
            }
            rules[policy.tier.rank.tier] += policy.rules.filter { $0.reference.list.direction == direction }
        }
        return Tiers(admin: rules[0], standard: isSelected ? rules[1] : nil, baseline: rules[2])
    }
}

/// Evaluation for whoever asks once; many flows are better asked of one `PolicySet`.
public enum PolicyEvaluator {
    public static func evaluate(policies: some Sequence<FirewallPolicy>, flow: Flow) -> Decision {
        PolicySet(policies).evaluate(flow)
    }
}
