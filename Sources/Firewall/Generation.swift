internal import Model
internal import Netlink
internal import Wire

/// Which of two copies of the large sets the rules look into.
///
/// A change that does not fit one transaction is built as the other copy, which no rule looks into yet; one
/// small transaction then turns the rules to it and removes the former. So a change of any size is in force
/// all at once.
struct Generation: Hashable {
    private let isSecond: Bool

    static let first = Generation(isSecond: false)
    var other: Generation { Generation(isSecond: !isSecond) }

    /// Sets that there are two copies of: those that grow with endpoints and policies.
    static let sets: [NftSet] =
        [
            KernelLayout.ports, KernelLayout.portRanges, KernelLayout.connectionLimits,
            KernelLayout.packetLimits, KernelLayout.byteLimits,
        ]
        + IPFamily.allCases.flatMap {
            [
                KernelLayout.identities($0), KernelLayout.named($0), KernelLayout.quarantined($0),
                KernelLayout.exceptions($0),
                KernelLayout.limited($0),
            ]
        }
        + Direction.allCases.map(KernelLayout.pairs)
        + Direction.allCases.flatMap { direction in
            IPFamily.allCases.map { KernelLayout.segments(direction, $0) }
        }

    private static let names = Set(sets.map(\.name))

    static func hasTwo(_ set: NftSet) -> Bool {
        set.table == KernelLayout.policyTable && names.contains(set.name)
    }

    /// The empty chain that says which layout the tables have, and which copy is in force.
    var mark: NftChain {
        NftChain(
            table: KernelLayout.policyTable,
            name: "layout_\(KernelLayout.version)" + (isSecond ? "_second" : ""))
    }

    /// The copy's set; one that there is only one of is itself.
    func set(_ set: NftSet) -> NftSet {
        guard Generation.hasTwo(set) else { return set }
        var set = set
        set.name = name(set.name)
        return set
    }

    /// The rule as it looks into this copy's sets.
    func rule(_ rule: NftRule) -> NftRule {
        guard isSecond, rule.table == KernelLayout.policyTable else { return rule }
        var rule = rule
        rule.expressions = rule.expressions.map { expression in
            guard case .lookup(let set, let key, let destination, let inverted) = expression,
                Generation.names.contains(set)
            else { return expression }
            return .lookup(set: name(set), key: key, destination: destination, inverted: inverted)
        }
        return rule
    }

    private func name(_ name: String) -> String { isSecond ? name + "_second" : name }
}
