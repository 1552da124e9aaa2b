internal import Firewall
internal import Glibc
internal import Model
internal import Wire

/// What flows mean to people: short questions to the manager, which does nothing else meanwhile.
extension NetworkManager: FlowNames {
    func meanings(of keys: [FlowKey]) -> [FlowMeaning?] {
        var ports: [UInt32: NetworkMember?] = [:]
        return keys.map { key in
            guard let told = key.outcome else { return connection(key) }
            let outcome = told.isAudit ? told.auditedDenial : told
            let subject = key.direction == .egress ? key.source : key.destination
            let other = key.direction == .egress ? key.destination : key.source
            let member: NetworkMember?
            if key.port != 0 {
                if ports[key.port] == nil { ports[key.port] = .some(self.member(behind: key.port)) }
                member = ports[key.port] ?? nil
            } else {
                member = subject.flatMap { self.member(at: $0) }
            }
            let peer = other.flatMap { self.member(at: $0) }
            var meaning = FlowMeaning(direction: key.direction, member: member, peer: peer)
            meaning.peerIsGateway = isGateway(other, member)
            if outcome == .isolation {
                meaning.reason =
                    key.direction == .egress
                    ? Isolation.denial(member, peer) : Isolation.denial(peer, member)
            }
            if meaning.reason == nil {
                meaning.reason = member.map { reason(outcome, $0) } ?? reason(outcome, at: subject)
            }
            return meaning
        }
    }

    /// nil where neither side is an endpoint.
    private func connection(_ key: FlowKey) -> FlowMeaning? {
        let source = key.source.flatMap { member(at: $0) }
        let destination = key.destination.flatMap { member(at: $0) }
        if let source {
            return FlowMeaning(
                direction: .egress, member: source, peer: destination,
                peerIsGateway: isGateway(key.destination, source))
        }
        guard let destination else { return nil }
        return FlowMeaning(
            direction: .ingress, member: destination, peer: nil,
            peerIsGateway: isGateway(key.source, destination))
    }

    func members(of sources: [DenialSource]) -> [NetworkMember?] {
        sources.map { source in
            switch source {
            case .address(let address): member(at: address)
            case .port(let name):
                (directory.endpoint(withInterface: name)).flatMap { try? directory.member($0) }
                    ?? departed.member(behind: name)
            }
        }
    }

    private func member(at address: IPAddress) -> NetworkMember? {
        directory.member(at: address) ?? departed.member(at: address)
    }

    private func member(behind port: UInt32) -> NetworkMember? {
        var room = [CChar](repeating: 0, count: Int(IF_NAMESIZE))
        let isThere = unsafe room.withUnsafeMutableBufferPointer { room in
            unsafe room.baseAddress.map { unsafe if_indextoname(port, $0) != nil } ?? false
        }
        guard isThere else { return nil }
        let name = String(decoding: room.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        return members(of: [.port(name)])[0]
    }

    private func isGateway(_ address: IPAddress?, _ member: NetworkMember?) -> Bool {
        guard let address, let member else { return false }
        return member.network.gateway(address.family) == address
    }

    /// What can be said of a denial whose endpoint nobody remembers.
    private func reason(_ outcome: Outcome, at address: IPAddress?) -> DenialReason? {
        let name = address.map(\.description) ?? "?"
        return switch outcome {
        case .defaultDenyEgress: .defaultDeny(.egress, endpoint: name)
        case .defaultDenyIngress: .defaultDeny(.ingress, endpoint: name)
        case .quarantine: .quarantine(endpoint: name)
        case .isolation: nil
        case .spoofedSource: .spoofedSource
        case _ where outcome.exceeded != nil:
            firewall.compiler.exceededLimit(outcome, endpoint: name).map { .limit($0) } ?? .rateLimit
        case .notTracked: .notTracked
        case .noSuchPeer: .noSuchPeer
        case .unverifiedHost: .unverifiedHost
        case .foreignResolver: .foreignResolver(network: "?")
        default: firewall.compiler.rule(of: outcome).map { .rule($0) } ?? .formerRule
        }
    }
}

/// Endpoints that were released a moment ago: what was denied to them is told after they are gone.
struct DepartedMembers {
    private static let capacity = 256
    private var members: [NetworkMember] = []

    mutating func remember(_ member: NetworkMember) {
        if members.count == Self.capacity { members.removeFirst(Self.capacity / 4) }
        members.append(member)
    }

    func member(at address: IPAddress) -> NetworkMember? {
        members.last { $0.endpoint.addresses.contains(address) }
    }

    func member(behind interface: String) -> NetworkMember? {
        members.last { $0.endpoint.hostInterfaceName == interface }
    }
}
