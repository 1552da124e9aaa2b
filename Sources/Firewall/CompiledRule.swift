internal import Model
internal import Wire

/// When a rule is asked: the tiers one after the other, and in each the smaller first.
struct RuleOrder: Hashable, Comparable {
    enum Tier: UInt8 {
        case admin, standard, baseline
    }

    let tier: Tier
    /// In the standard tier: 0 for denials, 1 for allowances, 2 for those that verify the host.
    let priority: Int
    let policy: String
    /// Its place in the policy.
    let index: Int

    init(
        _ policy: FirewallPolicy, _ name: String, _ action: RuleAction, index: Int, verifiesHost: Bool = false
    ) {
        switch policy.tier {
        case .admin(let priority): (tier, self.priority) = (.admin, priority)
        case .standard: (tier, priority) = (.standard, action == .deny ? 0 : verifiesHost ? 2 : 1)
        case .baseline(let priority): (tier, self.priority) = (.baseline, priority)
        }
        self.policy = name
        self.index = index
    }

    /// Of all exceptions of a quarantine: their order does not matter.
    init(quarantine: Void) {
        (tier, priority, policy, index) = (.standard, 1, "", 0)
    }

    static func < (a: RuleOrder, b: RuleOrder) -> Bool {
        if a.tier != b.tier { return a.tier.rawValue < b.tier.rawValue }
        if a.priority != b.priority { return a.priority < b.priority }
        return a.policy != b.policy ? a.policy < b.policy : a.index < b.index
    }
}

/// One rule of a policy, ready to be combined with others. A class, since many peers share it.
final class CompiledRule: Sendable {
    let order: RuleOrder
    /// nil passes to the next tier.
    let outcome: Outcome?
    let ports: [ClosedRange<UInt32>]
    let names: [PortName]
    let peers: Peers
    /// Its policy decides nothing.
    let isAudit: Bool
    /// It allows, and says no ports.
    let allowsEveryPort: Bool

    enum Peers: Sendable {
        case anyone
        /// The numbers of selectors, blocks of addresses, and domains.
        case some(selectors: [Int], blocks: [Block], domains: [DomainPattern] = [])
    }

    struct Block: Sendable {
        let block: CIDR
        let except: [CIDR]
    }

    struct PortName: Hashable, Sendable {
        let name: String
        let transport: TransportProtocol?
    }

    init(
        _ order: RuleOrder, _ outcome: Outcome?, _ ports: [PortMatch]?, _ peers: Peers, isAudit: Bool = false
    ) {
        self.order = order
        self.isAudit = isAudit
        self.outcome = outcome
        self.peers = peers
        allowsEveryPort = ports == nil && !(outcome.map(\.isDenial) ?? true)
        guard let ports else {
            self.ports = [PortPoint.everything]
            names = []
            return
        }
        self.ports = ports.flatMap { port -> [ClosedRange<UInt32>] in
            if case .range(let range) = port { PortPoint.range(range) } else { [] }
        }
        names = ports.compactMap { port -> PortName? in
            if case .named(let name, let transport) = port {
                PortName(name: name, transport: transport)
            } else {
                nil
            }
        }
    }

    /// It is enforced, and allows.
    var isAllowance: Bool { !isAudit && outcome.map { !$0.isDenial } ?? false }

    /// The ports that it speaks of where the destination calls its ports so.
    func ranges(_ destination: [NamedPort]) -> [ClosedRange<UInt32>] {
        guard !names.isEmpty, !destination.isEmpty else { return ports }
        return ports
            + destination.filter { port in
                names.contains { $0.name == port.name && $0.transport ?? port.transport == port.transport }
            }.flatMap { PortPoint.range(PortRange($0.transport, $0.number...$0.number)) }
    }
}

/// What holds for an endpoint in one direction besides rules.
struct Chain: Hashable {
    var direction: Direction
    /// A policy of the standard tier selects it, so that what nobody allows there is denied.
    var isSelected = false
    /// One in audit mode does.
    var isAudited = false
    /// The default of its network.
    var allowsByDefault = false
    /// Rules that say no ports do not open those where names are asked for.
    var withholdsNames = false
}

extension PortClass {
    /// What rules amount to together: each port gets the first decision along the tiers.
    ///
    /// - Parameters:
    ///   - rules: that speak of the peer, in any order, perhaps more than once.
    ///   - destination: the named ports of the flow's destination.
    init(_ rules: [CompiledRule], _ destination: [NamedPort], _ chain: Chain) {
        guard chain.isAudited || rules.contains(where: \.isAudit) else {
            self.init(enforcing: rules, destination, chain)
            return
        }
        let actual = PortClass(enforcing: rules.filter { !$0.isAudit }, destination, chain)
        var strict = chain
        strict.isSelected = chain.isSelected || chain.isAudited
        self = actual.audited(
            by: PortClass(enforcing: rules, destination, strict),
            byDefault: chain.direction == .egress ? .defaultDenyEgress : .defaultDenyIngress)
    }

    private init(enforcing rules: [CompiledRule], _ destination: [NamedPort], _ chain: Chain) {
        guard chain.withholdsNames, chain.allowsByDefault || rules.contains(where: \.allowsEveryPort) else {
            self.init(deciding: rules, destination, chain)
            return
        }
        let full = PortClass(deciding: rules, destination, chain)
        var strict = chain
        strict.allowsByDefault = false
        let explicit = PortClass(
            deciding: rules.filter { !$0.allowsEveryPort }, destination, strict)
        self = full.withholding(PortPoint.nameService, but: explicit)
    }

    private init(deciding rules: [CompiledRule], _ destination: [NamedPort], _ chain: Chain) {
        let relevant = rules.filter { rule in
            rule.order.tier == .admin || (rule.order.tier == .standard) == chain.isSelected
        }
        let restIsAllowed = !chain.isSelected && chain.allowsByDefault
        guard !relevant.isEmpty else {
            self = restIsAllowed ? .all : .empty
            return
        }
        if !restIsAllowed, relevant.count == 1, let outcome = relevant[0].outcome {
            let ranges = relevant[0].ranges(destination)
            if ranges.count == 1 {
                self.init(segments: [Segment(range: ranges[0], outcome: outcome)])
                return
            }
        }
        let asked = relevant.sorted { $0.order < $1.order }.map { ($0, $0.ranges(destination)) }
        var line = PortLine(asked.flatMap(\.1))
        var tier = RuleOrder.Tier.admin
        for (rule, ranges) in asked {
            // What a tier passed is open again to those after it.
            if rule.order.tier != tier { line.reopen() }
            tier = rule.order.tier
            for range in ranges { line.decide(range, rule.outcome) }
        }
        self.init(segments: line.segments(rest: restIsAllowed ? .allow : nil))
    }
}

/// The line of ports, cut where some rule begins or ends; pieces get their outcome one after the other.
private struct PortLine {
    private let bounds: [UInt32]
    private var outcomes: [Outcome?]
    /// Pieces that are decided are leapt over: `next[i]` is a piece from i on that may be open.
    private var next: [Int]

    init(_ ranges: [ClosedRange<UInt32>]) {
        let everything = PortPoint.everything
        var bounds: Set<UInt32> = [everything.lowerBound, everything.upperBound + 1]
        for range in ranges {
            bounds.insert(range.lowerBound)
            bounds.insert(range.upperBound + 1)
        }
        self.bounds = bounds.sorted()
        outcomes = Array(repeating: nil, count: bounds.count - 1)
        next = Array(0..<bounds.count)
    }

    /// - Parameter outcome: nil keeps the ports from the rest of the tier.
    mutating func decide(_ range: ClosedRange<UInt32>, _ outcome: Outcome?) {
        let end = index(of: range.upperBound + 1)
        var piece = open(index(of: range.lowerBound))
        while piece < end {
            outcomes[piece] = outcome
            next[piece] = piece + 1
            piece = open(piece)
        }
    }

    /// Makes what was passed open again.
    mutating func reopen() {
        for piece in outcomes.indices { next[piece] = outcomes[piece] == nil ? piece : piece + 1 }
    }

    /// - Parameter rest: the outcome of what nothing decided; nil leaves it out.
    func segments(rest: Outcome?) -> [PortClass.Segment] {
        var segments: [PortClass.Segment] = []
        for (piece, decided) in outcomes.enumerated() {
            guard let outcome = decided ?? rest else { continue }
            var first = bounds[piece]
            if let last = segments.last, last.outcome == outcome, last.range.upperBound + 1 == first {
                first = segments.removeLast().range.lowerBound
            }
            segments.append(PortClass.Segment(range: first...bounds[piece + 1] - 1, outcome: outcome))
        }
        return segments
    }

    /// The first open piece from this one on.
    private mutating func open(_ piece: Int) -> Int {
        var end = piece
        while next[end] != end { end = next[end] }
        var piece = piece
        while next[piece] != end {
            let following = next[piece]
            next[piece] = end
            piece = following
        }
        return end
    }

    private func index(of bound: UInt32) -> Int {
        var low = 0
        var high = bounds.count - 1
        while low < high {
            let middle = (low + high) / 2
            if bounds[middle] < bound { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
