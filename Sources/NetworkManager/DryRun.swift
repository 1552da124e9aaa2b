internal import Firewall
public import Model
internal import Wire

extension NetworkManager {
    /// Says what applying policies would do, and does nothing: who gains or loses reach, by which rule, and
    /// which live connections would be cut.
    ///
    /// - Throws: as `apply` would.
    public func preview(_ policies: [FirewallPolicy]) throws -> PolicyEffect {
        var effect = PolicyEffect()
        effect.changes = try changes(policies)
        let changed = zip(policies, effect.changes).filter { $0.1 != .unchanged }.map(\.0)
        guard !changed.isEmpty else { return effect }

        var next = firewall.compiler
        let delta = next.setPolicies(changed)
        guard next.rows.count <= firewall.rowLimit else {
            throw ModelError.exhausted(
                "policies", "\(changed.count)",
                "they come to \(next.rows.count) elements of the kernel's sets, \(firewall.rowLimit) at most")
        }
        let names = Set(changed.map(\.name))
        let then = PolicySet(directory.policies.values.filter { !names.contains($0.name) } + changed)
        let affected = firewall.compiler.endpoints(affectedBy: delta).union(next.endpoints(affectedBy: delta))
        try findCuts(affected, next, then, &effect)
        findReach(affected, next, then, &effect)
        return effect
    }

    private static var mostPairs: Int { 200_000 }

    private func findCuts(
        _ affected: Set<String>, _ next: PolicyCompiler, _ then: PolicySet, _ effect: inout PolicyEffect
    ) throws {
        let addresses = Set(affected.flatMap { directory.endpoints[$0]?.addresses ?? [] })
        for entry in try connections.entries(of: addresses) {
            let live = ConnectionTable.Flow(entry)
            func outcome(_ compiler: PolicyCompiler) -> Outcome {
                compiler.judge(
                    from: live.source, to: live.destination, l4proto: live.l4proto,
                    port: live.destinationPort)
            }
            guard outcome(next).isDenial, !outcome(firewall.compiler).isDenial else { continue }
            let flow = Flow(
                from: FlowSide(live.source, directory.member(at: live.source)),
                to: FlowSide(live.destination, directory.member(at: live.destination)),
                FlowTransport(number: live.l4proto, port: live.destinationPort))
            guard let reason = then.evaluate(flow).denial else { continue }
            guard effect.cuts.count < PolicyEffect.listLimit else {
                effect.omittedCuts += 1
                continue
            }
            effect.cuts.append(CutConnection(flow: flow, reason: reason))
        }
        effect.cuts.sort { "\($0.flow.source.address)" < "\($1.flow.source.address)" }
    }

    /// Compares what each affected endpoint may reach, and who may reach it, before and after.
    ///
    /// Endpoints that policies cannot tell apart are compared once.
    private func findReach(
        _ affected: Set<String>, _ next: PolicyCompiler, _ then: PolicySet, _ effect: inout PolicyEffect
    ) {
        let now = ready()
        let members = directory.endpoints.values.compactMap { try? directory.member($0) }.sorted {
            ($0.network.name, $0.endpoint.name) < ($1.network.name, $1.endpoint.name)
        }
        var known: [ReachKey: [(range: [ClosedRange<UInt32>], gains: Bool)]] = [:]
        func compare(_ from: IPAddress, _ to: IPAddress) -> [(range: [ClosedRange<UInt32>], gains: Bool)] {
            let key = ReachKey(
                [firewall.compiler.likeness(from), next.likeness(from)],
                [firewall.compiler.likeness(to), next.likeness(to)])
            if let known = known[key] { return known }
            let (before, after) = (
                firewall.compiler.reach(from: from, to: to), next.reach(from: from, to: to)
            )
            let found = [(difference(before, after), false), (difference(after, before), true)].filter {
                !$0.0.isEmpty
            }
            if key.isOfEndpoints { known[key] = found }
            return found
        }
        func report(
            _ from: ReachChange.End, _ to: ReachChange.End, _ source: FlowSide, _ destination: FlowSide
        ) {
            for (ranges, _) in compare(source.address, destination.address) {
                for (ports, example) in reachPorts(ranges) {
                    guard effect.reach.count < PolicyEffect.listLimit else {
                        effect.omittedReach += 1
                        continue
                    }
                    let flow = Flow(from: source, to: destination, example)
                    effect.reach.append(
                        ReachChange(
                            from: from, to: to, ports: ports, before: now.evaluate(flow),
                            after: then.evaluate(flow)))
                }
            }
        }
        func reportPair(_ from: NetworkMember, _ to: NetworkMember) {
            guard let (source, destination) = sides(from, to) else { return }
            report(.endpoint(from), .endpoint(to), source, destination)
        }
        // Nothing else is done meanwhile: what is beyond this many pairs is left out.
        var left = Self.mostPairs
        for member in members where affected.contains(member.endpoint.id) {
            for peer in members where peer.endpoint.id != member.endpoint.id && left > 0 {
                left -= 1
                reportPair(member, peer)
                if !affected.contains(peer.endpoint.id) { reportPair(peer, member) }
            }
        }
        for member in members where affected.contains(member.endpoint.id) {
            for own in member.endpoint.addresses {
                let side = FlowSide(own, member)
                let cuts = firewall.compiler.addressCuts(of: own).union(next.addressCuts(of: own)).sorted()
                for (index, first) in cuts.enumerated() {
                    let last =
                        index + 1 < cuts.count
                        ? IPAddress(first.family, bits: cuts[index + 1].bits - 1)
                        : IPAddress(first.family, bits: .max)
                    guard let outside = stranger(from: first, to: last) else { continue }
                    let run = ReachChange.End.outside(first, last)
                    report(.endpoint(member), run, side, FlowSide(outside))
                    report(run, .endpoint(member), FlowSide(outside), side)
                }
            }
        }
    }

    /// The addresses over which two endpoints talk: IPv4 if both have it.
    private func sides(_ from: NetworkMember, _ to: NetworkMember) -> (FlowSide, FlowSide)? {
        for family in IPFamily.allCases {
            if let source = from.endpoint.address(family), let destination = to.endpoint.address(family) {
                return (FlowSide(source, from), FlowSide(destination, to))
            }
        }
        return nil
    }

    /// An address of a run that no endpoint has; nil where the run is of the fabric's alone.
    private func stranger(from first: IPAddress, to last: IPAddress) -> IPAddress? {
        for step in 0..<16 as Range<UInt128> {
            let (bits, overflow) = first.bits.addingReportingOverflow(step)
            guard !overflow, bits <= last.bits else { return nil }
            let address = IPAddress(first.family, bits: bits)
            let isOurs = directory.networks.values.contains { network in
                network.subnets.contains { $0.contains(address) }
            }
            if !isOurs { return address }
        }
        return nil
    }
}

/// What two addresses are to policies, before and after.
private struct ReachKey: Hashable {
    private let from: [UInt32?]
    private let to: [UInt32?]

    init(_ from: [UInt32?], _ to: [UInt32?]) {
        self.from = from
        self.to = to
    }

    /// Addresses outside are told apart by more than this.
    var isOfEndpoints: Bool { !from.contains(nil) && !to.contains(nil) }
}
