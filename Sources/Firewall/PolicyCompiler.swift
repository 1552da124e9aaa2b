package import Model
internal import Wire

/// Turns endpoints and policies into rows of the kernel's maps, keeping count of what changed.
///
/// A value without IO: every mutation returns the difference that it makes, and starting from nothing with
/// the same endpoints and policies gives the same rows. Equal label sets share rows, so attaching an endpoint
/// whose labels are known adds one row for each of its addresses.
///
/// Nothing walks all endpoints or all policies: rules are kept in a book for each selector of policies, and a
/// change works again on the pairs of identities that its selectors match and on no others.
package struct PolicyCompiler: Sendable {
    package internal(set) var ledger = RowLedger()
    /// A copy of all.
    package var rows: [Row: UInt32] { Dictionary(uniqueKeysWithValues: ledger.lazy.map { ($0, $1) }) }
    package var rowCount: Int { ledger.count }

    var networks: [String: Network] = [:]
    var endpoints: [String: Endpoint] = [:]
    var owners: [IPAddress: String] = [:]
    /// Endpoints by network, by name and container id, and by the names of their ports.
    var residents: [String: Set<String>] = [:]
    var namesakes: [String: Set<String>] = [:]
    var portOwners: [String: Set<String>] = [:]
    var addresses = AddressIndex()

    var identityNumbers = NumberAllocator<Identity>()
    var identities = IdentityIndex()
    var subjects: [UInt32: Subject] = [:]
    /// Identities that have a port of this name.
    var portIdentities: [String: Set<UInt32>] = [:]

    /// How often policies mention a block, an endpoint's name, and a port's name.
    var blocks = BlockIndex()
    var pins: [String: Int] = [:]
    var portNames: [String: Int] = [:]
    /// Families of a network of which some mentioned block holds all subnets.
    var wideFamilies: [String: Set<IPFamily>] = [:]

    var policies: [String: CompiledPolicy] = [:]
    var index = SelectorIndex()
    /// By the number of the selector. Between changes, one that no policy uses is as new.
    var selectors: [SelectorState] = []
    /// The books in which rules for addresses name a port, by that name.
    var portBooks: [String: [Int: Int]] = [:]
    /// By endpoint id, whether or not the endpoint is there.
    package internal(set) var quarantines: [String: Quarantine] = [:]
    /// By endpoint id: the addresses outside that it was told, and the names that it asked for.
    var told: [String: [IPAddress: Set<String>]] = [:]
    var quarantineNumbers = NumberAllocator<String>()
    var quarantineRows: [String: [Row]] = [:]
    private var ruleNumbers = NumberAllocator<RuleReference>()

    /// Rules with a limit.
    var egressLimitNumbers = NumberAllocator<RuleReference>()
    var ingressLimitNumbers = NumberAllocator<RuleReference>()
    /// Endpoints whose connections are limited, by id.
    var limitedEndpoints = NumberAllocator<String>()
    /// By endpoint id.
    var limitRows: [String: [Row: UInt32]] = [:]
    var shapes: [String: EndpointBandwidth] = [:]
    var reshaped: Set<String> = []

    /// An identity in its role as the judged side of a flow.
    struct Subject: Sendable {
        /// One reference to copy instead of all those of an identity: subjects are copied for each pair.
        private let box: Box
        var identity: Identity { _read { yield box.identity } }
        /// The addresses that have the identity.
        var members: Set<IPAddress> = []
        /// The selectors that match it.
        var matched: Set<Int> = []
        var segments: [Direction: [AddressSegment]] = [:]

        private final class Box: Sendable {
            let identity: Identity
            init(_ identity: Identity) { self.identity = identity }
        }

        init(_ identity: Identity) { box = Box(identity) }
    }

    /// What is known of a selector that policies use.
    struct SelectorState: Sendable {
        /// How many times policies use it.
        var uses = 0
        /// The identities that it matches.
        var identities: Set<UInt32> = []
        /// The rules of the policies that are for those.
        var book = RuleBook()
        /// The books whose rules have it as a peer, and how often.
        var mentions: [Int: Int] = [:]
    }

    package init() {}

    package var policyNames: [String] { policies.keys.sorted() }

    package func policy(named name: String) -> FirewallPolicy? { policies[name]?.source }

    // MARK: Networks and endpoints

    /// Adds a network, or changes one: then its endpoints are judged by what it is now.
    @discardableResult
    package mutating func setNetwork(_ network: Network) -> RulesetDelta {
        guard networks[network.id] != network else { return RulesetDelta() }
        networks[network.id] = network
        wideFamilies[network.id] = familiesToTell(network)
        reassign(residents[network.id] ?? [])
        return ledger.takeDelta()
    }

    package mutating func removeNetwork(id: String) {
        networks[id] = nil
        wideFamilies[id] = nil
    }

    /// Adds an endpoint or changes one (by id). Its network must be known.
    package mutating func setEndpoint(_ endpoint: Endpoint) -> RulesetDelta {
        withdraw(endpoints[endpoint.id], except: endpoint)
        endpoints[endpoint.id] = endpoint
        register(endpoint)
        for address in endpoint.addresses {
            owners[address] = endpoint.id
            addresses.insert(address)
        }
        assign([endpoint])
        updateQuarantines(endpoint)
        return ledger.takeDelta()
    }

    package mutating func removeEndpoint(id: String) -> RulesetDelta {
        let old = endpoints.removeValue(forKey: id)
        withdraw(old, except: nil)
        if let old { updateQuarantines(old) }
        return ledger.takeDelta()
    }

    // MARK: Policies

    /// Adds, replaces and removes policies by name, all at once; each name stands once.
    package mutating func setPolicies(_ changed: [FirewallPolicy], removing removed: [String] = [])
        -> RulesetDelta
    {
        var change = PolicyChange()
        for name in removed { withdrawPolicy(name, &change) }
        // All leave before the first comes: numbers of rules with limits are not many.
        var new: [(name: String, policy: FirewallPolicy)] = []
        for policy in changed {
            let name = policy.name
            if let old = policies[name] {
                if old.source == policy { continue }
                withdrawPolicy(name, &change)
            }
            new.append((name, policy))
        }
        for (name, policy) in new { addPolicy(policy, name, &change) }
        reassign(endpointsToTell(change))
        work(on: change)
        for number in change.released where selectors[number].uses == 0 {
            for identity in selectors[number].identities { subjects[identity]?.matched.remove(number) }
            selectors[number] = SelectorState()
            index.remove(number)
        }
        return ledger.takeDelta()
    }

    private mutating func withdrawPolicy(_ name: String, _ change: inout PolicyChange) {
        guard let old = policies.removeValue(forKey: name) else { return }
        let source = old.source
        // Rows that its rules made are looked at again, whatever becomes of the rules.
        note(old, isNew: false, &change)
        selectors[old.subject].book.remove(old)
        for number in old.peerSelectors {
            drop(&selectors[number].mentions, old.subject)
            release(number, &change)
        }
        release(old.subject, &change)
        for (direction, rule) in old.rules where direction == .egress && rule.speaksOfAddresses {
            for name in rule.names { drop(&portBooks[name.name, default: [:]], old.subject) }
        }
        let mentions = source.mentions
        for block in mentions.blocks where blocks.remove(block) { change.blocks.insert(block) }
        for name in mentions.endpoints where drop(&pins, name) { change.pins.insert(name) }
        for name in mentions.ports where drop(&portNames, name) { change.portNames.insert(name) }
        for (rule, reference) in source.referencedRules {
            if rule.effect.action == .deny { ruleNumbers.release(reference) }
            if rule.limit != nil { releaseLimitNumber(of: reference) }
            if rule.verifyHost, source.mode == .enforce { ledger.need(.verifiedHosts, -1) }
        }
    }

    private mutating func addPolicy(_ policy: FirewallPolicy, _ name: String, _ change: inout PolicyChange) {
        let subject = use(policy.selector)
        var rules: [(direction: Direction, rule: CompiledRule)] = []
        var limits = CompiledLimits(endpoint: policy.limits)
        var places = RulePlaces()
        for (place, rule) in policy.rules.enumerated() {
            let reference = policy.reference(rule, places.next(in: rule.list))
            if rule.verifyHost, policy.mode == .enforce { ledger.need(.verifiedHosts, 1) }
            if let compiled = compiled(rule, reference, policy, name, place) {
                rules.append((rule.direction, compiled))
                if let limit = rule.limit, let number = compiled.outcome?.rawValue, reference.action == .allow
                {
                    limits.rules.append(.init(number: number, limit: limit))
                }
            }
        }
        let directions = policy.tier == .standard ? Array(policy.directions) : []
        let isEnforced = policy.mode == .enforce
        let compiled = CompiledPolicy(
            policy, name: name, subject: subject, selecting: isEnforced ? directions : [],
            auditing: isEnforced ? [] : directions, rules: rules,
            limits: isEnforced && !limits.isEmpty ? limits : nil)
        for number in compiled.peerSelectors { selectors[number].mentions[subject, default: 0] += 1 }
        for (direction, rule) in rules where direction == .egress && rule.speaksOfAddresses {
            for name in rule.names { portBooks[name.name, default: [:]][subject, default: 0] += 1 }
        }
        selectors[subject].book.add(compiled)
        note(compiled, isNew: true, &change)
        policies[name] = compiled
        let mentions = policy.mentions
        for block in mentions.blocks where blocks.insert(block) { change.blocks.insert(block) }
        for name in mentions.endpoints {
            pins[name, default: 0] += 1
            if pins[name] == 1 { change.pins.insert(name) }
        }
        for name in mentions.ports {
            portNames[name, default: 0] += 1
            if portNames[name] == 1 { change.portNames.insert(name) }
        }
    }

    /// nil where the rule never has a say.
    private mutating func compiled(
        _ rule: PolicyRule, _ reference: RuleReference, _ policy: FirewallPolicy, _ name: String, _ place: Int
    ) -> CompiledRule? {
        let (action, peers) = rule.effect
        if policy.tier == .standard, action == .pass || !policy.directions.contains(rule.direction) {
            return nil
        }
        var allowance = Outcome.allow
        if action == .allow, rule.limit != nil {
            // Without a number its limit could not be kept. The manager sees to it that there is one.
            guard let number = limitNumber(of: reference) else { return nil }
            allowance = Outcome(rawValue: number)
        }
        // In audit mode there is nothing to tell of what would be led to the proxy.
        if rule.verifyHost, policy.mode == .enforce { allowance = .unverifiedHost }
        var placed = CompiledRule.Peers.anyone
        if let peers {
            var selectors: [Int] = []
            var blocks: [CompiledRule.Block] = []
            var domains: [DomainPattern] = []
            for peer in peers {
                switch peer {
                case .endpoints(let selector): selectors.append(use(selector))
                case .cidr(let block, let except):
                    blocks.append(CompiledRule.Block(block: block, except: except))
                case .domain(let pattern): domains.append(pattern)
                case .unknown: break
                }
            }
            placed = .some(selectors: selectors, blocks: blocks, domains: domains)
        }
        let outcome: Outcome? =
            switch action {
            case .allow: allowance
            case .deny: Outcome(rawValue: number(of: reference))
            case .pass: nil
            }
        let order = RuleOrder(policy, name, action, index: place, verifiesHost: rule.verifyHost)
        return CompiledRule(order, outcome, rule.ports, placed, isAudit: policy.mode == .audit)
    }

    private mutating func number(of reference: RuleReference) -> UInt32 {
        var hash = StableHash()
        hash.combine(reference.policy.description)
        hash.combine(reference.list.rawValue)
        hash.combine(UInt32(truncatingIfNeeded: reference.number))
        return ruleNumbers.number(
            for: reference, preferred: hash.folded & ~Outcome.auditBit | Outcome.denyBit, in: Outcome.rules)
    }

    /// The rule behind a deny outcome, unless its policy is gone.
    package func rule(of outcome: Outcome) -> RuleReference? { ruleNumbers[outcome.rawValue] }

    /// The addresses of endpoints on whose rules a difference bears; nil where there are more than a few.
    func addresses(affectedBy delta: RulesetDelta) -> Set<IPAddress>? {
        let few = 16
        var found: Set<IPAddress> = []
        for change in [delta.removed, delta.added].joined() {
            switch change.row {
            case .identity(let address), .quarantined(let address), .named(let address, _):
                found.insert(address)
            // Who had the number and has it no more has another one now.
            case .pair(_, let subject, _), .segment(_, let subject, _, _):
                let members = subjects[subject]?.members ?? []
                guard members.count <= few else { return nil }
                found.formUnion(members)
            case .port, .exception, .limited, .connections, .rulePackets, .ruleBandwidth, .packets: continue
            }
            guard found.count <= few else { return nil }
        }
        return found
    }

    // MARK: Rows

    /// Changes of rows go through here, so that extensions can make them.
    mutating func set(_ row: Row, _ value: UInt32?) { ledger.set(row, value) }
    mutating func setClass(_ row: Row, _ ports: PortClass?) { ledger.setClass(row, ports) }
    func portClass(_ number: UInt32) -> PortClass? { ledger.portClass(number) }
}

/// Counts down.
/// - Returns: true if the last is gone.
@discardableResult
private func drop<Key: Hashable>(_ counts: inout [Key: Int], _ key: Key) -> Bool {
    guard let count = counts[key] else { return false }
    counts[key] = count == 1 ? nil : count - 1
    return count == 1
}
