internal import Model

/// The rows as they are, with what each was before the current change touched it.
package struct RowLedger: Sendable {
    package private(set) var rows: [Row: UInt32] = [:]
    package private(set) var limits: [UInt32: LimitChain] = [:]

    private var classNumbers = NumberAllocator<PortClass>()
    private var classUses: [UInt32: Int] = [:]
    private var limitUses: [UInt32: Int] = [:]

    private var journal: [Row: UInt32?] = [:]
    private var limitJournal: [UInt32: LimitChain?] = [:]

    init() {}

    func portClass(_ number: UInt32) -> PortClass? { classNumbers[number] }

    mutating func set(_ row: Row, _ value: UInt32?) {
        let old = rows[row]
        guard old != value else { return }
        if journal[row] == nil { journal.updateValue(old, forKey: row) }
        rows[row] = value
    }

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

    mutating func setLimit(_ subject: UInt32, _ bounds: [LimitChain.Bound]) {
        let row = Row.limit(subject: subject)
        let old = rows[row]
        var new: UInt32?
        if !bounds.isEmpty {
            var hash = StableHash()
            for bound in bounds {
                hash.combine(bound.policy)
                hash.combine(UInt32(truncatingIfNeeded: bound.perSecond))
            }
            var number = hash.folded
            while let other = limits[number], other.bounds != bounds { number &+= 1 }
            new = number
            if old == number { return }
            limitUses[number, default: 0] += 1
            setLimitChain(number, LimitChain(number: number, bounds: bounds))
        }
        set(row, new)
        if let old, let uses = limitUses[old] {
            limitUses[old] = uses == 1 ? nil : uses - 1
            if uses == 1 { setLimitChain(old, nil) }
        }
    }

    private mutating func setLimitChain(_ number: UInt32, _ chain: LimitChain?) {
        guard limits[number] != chain else { return }
        if limitJournal[number] == nil { limitJournal.updateValue(limits[number], forKey: number) }
        limits[number] = chain
    }

    mutating func takeDelta() -> RulesetDelta {
        var delta = RulesetDelta()
        for (row, old) in journal {
            let now = rows[row]
            guard old != now else { continue }
            if let old { delta.removed[row] = old }
            if let now { delta.added[row] = now }
        }
        for (number, old) in limitJournal where old != limits[number] {
            if let old { delta.removedLimits.append(old) }
            if let now = limits[number] { delta.addedLimits.append(now) }
        }
        journal.removeAll(keepingCapacity: true)
        limitJournal.removeAll(keepingCapacity: true)
        return delta
    }
}
