internal import Firewall
public import Model
internal import Netlink
internal import Wire

extension NetworkManager {
    /// Says what applying policies would do, and does nothing: who gains or loses reach, by which rule, and
    /// which live connections would be cut.
    ///
    /// It is found out beside the manager's other work, of the state as it is when the call begins.
    /// - Throws: as `apply` would.
    public func preview(_ policies: [FirewallPolicy]) async throws -> PolicyEffect {
        let changes = try changes(policies)
        let changed = changed(policies, changes)
        guard !changed.isEmpty else {
            var effect = PolicyEffect()
            effect.changes = changes
            return effect
        }
        let dryRun = try await DryRun.prepared(
            changed, firewall.compiler, ready(), directory, rowLimit: firewall.rowLimit)
        let live = try connections.entries(of: dryRun.affectedAddresses).map(ConnectionTable.Flow.init)
        return await dryRun.effect(changes, live)
    }
}

/// One state of policies beside the one that it would become.
private struct DryRun: Sendable {
    let compiler: PolicyCompiler
    let now: PolicySet
    let directory: Directory
    let next: PolicyCompiler
    let then: PolicySet
    /// Endpoints whose rules differ.
    let affected: Set<String>

    /// Beyond this many pairs of endpoints none are compared.
    static let mostPairs = 2_000_000

    @concurrent static func prepared(
        _ changed: [FirewallPolicy], _ compiler: PolicyCompiler, _ now: PolicySet, _ directory: Directory,
        rowLimit: Int
    ) async throws -> DryRun {
        var next = compiler
        let delta = next.setPolicies(changed)
        guard next.rowCount <= rowLimit else {
            throw ModelError.exhausted(
                "policies", "\(changed.count)",
                "they come to \(next.rowCount) elements of the kernel's sets, \(rowLimit) at most")
        }
        let names = Set(changed.map(\.name))
        return DryRun(
            compiler: compiler, now: now, directory: directory, next: next,
            then: PolicySet(directory.policies.values.filter { !names.contains($0.name) } + changed),
            affected: compiler.endpoints(affectedBy: delta).union(next.endpoints(affectedBy: delta)))
    }

    var affectedAddresses: Set<IPAddress> {
        Set(affected.flatMap { directory.endpoints[$0]?.addresses ?? [] })
    }

    @concurrent func effect(_ changes: [PolicyChange], _ live: [ConnectionTable.Flow]) async -> PolicyEffect {
        var effect = PolicyEffect()
        effect.changes = changes
        findCuts(live, &effect)
        findReach(&effect)
        return effect
    }

    private func findCuts(_ connections: [ConnectionTable.Flow], _ effect: inout PolicyEffect) {
        for live in connections {
            func isDenied(_ compiler: PolicyCompiler) -> Bool {
                let outcome = compiler.judge(
                    from: live.source, to: live.destination, l4proto: live.l4proto,
                    port: live.destinationPort)
                return outcome.isDenial && !(live.isVerified && outcome == .unverifiedHost)
            }
            guard isDenied(next), !isDenied(compiler) else { continue }
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
    private func findReach(_ effect: inout PolicyEffect) {
        let members = directory.endpoints.values.compactMap { try? directory.member($0) }.sorted {
            ($0.network.name, $0.endpoint.name) < ($1.network.name, $1.endpoint.name)
        }
        var known: [ReachKey: [(range: [ClosedRange<UInt32>], gains: Bool)]] = [:]
        func compare(_ from: IPAddress, _ to: IPAddress) -> [(range: [ClosedRange<UInt32>], gains: Bool)] {
            let key = ReachKey(
                [compiler.likeness(from), next.likeness(from)],
                [compiler.likeness(to), next.likeness(to)])
            if let known = known[key] { return known }
            let (before, after) = (
                compiler.reach(from: from, to: to), next.reach(from: from, to: to)
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
                let cuts = compiler.addressCuts(of: own).union(next.addressCuts(of: own)).sorted()
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
