internal import Model
internal import Protos
internal import SwiftProtobuf
internal import Wire

extension Forge_Network_V1_PolicyEffect {
    init(_ effect: PolicyEffect) {
        self.init()
        reach = effect.reach.map { .init($0) }
        reachOmitted = UInt32(clamping: effect.omittedReach)
        cuts = effect.cuts.map { .init($0) }
        cutsOmitted = UInt32(clamping: effect.omittedCuts)
    }
}

extension Forge_Network_V1_PolicyEffect.Reach {
    fileprivate init(_ change: ReachChange) {
        self.init()
        from = text(change.from)
        to = text(change.to)
        switch change.ports {
        case .everything: all = true
        case .otherProtocols: break
        case .range(let range):
            `protocol` = .init(range.transport)
            if range.ports != 0...UInt16.max {
                first = UInt32(range.ports.lowerBound)
                last = UInt32(range.ports.upperBound)
            }
        }
        before = change.before.isAllowed ? .allow : .deny
        after = change.after.isAllowed ? .allow : .deny
        beforeReason = .init(change.before)
        afterReason = .init(change.after)
    }
}

extension Forge_Network_V1_PolicyEffect.Cut {
    fileprivate init(_ cut: CutConnection) {
        self.init()
        from = text(cut.flow.source)
        to = text(cut.flow.destination)
        fromAddress = cut.flow.source.address.description
        toAddress = cut.flow.destination.address.description
        switch cut.flow.transport {
        case .icmp: `protocol` = .icmp
        case .other(let number): protocolNumber = UInt32(number)
        case .tcp, .udp, .sctp:
            guard let known = cut.flow.transport.port else { break }
            `protocol` = .init(known.transport)
            port = UInt32(known.number)
        }
        reason = .init(cut.reason)
    }
}

extension Forge_Network_V1_Reason {
    /// What decides: of what is allowed the side that a policy speaks of.
    fileprivate init(_ decision: Decision) {
        switch decision {
        case .denied(let reason): self.init(reason)
        case .allowed(let egress, .outside): self.init(egress, .egress)
        case .allowed(_, let ingress): self.init(ingress, .ingress)
        case .sameEndpoint: self.init()
        }
    }
}

private func text(_ end: ReachChange.End) -> String {
    switch end {
    case .endpoint(let member): "\(member.network.name)/\(member.endpoint.name)"
    case .outside(let first, let last): run(first, last)
    }
}

private func text(_ side: FlowSide) -> String {
    side.member.map { "\($0.network.name)/\($0.endpoint.name)" } ?? ""
}

/// A run of addresses, as a block where it is one.
private func run(_ first: IPAddress, _ last: IPAddress) -> String {
    for length in 0...first.family.width {
        let block = CIDR(containing: first, prefixLength: length)
        if block.first == first, block.last == last { return block.description }
    }
    return "\(first)-\(last)"
}
