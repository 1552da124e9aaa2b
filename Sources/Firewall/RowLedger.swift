internal import Model

/// The rows as they are, with what each was before the current change touched it.
package struct RowLedger: Sendable {
    /// Between changes, every entry has a value.
    private var entries: [Row: Entry] = [:]
    /// What the current change has touched, in that order, with what it was before.
    private var journal: [(row: Row, before: UInt32?)] = []
    /// How many things need chains that are not always there.
    private var needs: [OptionalChains: Int] = [:]
    private var present: Set<OptionalChains> = []

    private var classNumbers = NumberAllocator<PortClass>()
    private var classUses: [UInt32: Int] = [:]

    private struct Entry {
        var value: UInt32?
        /// The current change has touched it.
        var isInJournal = false

        /// - Returns: the value before, and whether this is the current change's first of it.
        mutating func exchange(_ new: UInt32?) -> (old: UInt32?, isFirst: Bool) {
            let old = value
            guard old != new else { return (old, false) }
            let isFirst = !isInJournal
            isInJournal = true
            value = new
            return (old, isFirst)
        }

        mutating func settle() -> UInt32? {
            isInJournal = false
            return value
        }
    }

    init() {}

    package subscript(row: Row) -> UInt32? { entries[row]?.value }

    /// Between changes.
    package var count: Int { entries.count }

    /// The chains that there have to be besides those that always are.
    package var neededChains: Set<OptionalChains> { Set(needs.lazy.filter { $0.value > 0 }.map(\.key)) }

    func portClass(_ number: UInt32) -> PortClass? { classNumbers[number] }

    mutating func need(_ chains: OptionalChains, _ change: Int) { needs[chains, default: 0] += change }

    /// - Returns: the value that the row had.
    @discardableResult
    mutating func set(_ row: Row, _ value: UInt32?) -> UInt32? {
        // What is not there need not become nothing.
        let change =
            value == nil ? entries[row]?.exchange(nil) : entries[row, default: Entry()].exchange(value)
        guard let (old, isFirst) = change else { return nil }
        if isFirst { journal.append((row, old)) }
        if old != value, case .packets = row {
            need(.packetLimits, (value == nil ? 0 : 1) - (old == nil ? 0 : 1))
        }
        return old
    }

    /// Points a row at a class of ports, adding and removing the class's own rows with its first and last
    /// use.
    mutating func setClass(_ row: Row, _ ports: PortClass?) {
        let new = ports.map { use($0) }
        if let old = set(row, new) { release(old) }
    }

    private mutating func use(_ ports: PortClass) -> UInt32 {
        let number = classNumbers.number(for: ports, preferred: ports.stableHash, in: 1...UInt32.max)
        if changeUses(of: number, by: 1) == 1 {
            for segment in ports.segments {
                set(.port(class: number, range: segment.range), segment.outcome.rawValue)
            }
        }
        return number
    }

    private mutating func release(_ number: UInt32) {
        guard changeUses(of: number, by: -1) == 0 else { return }
        classUses[number] = nil
        for segment in classNumbers[number]?.segments ?? [] {
            set(.port(class: number, range: segment.range), nil)
        }
        classNumbers.release(number)
    }

    /// - Returns: how often the class is used now.
    private mutating func changeUses(of number: UInt32, by change: Int) -> Int {
        let uses = classUses[number, default: 0] + change
        classUses[number] = uses
        return uses
    }

    mutating func takeDelta() -> RulesetDelta {
        var delta = RulesetDelta()
        for (row, before) in journal {
            let now = entries[row]?.settle() ?? nil
            if now == nil { entries[row] = nil }
            guard before != now else { continue }
            if let before { delta.removed.append(RowValue(row: row, value: before)) }
            if let now { delta.added.append(RowValue(row: row, value: now)) }
        }
        let needed = neededChains
        for chains in needed.symmetricDifference(present) { delta.chains[chains] = needed.contains(chains) }
        present = needed
        journal.removeAll(keepingCapacity: true)
        return delta
    }
}

extension RowLedger: Sequence {
    package func makeIterator() -> some IteratorProtocol<(Row, UInt32)> {
        entries.lazy.compactMap { row, entry in entry.value.map { (row, $0) } }.makeIterator()
    }
}
