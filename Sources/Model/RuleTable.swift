internal import Wire

/// One rule as it applies to endpoints that its policy selects. A class, since tables share it.
final class PlacedRule: Sendable {
    /// Its place among all rules of all policies. The lowest decides.
    let order: Int
    let reference: RuleReference
    let action: RuleAction
    /// nil for every port of every protocol.
    let ports: [PortMatch]?
    let peers: [PlacedPeer]?
    let verifiesHost: Bool

    init(
        order: Int, reference: RuleReference, action: RuleAction, ports: [PortMatch]?, peers: [PlacedPeer]?,
        verifiesHost: Bool
    ) {
        self.order = order
        self.reference = reference
        self.action = action
        self.ports = ports
        self.peers = peers
        self.verifiesHost = verifiesHost
    }
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
    private let bySelector: [Int: PortIndex]
    private let byBlock: [CIDR: [Block]]
    private let byDomain: [(pattern: DomainPattern, rules: PortIndex)]
    /// Prefix lengths in use: a lookup tries each one once, however many blocks there are.
    private let lengths: [IPFamily: [Int]]

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
        self.bySelector = bySelector.mapValues { PortIndex($0) }
        self.byBlock = byBlock.mapValues { groups in
            groups.map { Block(except: $0.key, rules: PortIndex($0.value)) }
        }
        self.byDomain = byDomain.map { ($0.key, PortIndex($0.value)) }
        lengths = Dictionary(grouping: byBlock.keys, by: \.family).mapValues {
            Set($0.map(\.prefixLength)).sorted()
        }
    }

    /// The first rule that speaks of this peer and port.
    ///
    /// - Parameter selectors: the numbers of those that match the peer; empty for one outside.
    func first(
        _ peer: FlowSide, selectors: [Int], _ query: PortQuery, withholdsNames: Bool = false
    ) -> PlacedRule? {
        let address = peer.address
        var best = anyone?.first(query, withholdsNames: withholdsNames)
        func consider(_ rule: PlacedRule?) {
            if let rule, rule.order < best?.order ?? .max { best = rule }
        }
        if !bySelector.isEmpty {
            for number in selectors {
                consider(bySelector[number]?.first(query, withholdsNames: withholdsNames))
            }
        }
        if !byBlock.isEmpty, let lengths = lengths[address.family] {
            for length in lengths {
                for block in byBlock[CIDR(containing: address, prefixLength: length)] ?? []
                where !block.except.contains(where: { $0.contains(address) }) {
                    consider(block.rules.first(query, withholdsNames: withholdsNames))
                }
            }
        }
        if !peer.names.isEmpty {
            for (pattern, rules) in byDomain where peer.names.contains(where: pattern.matches) {
                consider(rules.first(query, withholdsNames: withholdsNames))
            }
        }
        return best
    }
}
