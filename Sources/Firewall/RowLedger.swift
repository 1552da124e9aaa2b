internal import Model

/// The rows as they are, with what each was before the current change touched it.
package struct RowLedger: Sendable {
    package private(set) var rows: [Row: UInt32] = [:]
    /// How many things need chains that are not always there.
    private var needs: [OptionalChains: Int] = [:]

    private var classNumbers = NumberAllocator<PortClass>()
    private var classUses: [UInt32: Int] = [:]

    private var journal: [Row: UInt32?] = [:]
    private var present: Set<OptionalChains> = []

    init() {}

    /// The chains that there have to be besides those that always are.
    package var neededChains: Set<OptionalChains> { Set(needs.lazy.filter { $0.value > 0 }.map(\.key)) }

    func portClass(_ number: UInt32) -> PortClass? { classNumbers[number] }

    mutating func set(_ row: Row, _ value: UInt32?) {
        let old = rows[row]
        guard old != value else { return }
        if journal[row] == nil { journal.updateValue(old, forKey: row) }
        rows[row] = value
        if case .packets = row { need(.packetLimits, (value == nil ? 0 : 1) - (old == nil ? 0 : 1)) }
    }

    mutating func need(_ chains: OptionalChains, _ change: Int) { needs[chains, default: 0] += change }

    /// Points a row at a class of ports, adding and removing the class's own rows with its first and last
    /// use.
    mutating func setClass(_ row: Row, _ ports: PortClass?) {
        let old = rows[row]
        var new: UInt32?
        if let ports {
            let number = classNumbers.number(for: ports, preferred: ports.stableHash, in: 1...UInt32.max)
            new = number
            if old == number { return }
            classUses[number, default: 0] += 1
            if classUses[number] == 1 {
                for segment in ports.segments {
                    set(.port(class: number, range: segment.range), segment.outcome.rawValue)
                }
            }
        }
        set(row, new)
        if let old, let uses = classUses[old] {
            classUses[old] = uses == 1 ? nil : uses - 1
            if uses == 1, let ports = classNumbers[old] {
                for segment in ports.segments { set(.port(class: old, range: segment.range), nil) }
                classNumbers.release(old)
            }
        }
    }

    mutating func takeDelta() -> RulesetDelta {
        var delta = RulesetDelta()
        for (row, old) in journal {
            let now = rows[row]
            guard old != now else { continue }
            if let old { delta.removed[row] = old }
            if let now { delta.added[row] = now }
        }
        let needed = neededChains
        for chains in needed.symmetricDifference(present) { delta.chains[chains] = needed.contains(chains) }
        present = needed
        journal.removeAll(keepingCapacity: true)
        return delta
    }
}
