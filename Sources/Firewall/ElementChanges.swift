internal import Netlink

/// Elements to take out of sets and to put into them, and the transactions that do it.
struct ElementChanges {
    private(set) var removed: [(set: NftSet, elements: [NftElement])] = []
    private(set) var added: [(set: NftSet, elements: [NftElement])] = []

    /// Bytes of a transaction that any socket takes: an ordinary user's send buffer grows to twice
    /// `net.core.wmem_max`, whose stock value is 212,992.
    static let sizeLimit = 400_000

    /// Elements of one transaction: each with its headers and attributes stays below 160 bytes.
    private static let countLimit = sizeLimit / 160

    init() {}

    init(_ delta: RulesetDelta) {
        for one in delta.removed { remove(KernelRows.elements(one.row, one.value)) }
        for one in delta.added { add(KernelRows.elements(one.row, one.value)) }
    }

    var isEmpty: Bool { removed.allSatisfy(\.elements.isEmpty) && added.allSatisfy(\.elements.isEmpty) }

    mutating func remove(_ part: (set: NftSet, elements: [NftElement])) { Self.append(part, to: &removed) }

    mutating func add(_ part: (set: NftSet, elements: [NftElement])) { Self.append(part, to: &added) }

    /// There are few sets: looking through them takes less than hashing names.
    private static func append(
        _ part: (set: NftSet, elements: [NftElement]), to list: inout [(set: NftSet, elements: [NftElement])]
    ) {
        let place = list.firstIndex { $0.set.name == part.set.name && $0.set.table == part.set.table }
        if let place { list[place].elements += part.elements } else { list.append(part) }
    }

    /// What concerns sets that there is only one copy of.
    var ofSingleSets: ElementChanges {
        var changes = ElementChanges()
        for part in removed where !Generation.hasTwo(part.set) { changes.remove(part) }
        for part in added where !Generation.hasTwo(part.set) { changes.add(part) }
        return changes
    }

    /// All of it as one transaction.
    func batch(_ delta: RulesetDelta, _ generation: Generation) -> NftBatch {
        var whole = NftBatch()
        whole.create(delta.chains, generation)
        for (set, elements) in removed where !elements.isEmpty {
            whole.remove(elements, from: generation.set(set))
        }
        for (set, elements) in added where !elements.isEmpty { whole.add(elements, to: generation.set(set)) }
        whole.delete(delta.chains, where: false)
        return whole
    }

    /// Transactions within the limit, removals first, for sets that nothing depends on meanwhile.
    func parts(_ generation: Generation) -> [NftBatch] {
        Self.parts(removed) { $0.remove($1, from: generation.set($2)) }
            + Self.parts(added) { $0.add($1, to: generation.set($2)) }
    }

    private static func parts(
        _ list: [(set: NftSet, elements: [NftElement])],
        _ put: (inout NftBatch, [NftElement], NftSet) -> Void
    ) -> [NftBatch] {
        var batches: [NftBatch] = []
        var batch = NftBatch()
        var room = countLimit
        for (set, elements) in list {
            var start = 0
            while start < elements.count {
                // An interval is two elements and must not be torn.
                var end = min(start + room, elements.count)
                while end < elements.count, elements[end].isIntervalEnd { end += 1 }
                put(&batch, Array(elements[start..<end]), set)
                room -= end - start
                start = end
                guard room <= 0 else { continue }
                batches.append(batch)
                batch = NftBatch()
                room = countLimit
            }
        }
        if !batch.isEmpty { batches.append(batch) }
        return batches
    }
}

extension NftSet {
    /// What a set holds, each with what makes two of its kind the same: counters and comments do not.
    ///
    /// An interval is one entry, and its elements stand in the order in which the kernel takes and removes them:
    /// the end behind the beginning.
    func entries(_ elements: [NftElement]) -> [[ElementIdentity]: [NftElement]] {
        var entries: [[ElementIdentity]: [NftElement]] = [:]
        guard flags.contains(.interval) else {
            for element in elements { entries[[element.identity]] = [element] }
            return entries
        }
        // Where one interval ends and the next begins at the same key, the end comes first.
        let sorted = elements.sorted { a, b in
            a.key == b.key ? a.isIntervalEnd && !b.isIntervalEnd : a.key.lexicographicallyPrecedes(b.key)
        }
        var open: [NftElement] = []
        for element in sorted {
            if !element.isIntervalEnd, !open.isEmpty {
                entries[open.map(\.identity)] = open
                open = []
            }
            open.append(element)
            guard element.isIntervalEnd else { continue }
            entries[open.map(\.identity)] = open
            open = []
        }
        if !open.isEmpty { entries[open.map(\.identity)] = open }
        return entries
    }
}

extension NftElement {
    fileprivate var identity: ElementIdentity {
        ElementIdentity(
            key: key, isIntervalEnd: isIntervalEnd, data: data, verdict: verdict, expressions: expressions)
    }
}

struct ElementIdentity: Hashable {
    let key: [UInt8]
    let isIntervalEnd: Bool
    let data: [UInt8]?
    let verdict: NftVerdict?
    /// An element's own limit.
    let expressions: [NftExpression]
}
