internal import Model

/// The rows as they are, with what each was before the current change touched it.
package struct RowLedger: Sendable {
    package private(set) var rows: [Row: UInt32] = [:]
    /// How many rows limit the packets of a port.
    package private(set) var packetLimits = 0

    private var classNumbers = NumberAllocator<PortClass>()
    private var classUses: [UInt32: Int] = [:]

    private var journal: [Row: UInt32?] = [:]
    private var countedPackets = false

    init() {}

    func portClass(_ number: UInt32) -> PortClass? { classNumbers[number] }

    mutating func set(_ row: Row, _ value: UInt32?) {
        let old = rows[row]
        guard old != value else { return }
        if journal[row] == nil { journal.updateValue(old, forKey: row) }
        rows[row] = value
        if case .packets = row { packetLimits += (value == nil ? 0 : 1) - (old == nil ? 0 : 1) }
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

    mutating func takeDelta() -> RulesetDelta {
        var delta = RulesetDelta()
        for (row, old) in journal {
            let now = rows[row]
            guard old != now else { continue }
            if let old { delta.removed[row] = old }
            if let now { delta.added[row] = now }
        }
        let countsPackets = packetLimits > 0
        if countsPackets != countedPackets { delta.countsPackets = countsPackets }
        countedPackets = countsPackets
        journal.removeAll(keepingCapacity: true)
        return delta
    }
}
