internal import Model
internal import Protos
internal import SwiftProtobuf
internal import Wire

extension Forge_Network_V1_Reason {
    init(_ reason: DenialReason) {
        self.init()
        text = reason.description
        switch reason {
        case .isolation(_, let network):
            code = "isolation"
            vnet = network
        case .rule(let rule):
            code = "deny-rule"
            name(rule)
        case .defaultDeny(let direction, let endpoint):
            code = "default-deny"
            self.direction = .init(direction)
            self.endpoint = endpoint
        case .quarantine(let endpoint):
            code = "quarantine"
            self.endpoint = endpoint
        case .noEndpoint:
            code = "no-endpoint"
        case .spoofedSource:
            code = "spoofed-source"
        case .rateLimit:
            code = "rate-limit"
        case .limit(let limit):
            code = "rate-limit"
            switch limit.holder {
            case .rule(let rule): name(rule)
            case .endpoint(let direction, let endpoint):
                self.direction = .init(direction)
                self.endpoint = endpoint
            }
        case .unverifiedHost:
            code = "unverified-host"
        case .notTracked:
            code = "not-tracked"
        case .foreignResolver(let network):
            code = "foreign-resolver"
            vnet = network
        case .noSuchPeer:
            code = "no-such-peer"
        case .formerRule:
            code = "former-rule"
        }
    }

    init(_ grant: Grant, _ direction: Direction) {
        self.init()
        text = grant.description
        self.direction = .init(direction)
        switch grant {
        case .rule(let rule):
            code = "allow-rule"
            name(rule)
        case .verifiedRule(let rule):
            code = "verified-rule"
            name(rule)
        case .networkDefault(let network):
            code = "default-allow"
            vnet = network
        case .nameService(let network):
            code = "name-service"
            vnet = network
        case .outside:
            code = "outside"
        }
    }

    private mutating func name(_ rule: RuleReference) {
        policy = rule.policy.description
        ruleList = rule.list.rawValue
        ruleNumber = UInt32(clamping: rule.number)
        direction = .init(rule.list.direction)
    }
}

extension Forge_Network_V1_ExplainResponse {
    init(_ explanation: Explanation) {
        self.init()
        verdict = explanation.decision.isAllowed ? .allow : .deny
        switch explanation.decision {
        case .denied(let reason): reasons = [.init(reason)]
        case .allowed(let egress, let ingress): reasons = [.init(egress, .egress), .init(ingress, .ingress)]
        case .sameEndpoint:
            reasons = [
                .with {
                    $0.code = "same-endpoint"
                    $0.text = "the same endpoint"
                }
            ]
        }
        if let audit = explanation.audit { self.audit = .init(audit) }
        from = .init(explanation.flow.source)
        to = .init(explanation.flow.destination)
    }
}

extension Forge_Network_V1_ExplainResponse.Party {
    fileprivate init(_ side: FlowSide) {
        self.init()
        address = side.address.description
        if let member = side.member { endpoint = "\(member.network.name)/\(member.endpoint.name)" }
    }
}

extension FlowQuery {
    init(_ message: Forge_Network_V1_ExplainRequest) throws(ModelError) {
        guard let port = UInt16(exactly: message.port) else {
            throw .invalid("port", "\(message.port)", "must be from 1 to 65535")
        }
        self.init(
            from: try Bounds.reference(message.from, "from"), to: try Bounds.reference(message.to, "to"),
            transport: try FlowTransport(message.protocol, port))
    }
}

extension FlowTransport {
    /// A protocol number that no packet has (IANA "Protocol Numbers": reserved): only rules for all ports
    /// speak of it.
    private static let any = FlowTransport.other(255)

    fileprivate init(_ message: Forge_Network_V1_Protocol, _ port: UInt16) throws(ModelError) {
        switch (message, port) {
        case (.unspecified, 0): self = .any
        case (.tcp, 0), (.udp, 0), (.sctp, 0): throw .invalid("port", "0", "must be from 1 to 65535")
        case (.unspecified, _), (.tcp, _): self = .tcp(port)
        case (.udp, _): self = .udp(port)
        case (.sctp, _): self = .sctp(port)
        case (.icmp, 0): self = .icmp
        case (.icmp, _): throw .invalid("port", "\(port)", "ICMP has no ports")
        case (.UNRECOGNIZED(let number), _):
            throw .invalid("protocol", "\(number)", "must be TCP, UDP, SCTP or ICMP")
        }
    }
}
