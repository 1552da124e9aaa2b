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
        var order = 0
        var placed = [PlacedPolicy?](repeating: nil, count: sorted.count)
        for number in sorted.indices.sorted(by: { PolicySet.isAsked(sorted, $0, before: $1) }) {
            placed[number] = PlacedPolicy(sorted[number], &index, &order)
        }
        self.placed = placed.compactMap(\.self)
        bySelector = Dictionary(grouping: sorted.indices) { index.known(sorted[$0].selector) ?? -1 }
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

        let query = PortQuery(flow)
        // Not by `map`, whose closure would hold a copy of all of this.
        let sourceProfile = if let source { profile(of: source) } else { nil as Profile? }
        let destinationProfile = if let destination { profile(of: destination) } else { nil as Profile? }
        do throws(DenialReason) {
            let egress = try judge(
                source, sourceProfile, .egress, peer: flow.destination, destinationProfile, query)
            let ingress = try judge(
                destination, destinationProfile, .ingress, peer: flow.source, sourceProfile, query)
            return .allowed(egress: egress, ingress: ingress)
        } catch { return .denied(error) }
    }

    private func judge(
        _ subject: NetworkMember?, _ profile: Profile?, _ direction: Direction, peer: FlowSide,
        _ peerProfile: Profile?, _ query: PortQuery
    ) throws(DenialReason) -> Grant {
        guard direction == .egress, query.nameService != nil, let network = subject?.network,
            network.dns != nil
        else { return try judge(subject, profile, direction, peer, peerProfile, query, false) }
        do throws(DenialReason) {
            return try judge(subject, profile, direction, peer, peerProfile, query, true)
        } catch {
            guard case .defaultDeny = error,
                (try? judge(subject, profile, direction, peer, peerProfile, query, false)) != nil
            else { throw error }
            throw .foreignResolver(network: network.name)
        }
    }

    private func judge(
        _ subject: NetworkMember?, _ profile: Profile?, _ direction: Direction, _ peer: FlowSide,
        _ peerProfile: Profile?, _ query: PortQuery, _ withholdsNames: Bool
    ) throws(DenialReason) -> Grant {
        guard let subject, let profile else { return .outside }
        let selectors = peerProfile?.matched ?? []
        let tiers = direction == .ingress ? profile.ingress : profile.egress
        /// What a tier grants; nil where it leaves the matter open.
        func ask(_ table: RuleTable?) throws(DenialReason) -> Grant? {
            guard
                let rule = table?.first(
                    peer, selectors: selectors, query, withholdsNames: withholdsNames)
            else {
                return nil
            }
            switch rule.action {
            case .allow: return .rule(rule.reference)
            case .deny: throw .rule(rule.reference)
            case .pass: return nil
            }
        }
        if let grant = try ask(tiers.admin) { return grant }
        if let standard = tiers.standard {
            _ = try ask(standard.deny)
            if let grant = try ask(standard.allow) { return grant }
            if let rule = standard.verified?.first(
                peer, selectors: selectors, query, withholdsNames: withholdsNames)
            {
                return .verifiedRule(rule.reference)
            }
        } else if let grant = try ask(tiers.baseline) {
            return grant
        } else if subject.network.defaultVerdict == .allow, !withholdsNames {
            return .networkDefault(network: subject.network.name)
        }
        throw .defaultDeny(direction, endpoint: subject.endpoint.name)
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

/// What selectors could see of an endpoint when it was inserted.
private final class KnownMember: Sendable {
    let profile: Profile
    private let name: String
    private let containerID: String
    private let labels: Labels
    private let network: String
    private let networkLabels: Labels

    init(_ member: NetworkMember, _ profile: Profile) {
        self.profile = profile
        name = member.endpoint.name
        containerID = member.endpoint.containerID
        labels = member.endpoint.labels
        network = member.network.name
        networkLabels = member.network.labels
    }

    /// Whether selectors cannot tell it from what it was.
    func isStill(_ member: NetworkMember) -> Bool {
        member.endpoint.labels == labels && member.endpoint.name == name
            && member.endpoint.containerID == containerID && member.network.name == network
            && member.network.labels == networkLabels
    }
}

extension DenialReason: Error {}

/// A policy's rules, with their selectors by number and their places among all rules.
private struct PlacedPolicy: Sendable {
    let tier: PolicyTier
    let directions: Set<Direction>
    let rules: [PlacedRule]

    init(_ policy: FirewallPolicy, _ index: inout SelectorIndex, _ order: inout Int) {
        tier = policy.tier
        directions = policy.directions
        _ = index.number(of: policy.selector)
        var rules: [PlacedRule] = []
        for (rule, reference) in policy.referencedRules {
            let (action, peers) = rule.effect
            let placed = peers?.compactMap { peer -> PlacedPeer? in
                switch peer {
                case .endpoints(let selector): .selector(index.number(of: selector))
                case .cidr(let block, let except): .block(block, except: except)
                case .domain(let pattern): .domain(pattern)
                case .unknown: nil
                }
            }
            rules.append(
                PlacedRule(
                    order: order, reference: reference, action: action, ports: rule.ports, peers: placed,
                    verifiesHost: rule.verifyHost))
            order += 1
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
        /// nil where no policy of the tier selects the endpoint in that direction.
        let standard: Standard?
        let baseline: RuleTable?

        typealias Standard = (deny: RuleTable, allow: RuleTable, verified: RuleTable?)

        init(admin: RuleTable?, standard: Standard?, baseline: RuleTable?) {
            self.admin = admin
            self.standard = standard
            self.baseline = baseline
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
        func table(_ rules: [PlacedRule]) -> RuleTable {
            RuleTable(rules.sorted { $0.order < $1.order })
        }
        let verified = rules[1].filter { $0.action == .allow && $0.verifiesHost }
        return Tiers(
            admin: rules[0].isEmpty ? nil : table(rules[0]),
            standard: isSelected
                ? (
                    deny: table(rules[1].filter { $0.action == .deny }),
                    allow: table(rules[1].filter { $0.action == .allow && !$0.verifiesHost }),
                    verified: verified.isEmpty ? nil : table(verified)
                ) : nil,
            baseline: rules[2].isEmpty ? nil : table(rules[2]))
    }
}

/// Evaluation for whoever asks once; many flows are better asked of one `PolicySet`.
public enum PolicyEvaluator {
    public static func evaluate(policies: some Sequence<FirewallPolicy>, flow: Flow) -> Decision {
        PolicySet(policies).evaluate(flow)
    }
}
