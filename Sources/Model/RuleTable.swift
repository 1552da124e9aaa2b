internal import Wire

/// One rule as it applies to endpoints that its policy selects. A class, since tables share it.
final class PlacedRule: Sendable {
    /// Its place among all rules of all policies: policies by name, then lists, then numbers. The lowest
    /// decides.
    let order: Int
    let reference: RuleReference
    /// nil for every port of every protocol.
    let ports: [PortRange]?
    let peers: [PlacedPeer]?

    init(order: Int, reference: RuleReference, ports: [PortRange]?, peers: [PlacedPeer]?) {
        self.order = order
        self.reference = reference
        self.ports = ports
        self.peers = peers
    }

    func speaks(of transport: FlowTransport) -> Bool { ports?.contains { $0.contains(transport) } ?? true }
}

/// A rule's peer, with its selector by number.
enum PlacedPeer: Sendable {
    case selector(Int)
    case block(CIDR, except: [CIDR])
}

/// The rules of one kind (allow or deny) in one direction for one set of policies, found by the peer instead
/// of by trying each.
struct RuleTable: Sendable {
    private struct Block: Sendable {
        let except: [CIDR]
        let rule: PlacedRule
    }

    private var anyone: [PlacedRule] = []
    private var bySelector: [Int: [PlacedRule]] = [:]
    private var byBlock: [CIDR: [Block]] = [:]
    /// Prefix lengths in use: a lookup tries each one once, however many blocks there are.
    private var lengths: [IPFamily: Set<Int>] = [:]

    /// Rules must be added in ascending order.
    mutating func add(_ rule: PlacedRule) {
        guard let peers = rule.peers else { return anyone.append(rule) }
        for peer in peers {
            switch peer {
            case .selector(let number): bySelector[number, default: []].append(rule)
            case .block(let block, let except):
                byBlock[block, default: []].append(Block(except: except, rule: rule))
                lengths[block.family, default: []].insert(block.prefixLength)
            }
        }
    }

    /// The first rule that speaks of this peer and transport.
    ///
    /// - Parameter selectors: the numbers of those that match the peer; empty for one outside.
    func first(address: IPAddress, selectors: [Int], _ transport: FlowTransport) -> RuleReference? {
        var best: PlacedRule?
        func consider(_ rule: PlacedRule?) {
            if let rule, rule.order < best?.order ?? .max { best = rule }
        }
        consider(anyone.first { $0.speaks(of: transport) })
        if !bySelector.isEmpty {
            for number in selectors { consider(bySelector[number]?.first { $0.speaks(of: transport) }) }
        }
        for length in byBlock.isEmpty ? [] : lengths[address.family] ?? [] {
            let blocks = byBlock[CIDR(containing: address, prefixLength: length)]
            let match = blocks?.first { block in
                block.rule.speaks(of: transport) && !block.except.contains { $0.contains(address) }
            }
            consider(match?.rule)
        }
        return best?.reference
    }
}
