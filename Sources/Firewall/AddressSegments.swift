internal import Model
internal import Wire

/// A run of addresses for which the same rules hold.
struct AddressSegment: Hashable {
    let first: IPAddress
    let last: IPAddress
    let ports: PortClass
}

/// Cuts a family's address space by the CIDR peers of `rules` and says, for each piece that any rule speaks
/// of, what holds there.
///
/// Rules whose peers are endpoints do not count here: the kernel asks for the pair of identities first.
func addressSegments(_ rules: [CompiledRule], _ family: IPFamily) -> [AddressSegment] {
    let top = IPAddress(family, bits: .max).bits
    // Starts of pieces: where a block begins and where it has just ended.
    var cuts: Set<UInt128> = [0]
    for rule in rules {
        for case .cidr(let block, let except) in rule.peers ?? [] where block.family == family {
            for part in [block] + except where part.family == family {
                cuts.insert(part.first.bits)
                if part.last.bits < top { cuts.insert(part.last.bits + 1) }
            }
        }
    }
    let starts = cuts.sorted()
    var segments: [AddressSegment] = []
    for (index, start) in starts.enumerated() {
        let end = index + 1 < starts.count ? starts[index + 1] - 1 : top
        let address = IPAddress(family, bits: start)
        let ports = PortClass(rules: rules.filter { $0.reaches(address) })
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

extension CompiledRule {
    /// The rule speaks of this address whoever has it.
    func reaches(_ address: IPAddress) -> Bool {
        guard let peers else { return true }
        return peers.contains { peer in
            guard case .cidr(let block, let except) = peer else { return false }
            return block.contains(address) && !except.contains { $0.contains(address) }
        }
    }

    /// The rule speaks of endpoints with this identity by selecting them.
    func selects(_ identity: Identity) -> Bool {
        peers?.contains { peer in
            if case .endpoints(let selector) = peer { identity.matches(selector) } else { false }
        } ?? false
    }
}
