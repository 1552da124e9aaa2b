internal import Netlink

/// Elements to take out of sets and to put into them, and the transactions that do it.
struct ElementChanges {
    private(set) var removed: [(set: NftSet, elements: [NftElement])] = []
    private(set) var added: [(set: NftSet, elements: [NftElement])] = []
    private var removedIndex: [NftTable: [String: Int]] = [:]
    private var addedIndex: [NftTable: [String: Int]] = [:]

    /// Bytes of a transaction that any socket takes: an ordinary user's send buffer grows to twice
    /// `net.core.wmem_max`, whose stock value is 212,992.
    static let sizeLimit = 400_000

    init() {}

    init(_ delta: RulesetDelta) {
        for (row, value) in delta.removed { remove(KernelRows.elements(row, value)) }
        for (row, value) in delta.added { add(KernelRows.elements(row, value)) }
    }

    var isEmpty: Bool { removed.allSatisfy(\.elements.isEmpty) && added.allSatisfy(\.elements.isEmpty) }

    mutating func remove(_ part: (set: NftSet, elements: [NftElement])) {
        Self.append(part, to: &removed, &removedIndex)
    }

    mutating func add(_ part: (set: NftSet, elements: [NftElement])) {
        Self.append(part, to: &added, &addedIndex)
    }

    private static func append(
        _ part: (set: NftSet, elements: [NftElement]), to list: inout [(set: NftSet, elements: [NftElement])],
        _ index: inout [NftTable: [String: Int]]
    ) {
        if let place = index[part.set.table]?[part.set.name] {
            list[place].elements += part.elements
        } else {
            index[part.set.table, default: [:]][part.set.name] = list.count
            list.append(part)
        }
    }

    /// One transaction if it fits into a socket's buffer. Else several, in an order in which every flow is at
    /// any moment judged by the old rules, by the new ones, or denied.
    func batches(_ delta: RulesetDelta) -> [NftBatch] {
        var whole = NftBatch()
        for limit in delta.addedLimits { whole.create(limit) }
        for (set, elements) in removed where !elements.isEmpty { whole.remove(elements, from: set) }
        for (set, elements) in added where !elements.isEmpty { whole.add(elements, to: set) }
        for limit in delta.removedLimits { whole.delete(limit) }
        if whole.encodedSize <= Self.sizeLimit { return whole.isEmpty ? [] : [whole] }
        return split(delta)
    }

    private func split(_ delta: RulesetDelta) -> [NftBatch] {
        var batches: [NftBatch] = []
        var current = NftBatch()
        func flush() {
            if !current.isEmpty { batches.append(current) }
            current = NftBatch()
        }
        func each(
            _ list: [(set: NftSet, elements: [NftElement])], _ names: (String) -> Bool,
            _ put: (NftElement, NftSet) -> Void
        ) {
            for (set, elements) in list where names(set.name) {
                for element in elements { put(element, set) }
            }
        }
        func isPort(_ name: String) -> Bool { name == KernelLayout.ports.name }
        func isPair(_ name: String) -> Bool { name.hasSuffix("_pairs") }

        for limit in delta.addedLimits { current.create(limit) }
        flush()
        // 1. Classes that nothing points at yet.
        batches += chunks(of: added.filter { isPort($0.set.name) }, with: [])
        // 2. Pairs that are new or changed: they go before what addresses say.
        let newPairs = added.filter { isPair($0.set.name) }
        let newKeys = Set(
            newPairs.flatMap { part in part.elements.map { [UInt8](part.set.name.utf8) + $0.key } })
        let oldPairs = removed.filter { isPair($0.set.name) }
        let replaced = oldPairs.map { part in
            (
                set: part.set,
                elements: part.elements.filter { newKeys.contains([UInt8](part.set.name.utf8) + $0.key) }
            )
        }
        let gone = oldPairs.map { part in
            (
                set: part.set,
                elements: part.elements.filter { !newKeys.contains([UInt8](part.set.name.utf8) + $0.key) }
            )
        }
        batches += chunks(of: newPairs, with: replaced)
        // 3. Everything else, old out before new in.
        func isOther(_ part: (set: NftSet, elements: [NftElement])) -> Bool {
            !isPort(part.set.name) && !isPair(part.set.name)
        }
        batches += chunks(of: [], with: removed.filter(isOther))
        batches += chunks(of: added.filter(isOther), with: [])
        // 4. Pairs that are gone, and classes that nothing points at any more.
        batches += chunks(of: [], with: gone + removed.filter { isPort($0.set.name) })
        for limit in delta.removedLimits { current.delete(limit) }
        flush()
        return batches
    }

    /// Transactions within the limit. An element that is replaced leaves and comes in the same one.
    private func chunks(
        of added: [(set: NftSet, elements: [NftElement])],
        with removed: [(set: NftSet, elements: [NftElement])]
    ) -> [NftBatch] {
        var batches: [NftBatch] = []
        // An element with its headers and attributes stays below 160 bytes, so this many fit.
        let most = Self.sizeLimit / 160 / 2
        var leaving: [[UInt8]: NftElement] = [:]
        for (set, elements) in removed {
            for element in elements { leaving[[UInt8](set.name.utf8) + element.key] = element }
        }
        for (set, elements) in added {
            var start = 0
            while start < elements.count {
                // An interval is two elements and must not be torn.
                var end = min(start + most, elements.count)
                while end < elements.count, elements[end].isIntervalEnd { end += 1 }
                var batch = NftBatch()
                let part = Array(elements[start..<end])
                let out = part.compactMap { leaving.removeValue(forKey: [UInt8](set.name.utf8) + $0.key) }
                if !out.isEmpty { batch.remove(out, from: set) }
                batch.add(part, to: set)
                batches.append(batch)
                start = end
            }
        }
        for (set, elements) in removed {
            let rest = elements.filter { leaving[[UInt8](set.name.utf8) + $0.key] != nil }
            var start = 0
            while start < rest.count {
                var end = min(start + 2 * most, rest.count)
                while end < rest.count, rest[end].isIntervalEnd { end += 1 }
                var batch = NftBatch()
                batch.remove(Array(rest[start..<end]), from: set)
                batches.append(batch)
                start = end
            }
        }
        return batches
    }
}

extension NftBatch {
    mutating func create(_ limit: LimitChain) {
        let (chain, sets, rules) = PolicyChains.limit(limit)
        create(chain)
        for set in sets { create(set) }
        for rule in rules { add(rule) }
    }

    mutating func delete(_ limit: LimitChain) {
        let (chain, sets, _) = PolicyChains.limit(limit)
        flush(chain)
        delete(chain)
        for set in sets { delete(set) }
    }
}

extension NftElement {
    /// What makes two elements of our sets the same: counters and comments do not.
    var identity: ElementIdentity {
        ElementIdentity(key: key, isIntervalEnd: isIntervalEnd, data: data, verdict: verdict)
    }
}

struct ElementIdentity: Hashable {
    let key: [UInt8]
    let isIntervalEnd: Bool
    let data: [UInt8]?
    let verdict: NftVerdict?
}
