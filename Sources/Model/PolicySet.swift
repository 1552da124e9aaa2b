/// Policies made ready for evaluation, and the endpoints that they apply to.
///
/// A value: evaluation is a pure function of the policies and the flow. Endpoints are inserted so that their
/// selection is worked out once; a flow of an endpoint that was not inserted, or was changed since, gets the
/// same answer, only slower.
///
/// Traffic from A to B needs the egress of A and the ingress of B to allow it. In this order:
/// 1. A packet of an endpoint to itself is allowed; one between two addresses outside is not ours and is
///    denied.
/// 2. Isolation of either network may deny it.
/// 3. The egress of A, then the ingress of B: the first deny rule that matches denies. Otherwise the first
///    allow rule that matches allows. Otherwise an endpoint selected in that direction denies, and one that
///    is not has its network's default.
///
/// "First" is by the policy's name, then its lists (trusted, ingress or egress, deny), then the rule's
/// number. What egress denies is reported as egress, whatever ingress would say: a packet dropped there never
/// meets the other side.
public struct PolicySet: Sendable {
    /// Sorted by name.
    public let policies: [FirewallPolicy]

    private let index: SelectorIndex
    private let placed: [PlacedPolicy]
    /// Policies by the number of their selector.
    private let bySelector: [Int: [Int]]
    /// Endpoints that the same selectors match share one profile.
    private var profiles: [[Int]: Profile] = [:]
    private var members: [String: KnownMember] = [:]

    /// - Parameter policies: in any order; names are expected to differ.
    public init(_ policies: some Sequence<FirewallPolicy>, members: some Sequence<NetworkMember> = []) {
        let sorted = policies.sorted { $0.name < $1.name }
        var index = SelectorIndex()
        var order = 0
        var bySelector: [Int: [Int]] = [:]
        placed = sorted.enumerated().map { number, policy in
            bySelector[index.number(of: policy.selector), default: []].append(number)
            return PlacedPolicy(policy, &index, &order)
        }
        self.policies = sorted
        self.index = index
        self.bySelector = bySelector
        for member in members { insert(member) }
    }

    /// Works out once what applies to an endpoint; replaces what was known of the same id.
    public mutating func insert(_ member: NetworkMember) {
        let matched = index.matches(member)
        let profile = profiles[matched] ?? makeProfile(matched)
        profiles[matched] = profile
        members[member.endpoint.id] = KnownMember(member, profile)
    }

    /// Forgets an endpoint. Profiles stay: they belong to the policies.
    public mutating func remove(endpointID: String) { members[endpointID] = nil }

    /// The policies that select an endpoint, by name.
    public func selecting(_ member: NetworkMember) -> [FirewallPolicy] {
        profile(of: member).policies.map { policies[$0] }
    }

    /// The verdict on the first packet of a flow, and what decides it.
    public func evaluate(_ flow: Flow) -> Decision {
        let source = flow.source.member
        let destination = flow.destination.member
        if source == nil, destination == nil { return .denied(.noEndpoint) }
        if let source, source.endpoint.id == destination?.endpoint.id { return .sameEndpoint }
        if let reason = Isolation.denial(source, destination) { return .denied(reason) }

        let sourceProfile = source.map(profile(of:))
        let destinationProfile = destination.map(profile(of:))
        do throws(DenialReason) {
            let egress = try judge(
                source, sourceProfile, .egress, peer: flow.destination, destinationProfile, flow.transport)
            let ingress = try judge(
                destination, destinationProfile, .ingress, peer: flow.source, sourceProfile, flow.transport)
            return .allowed(egress: egress, ingress: ingress)
        } catch { return .denied(error) }
    }

    private func judge(
        _ subject: NetworkMember?, _ profile: Profile?, _ direction: Direction, peer: FlowSide,
        _ peerProfile: Profile?, _ transport: FlowTransport
    ) throws(DenialReason) -> Grant {
        guard let subject, let profile else { return .outside }
        let selectors = peerProfile?.matched ?? []
        if let rules = direction == .ingress ? profile.ingress : profile.egress {
            if let rule = rules.deny.first(address: peer.address, selectors: selectors, transport) {
                throw .rule(rule)
            }
            if let rule = rules.allow.first(address: peer.address, selectors: selectors, transport) {
                return .rule(rule)
            }
        } else if subject.network.defaultVerdict == .allow {
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

    init(_ member: NetworkMember, _ profile: Profile) {
        self.profile = profile
        name = member.endpoint.name
        containerID = member.endpoint.containerID
        labels = member.endpoint.labels
        network = member.network.name
    }

    /// Whether selectors cannot tell it from what it was.
    func isStill(_ member: NetworkMember) -> Bool {
        member.endpoint.labels == labels && member.endpoint.name == name
            && member.endpoint.containerID == containerID && member.network.name == network
    }
}

extension DenialReason: Error {}

/// A policy's rules, with their selectors by number and their places among all rules.
private struct PlacedPolicy: Sendable {
    let directions: Set<Direction>
    private(set) var rules: [PlacedRule] = []

    init(_ policy: FirewallPolicy, _ index: inout SelectorIndex, _ order: inout Int) {
        directions = policy.directions
        for list in RuleList.allCases {
            for (number, rule) in policy.rules(list).enumerated() {
                let peers = rule.peers?.map { peer -> PlacedPeer in
                    switch peer {
                    case .endpoints(let selector): .selector(index.number(of: selector))
                    case .cidr(let block, let except): .block(block, except: except)
                    }
                }
                let reference = RuleReference(policy: policy.name, list: list, number: number + 1)
                rules.append(PlacedRule(order: order, reference: reference, ports: rule.ports, peers: peers))
                order += 1
            }
        }
    }
}

/// What applies to endpoints that the same selectors match.
private final class Profile: Sendable {
    /// Numbers of the selectors, ascending.
    let matched: [Int]
    /// Numbers of the policies that select the endpoint.
    let policies: [Int]
    /// nil where no policy selects the endpoint in that direction.
    let ingress: (allow: RuleTable, deny: RuleTable)?
    let egress: (allow: RuleTable, deny: RuleTable)?

    init(matched: [Int], policies: [Int], rules: (Int) -> PlacedPolicy) {
        self.matched = matched
        self.policies = policies
        func tables(_ direction: Direction) -> (allow: RuleTable, deny: RuleTable)? {
            let selecting = policies.map(rules).filter { $0.directions.contains(direction) }
            guard !selecting.isEmpty else { return nil }
            var result = (allow: RuleTable(), deny: RuleTable())
            for rule in selecting.lazy.flatMap(\.rules) where rule.reference.list.direction == direction {
                if rule.reference.list.denies { result.deny.add(rule) } else { result.allow.add(rule) }
            }
            return result
        }
        ingress = tables(.ingress)
        egress = tables(.egress)
    }
}

extension FirewallPolicy {
    /// The rules of a list; `allowPorts` and `trustedPeers` are one ingress rule where either is given.
    public func rules(_ list: RuleList) -> [PolicyRule] {
        switch list {
        case .trusted:
            allowPorts == nil && trustedPeers == nil
                ? [] : [PolicyRule(peers: trustedPeers, ports: allowPorts)]
        case .ingress: ingress
        case .egress: egress
        case .ingressDeny: ingressDeny
        case .egressDeny: egressDeny
        }
    }
}

/// Evaluation for whoever asks once; many flows are better asked of one `PolicySet`.
public enum PolicyEvaluator {
    public static func evaluate(policies: some Sequence<FirewallPolicy>, flow: Flow) -> Decision {
        PolicySet(policies).evaluate(flow)
    }
}
