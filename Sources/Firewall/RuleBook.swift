internal import Model
internal import Wire

/// The rules of all policies that have the same selector, found by the peer that they speak of.
///
/// The rules of an endpoint are those of the books of all selectors that match it.
struct RuleBook: Sendable {
    /// Of one direction.
    struct Side: Sendable {
        var counts = Counts()
        var anyone: [CompiledRule] = []
        /// By the number of the peer's selector.
        var bySelector: [Int: [CompiledRule]] = [:]
        var byBlock: [CIDR: [Addressed]] = [:]
        var byDomain: [DomainPattern: [CompiledRule]] = [:]
        /// How many rules that speak of addresses name a port of the destination.
        var portNames: [String: Int] = [:]

        /// Of policies of the standard tier that have the direction.
        struct Counts: Sendable {
            var selecting = 0
            /// As `selecting`, of policies in audit mode.
            var auditing = 0

            static func += (sum: inout Counts, more: Counts) {
                sum.selecting += more.selecting
                sum.auditing += more.auditing
            }
        }

        /// A rule that speaks of a block without some parts of it.
        struct Addressed: Sendable {
            let except: [CIDR]
            let rule: CompiledRule
        }

        var speaksOfAddresses: Bool { !anyone.isEmpty || !byBlock.isEmpty }

        /// Adds an allowance of a quarantine.
        mutating func add(_ exception: QuarantineException, _ blocks: [CIDR]) {
            let rule = CompiledRule(
                RuleOrder(quarantine: ()), .allow, exception.ports.map { [.range($0)] },
                .some(
                    selectors: [], blocks: blocks.map { CompiledRule.Block(block: $0, except: []) }))
            add(rule, namesDestination: false)
        }

        /// Adds the rules that speak of an address, whoever has it.
        ///
        /// - Parameter blocks: all blocks that any policy mentions and that contain the address.
        func collect(_ address: IPAddress, _ blocks: [CIDR], into rules: inout [CompiledRule]) {
            rules += anyone
            for block in byBlock.isEmpty ? [] : blocks {
                for entry in byBlock[block] ?? []
                where !entry.except.contains(where: { $0.contains(address) }) {
                    rules.append(entry.rule)
                }
            }
        }

        /// Adds the rules that select one of these, and says whether there are any.
        func collect(_ selectors: Set<Int>, into rules: inout [CompiledRule]) -> Bool {
            let before = rules.count
            if bySelector.count < selectors.count {
                for (number, found) in bySelector where selectors.contains(number) { rules += found }
            } else {
                for number in selectors { if let found = bySelector[number] { rules += found } }
            }
            return rules.count > before
        }

        /// Adds the rules that speak of a domain that one of these names is of, and says whether there are
        /// any.
        func collect(_ names: Set<String>, into rules: inout [CompiledRule]) -> Bool {
            let before = rules.count
            for (pattern, found) in byDomain where names.contains(where: pattern.matches) { rules += found }
            return rules.count > before
        }

        fileprivate mutating func add(_ rule: CompiledRule, namesDestination: Bool) {
            switch rule.peers {
            case .anyone: anyone.append(rule)
            case .some(let selectors, let blocks, let domains):
                for number in selectors { bySelector[number, default: []].append(rule) }
                for domain in domains { byDomain[domain, default: []].append(rule) }
                for block in blocks {
                    byBlock[block.block, default: []].append(Addressed(except: block.except, rule: rule))
                }
            }
            guard namesDestination, rule.speaksOfAddresses else { return }
            for name in rule.names { portNames[name.name, default: 0] += 1 }
        }

        fileprivate mutating func remove(_ rule: CompiledRule, namesDestination: Bool) {
            switch rule.peers {
            case .anyone: anyone.removeAll { $0 === rule }
            case .some(let selectors, let blocks, let domains):
                for domain in domains {
                    byDomain[domain]?.removeAll { $0 === rule }
                    if byDomain[domain]?.isEmpty ?? false { byDomain[domain] = nil }
                }
                for number in selectors {
                    bySelector[number]?.removeAll { $0 === rule }
                    if bySelector[number]?.isEmpty ?? false { bySelector[number] = nil }
                }
                for block in blocks {
                    byBlock[block.block]?.removeAll { $0.rule === rule }
                    if byBlock[block.block]?.isEmpty ?? false { byBlock[block.block] = nil }
                }
            }
            guard namesDestination, rule.speaksOfAddresses else { return }
            for name in rule.names {
                let left = (portNames[name.name] ?? 1) - 1
                portNames[name.name] = left == 0 ? nil : left
            }
        }
    }

    var ingress = Side()
    var egress = Side()
    /// By the policy that sets them.
    private(set) var limits: [String: CompiledLimits] = [:]
    private var policies = 0

    var isEmpty: Bool { policies == 0 }

    subscript(direction: Direction) -> Side {
        _read { if direction == .ingress { yield ingress } else { yield egress } }
        _modify { if direction == .ingress { yield &ingress } else { yield &egress } }
    }

    mutating func add(_ policy: CompiledPolicy) {
        policies += 1
        for direction in policy.selecting { self[direction].counts.selecting += 1 }
        for direction in policy.auditing { self[direction].counts.auditing += 1 }
        for (direction, rule) in policy.rules {
            self[direction].add(rule, namesDestination: direction == .egress)
        }
        if let limits = policy.limits { self.limits[policy.name] = limits }
    }

    mutating func remove(_ policy: CompiledPolicy) {
        policies -= 1
        for direction in policy.selecting { self[direction].counts.selecting -= 1 }
        for direction in policy.auditing { self[direction].counts.auditing -= 1 }
        for (direction, rule) in policy.rules {
            self[direction].remove(rule, namesDestination: direction == .egress)
        }
        if policy.limits != nil { limits[policy.name] = nil }
    }
}

/// A policy with its selectors by number. A class, since it does not change and is handed about.
final class CompiledPolicy: Sendable {
    let source: FirewallPolicy
    let name: String
    /// The number of the selector of the endpoints that it is for.
    let subject: Int
    /// Directions in which those are no longer under their network's default.
    let selecting: [Direction]
    /// Directions that it selects in audit mode.
    let auditing: [Direction]
    let rules: [(direction: Direction, rule: CompiledRule)]
    let limits: CompiledLimits?
    /// The numbers of all selectors of rules, with repetitions.
    let peerSelectors: [Int]

    init(
        _ source: FirewallPolicy, name: String, subject: Int, selecting: [Direction], auditing: [Direction],
        rules: [(direction: Direction, rule: CompiledRule)], limits: CompiledLimits?
    ) {
        self.source = source
        self.name = name
        self.subject = subject
        self.selecting = selecting
        self.auditing = auditing
        self.rules = rules
        self.limits = limits
        var peers: [Int] = []
        for (_, rule) in rules {
            if case .some(let selectors, _, _) = rule.peers { peers += selectors }
        }
        peerSelectors = peers
    }
}

extension CompiledRule {
    var speaksOfDomains: Bool {
        if case .some(_, _, let domains) = peers { !domains.isEmpty } else { false }
    }

    /// Whether it speaks of anyone who has some address.
    var speaksOfAddresses: Bool {
        switch peers {
        case .anyone: true
        case .some(_, let blocks, _): !blocks.isEmpty
        }
    }
}
