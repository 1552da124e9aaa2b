internal import Wire

/// A rule's place among all rules of all policies: the lowest decides. Evaluation hands about these, and looks at
/// the rule that it ends with.
typealias RuleNumber = Int

extension RuleNumber {
    static let noRule = RuleNumber.max
}

/// One rule as it applies to endpoints that its policy selects.
struct PlacedRule: Sendable {
    let number: RuleNumber
    let reference: RuleReference
    let action: RuleAction
    /// nil for every port of every protocol.
    let ports: [PortMatch]?
    let peers: [PlacedPeer]?
    let verifiesHost: Bool
}

/// A rule's peer, with its selector by number.
enum PlacedPeer: Sendable {
    case selector(Int)
    case block(CIDR, except: [CIDR])
    case domain(DomainPattern)
}

/// The rules of one tier in one direction for one set of policies, found by peer and port instead of by
/// trying each.
final class RuleTable: Sendable {
    private struct Block: Sendable {
        let except: [CIDR]
        let rules: PortIndex
    }

    private let anyone: PortIndex?
    private let bySelector: SortedMap<Int, PortIndex>
    private let byBlock: SortedMap<CIDR, [Block]>
    private let byDomain: [(pattern: DomainPattern, rules: PortIndex)]
    /// Prefix lengths in use: a lookup tries each one once, however many blocks there are.
    private let lengths: (v4: [Int], v6: [Int])

    /// - Parameter rules: in the order in which they are asked.
    init(_ rules: [PlacedRule]) {
        var anyone: [PlacedRule] = []
        var bySelector: [Int: [PlacedRule]] = [:]
        var byBlock: [CIDR: [[CIDR]: [PlacedRule]]] = [:]
        var byDomain: [DomainPattern: [PlacedRule]] = [:]
        for rule in rules {
            guard let peers = rule.peers else {
                anyone.append(rule)
                continue
            }
            for peer in peers {
                switch peer {
                case .selector(let number): bySelector[number, default: []].append(rule)
                case .block(let block, let except):
                    byBlock[block, default: [:]][except, default: []].append(rule)
                case .domain(let pattern): byDomain[pattern, default: []].append(rule)
                }
            }
        }
        self.anyone = anyone.isEmpty ? nil : PortIndex(anyone)
        self.bySelector = SortedMap(bySelector.mapValues { PortIndex($0) })
        self.byBlock = SortedMap(
            byBlock.mapValues { groups in
                groups.map { Block(except: $0.key, rules: PortIndex($0.value)) }
            })
        self.byDomain = byDomain.map { ($0.key, PortIndex($0.value)) }
        func lengths(_ family: IPFamily) -> [Int] {
            Set(byBlock.keys.lazy.filter { $0.family == family }.map(\.prefixLength)).sorted()
        }
        self.lengths = (lengths(.v4), lengths(.v6))
    }

    /// The first rule that speaks of this peer and port; `.noRule` if there is none.
    ///
    /// - Parameter selectors: the numbers of those that match the peer; empty for one outside.
    func first(_ peer: FlowSide, selectors: [Int], _ query: PortQuery, withholdsNames: Bool) -> RuleNumber {
        let address = peer.address
        var best = anyone?.first(query, withholdsNames: withholdsNames) ?? .noRule
        if !bySelector.isEmpty {
            for number in selectors {
                guard let rules = bySelector[number] else { continue }
                best = min(best, rules.first(query, withholdsNames: withholdsNames))
            }
        }
        for length in address.family == .v4 ? lengths.v4 : lengths.v6 {
            for block in byBlock[CIDR(containing: address, prefixLength: length)] ?? []
            where !block.except.contains(where: { $0.contains(address) }) {
                best = min(best, block.rules.first(query, withholdsNames: withholdsNames))
            }
        }
        if !peer.names.isEmpty {
            for (pattern, rules) in byDomain where peer.names.contains(where: pattern.matches) {
                best = min(best, rules.first(query, withholdsNames: withholdsNames))
            }
        }
        return best
    }
}
