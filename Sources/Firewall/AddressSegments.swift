internal import Model
internal import Wire

/// A run of addresses for which the same rules hold.
struct AddressSegment: Hashable {
    let first: IPAddress
    let last: IPAddress
    let ports: PortClass
}

/// Cuts a family's address space by the blocks that rules speak of and says, for each piece that any rule
/// speaks of, what holds there.
///
/// Rules whose peers are endpoints do not count here: the kernel asks for the pair of identities first.
///
/// - Parameter named: the named ports of the flow's destination.
func addressSegments(
    _ sides: [RuleBook.Side], _ family: IPFamily, _ named: [NamedPort], _ chain: Chain
) -> [AddressSegment] {
    let top = IPAddress(family, bits: .max).bits
    // Starts of pieces: where a block begins and where it has just ended.
    var cuts: Set<UInt128> = [0]
    var lengths: Set<Int> = []
    for side in sides {
        for (block, entries) in side.byBlock where block.family == family {
            lengths.insert(block.prefixLength)
            for part in [block] + entries.flatMap(\.except) where part.family == family {
                cuts.insert(part.first.bits)
                if part.last.bits < top { cuts.insert(part.last.bits + 1) }
            }
        }
    }
    let starts = cuts.sorted()
    let widths = lengths.sorted()
    var segments: [AddressSegment] = []
    var rules: [CompiledRule] = []
    for (index, start) in starts.enumerated() {
        let end = index + 1 < starts.count ? starts[index + 1] - 1 : top
        let address = IPAddress(family, bits: start)
        let blocks = widths.map { CIDR(containing: address, prefixLength: $0) }
        rules.removeAll(keepingCapacity: true)
        for side in sides { side.collect(address, blocks, into: &rules) }
        let ports = PortClass(rules, named, chain)
        if ports == .empty { continue }
        if let last = segments.last, last.ports == ports, last.last.bits + 1 == start {
            segments[segments.count - 1] = AddressSegment(
                first: last.first, last: IPAddress(family, bits: end), ports: ports)
        } else {
            segments.append(AddressSegment(first: address, last: IPAddress(family, bits: end), ports: ports))
        }
    }
    return segments
}
