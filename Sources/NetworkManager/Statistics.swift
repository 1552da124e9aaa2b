internal import Bridge
internal import Firewall
public import Model
internal import Netlink
internal import Wire

extension NetworkManager {
    /// Counters of the named endpoints, or of all where `names` is empty. The kernel keeps them: they survive
    /// the manager.
    public func statistics(_ names: [String] = []) async throws -> [EndpointStatistics] {
        var all = try packetStatistics(names)
        try await addTraffic(to: &all)
        guard all.contains(where: { $0.member.network.dns != nil }) else { return all }
        let asked = await nameStatistics()
        for index in all.indices where all[index].member.network.dns != nil {
            all[index].names =
                asked?[all[index].member.endpoint.number] ?? asked.map { _ in NameStatistics() }
        }
        return all
    }

    private func packetStatistics(_ names: [String]) throws -> [EndpointStatistics] {
        let members =
            try names.isEmpty
            ? endpoints() : names.map { try directory.member(try directory.endpoint(named: $0)) }
        let links = try bridge.statistics(of: members.map(\.endpoint.hostInterfaceName))
        let denials = try firewall.denials()
        let shaping = try shapingDenials(of: members)
        return members.map { member in
            var statistics = EndpointStatistics(member)
            if let link = links[member.endpoint.hostInterfaceName] {
                // The host end receives what the container sends.
                statistics.sentBytes = link.receivedBytes
                statistics.sentPackets = link.receivedPackets
                statistics.sentDropped = link.receiveDrops
                statistics.receivedBytes = link.sentBytes
                statistics.receivedPackets = link.sentPackets
                statistics.receivedDropped = link.sendDrops
            }
            var counted = denials[member.endpoint.id] ?? []
            if let refused = hosts.refused[member.endpoint.id] {
                counted.append(Denial(outcome: .unverifiedHost, packets: refused, bytes: 0))
            }
            statistics.denials = merged(counted.filter(\.outcome.isDenial), of: member)
            statistics.audited = merged(
                counted.filter(\.outcome.isAudit).map {
                    Denial(outcome: $0.outcome.auditedDenial, packets: $0.packets, bytes: $0.bytes)
                }, of: member)
            statistics.denials += shaping[member.endpoint.id] ?? []
            return statistics
        }
    }

    /// One count for each reason, most packets first: the kernel counts each address by itself.
    func merged(_ denials: [Denial], of member: NetworkMember) -> [DenialCount] {
        var counts: [DenialReason: DenialCount] = [:]
        for denial in denials {
            let reason = reason(denial.outcome, member)
            counts[reason, default: DenialCount(reason: reason, packets: 0, bytes: 0)].packets +=
                denial.packets
            counts[reason]?.bytes += denial.bytes
        }
        return counts.values.sorted {
            ($1.packets, $0.reason.description) < ($0.packets, $1.reason.description)
        }
    }

    /// What an outcome of the packet path means to people.
    func reason(_ outcome: Outcome, _ member: NetworkMember) -> DenialReason {
        switch outcome {
        case .defaultDenyEgress: .defaultDeny(.egress, endpoint: member.endpoint.name)
        case .defaultDenyIngress: .defaultDeny(.ingress, endpoint: member.endpoint.name)
        case .quarantine: .quarantine(endpoint: member.endpoint.name)
        case .isolation: .isolation(member.network.isolation, network: member.network.name)
        case .spoofedSource: .spoofedSource
        case _ where outcome.exceeded != nil:
            firewall.compiler.exceededLimit(outcome, endpoint: member.endpoint.name).map { .limit($0) }
                ?? .rateLimit
        case .notTracked: .notTracked
        case .noSuchPeer: .noSuchPeer
        case .unverifiedHost: .unverifiedHost
        case .foreignResolver: .foreignResolver(network: member.network.name)
        default: firewall.compiler.rule(of: outcome).map { .rule($0) } ?? .formerRule
        }
    }
}
