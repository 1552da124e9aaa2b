package import Model
package import Wire

/// What endpoints may reach, as the rows say: for comparing one state of policies with another.
extension PolicyCompiler {
    /// The ranges of (protocol, port) on which an address may begin a connection to another.
    package func reach(from source: IPAddress, to destination: IPAddress) -> [ClosedRange<UInt32>] {
        let sender = owners[source].flatMap { endpoints[$0] }
        let receiver = owners[destination].flatMap { endpoints[$0] }
        guard sender?.id != receiver?.id, !isIsolated((source, sender), (destination, receiver)) else {
            return []
        }
        var ranges = [PortPoint.everything]
        if sender != nil {
            ranges = intersection(ranges, allowed(.egress, subject: source, peer: destination))
        }
        if receiver != nil {
            ranges = intersection(ranges, allowed(.ingress, subject: destination, peer: source))
        }
        return ranges
    }

    private func allowed(_ direction: Direction, subject: IPAddress, peer: IPAddress) -> [ClosedRange<UInt32>]
    {
        (ports(direction, subject: subject, peer: peer)?.segments ?? []).filter { !$0.outcome.isDenial }
            .map(\.range)
    }

    /// The endpoints whose rules a difference changes.
    package func endpoints(affectedBy delta: RulesetDelta) -> Set<String> {
        var found: Set<String> = []
        for change in [delta.removed, delta.added].joined() {
            switch change.row {
            case .identity(let address), .quarantined(let address), .named(let address, _):
                if let owner = owners[address] { found.insert(owner) }
            case .pair(_, let subject, _), .segment(_, let subject, _, _):
                for address in subjects[subject]?.members ?? [] {
                    if let owner = owners[address] { found.insert(owner) }
                }
            case .port, .exception, .limited, .connections, .rulePackets, .ruleBandwidth, .packets: continue
            }
        }
        return found
    }

    /// Where the runs of addresses begin that an endpoint's rules treat alike, of one family.
    package func addressCuts(of address: IPAddress) -> Set<IPAddress> {
        guard let subject = ledger[.identity(address)].flatMap({ subjects[$0] }) else { return [] }
        var cuts: Set<IPAddress> = [IPAddress(address.family, bits: 0)]
        for segment in subject.segments.values.joined() where segment.first.family == address.family {
            cuts.insert(segment.first)
            if segment.last.bits < IPAddress(address.family, bits: .max).bits {
                cuts.insert(IPAddress(address.family, bits: segment.last.bits + 1))
            }
        }
        return cuts
    }

    /// What an address stands for in `reach`: addresses with equal ones are treated alike by all others.
    package func likeness(_ address: IPAddress) -> UInt32? { ledger[.identity(address)] }
}

/// Parts of ascending disjoint ranges that both have.
private func intersection(_ a: [ClosedRange<UInt32>], _ b: [ClosedRange<UInt32>]) -> [ClosedRange<UInt32>] {
    var result: [ClosedRange<UInt32>] = []
    var (i, j) = (0, 0)
    while i < a.count, j < b.count {
        let low = max(a[i].lowerBound, b[j].lowerBound)
        let high = min(a[i].upperBound, b[j].upperBound)
        if low <= high { append(low, high, to: &result) }
        if a[i].upperBound < b[j].upperBound { i += 1 } else { j += 1 }
    }
    return result
}

/// Parts of ascending disjoint ranges that the others have not.
package func difference(_ a: [ClosedRange<UInt32>], _ b: [ClosedRange<UInt32>]) -> [ClosedRange<UInt32>] {
    var result: [ClosedRange<UInt32>] = []
    for range in a {
        var first = range.lowerBound
        var isOver = false
        for other in b where other.upperBound >= first && other.lowerBound <= range.upperBound {
            if other.lowerBound > first { append(first, other.lowerBound - 1, to: &result) }
            guard other.upperBound < range.upperBound else {
                isOver = true
                break
            }
            first = other.upperBound + 1
        }
        if !isOver { append(first, range.upperBound, to: &result) }
    }
    return result
}

private func append(_ first: UInt32, _ last: UInt32, to ranges: inout [ClosedRange<UInt32>]) {
    if let before = ranges.last, before.upperBound + 1 == first {
        ranges[ranges.count - 1] = before.lowerBound...last
    } else {
        ranges.append(first...last)
    }
}

/// Ranges of (protocol, port) in the words of policy.
package func reachPorts(_ ranges: [ClosedRange<UInt32>]) -> [(ports: ReachPorts, example: FlowTransport)] {
    if ranges == [PortPoint.everything] { return [(.everything, .other(255))] }
    var found: [(ReachPorts, FlowTransport)] = []
    let known: [(TransportProtocol, UInt32)] = [(.icmp, 1), (.icmp, 58), (.tcp, 6), (.udp, 17), (.sctp, 132)]
    var hasICMP = false
    for (transport, number) in known {
        let all = number << 16...number << 16 | 0xffff
        for range in intersection([all], ranges) {
            let ports =
                UInt16(truncatingIfNeeded: range.lowerBound)...UInt16(truncatingIfNeeded: range.upperBound)
            if transport == .icmp {
                if !hasICMP { found.append((.range(PortRange(.icmp)), .icmp)) }
                hasICMP = true
                continue
            }
            let example = FlowTransport(number: UInt8(number), port: max(ports.lowerBound, 1))
            found.append((.range(PortRange(transport, ports)), example))
        }
    }
    let rest = difference(ranges, known.sorted { $0.1 < $1.1 }.map { $0.1 << 16...$0.1 << 16 | 0xffff })
    if let first = rest.first {
        found.append((.otherProtocols, .other(UInt8(truncatingIfNeeded: first.lowerBound >> 16))))
    }
    return found
}
