internal import Model
internal import Protos
internal import SwiftProtobuf

extension TrafficLimit {
    init(_ message: Forge_Network_V1_TrafficLimit) {
        self.init(
            connections: message.hasConnections ? Int(message.connections) : nil,
            packets: message.hasPackets ? Int(message.packets) : nil,
            bandwidth: message.hasBandwidthKbit ? Bandwidth(kilobits: Int(message.bandwidthKbit)) : nil)
    }
}

extension EndpointLimits {
    init(_ message: Forge_Network_V1_Limits) {
        self.init(ingress: TrafficLimit(message.ingress), egress: TrafficLimit(message.egress))
    }
}

extension Forge_Network_V1_TrafficLimit {
    init(_ limit: TrafficLimit) {
        self.init()
        if let number = limit.connections { connections = UInt32(clamping: number) }
        if let number = limit.packets { packets = UInt32(clamping: number) }
        if let bandwidth = limit.bandwidth { bandwidthKbit = UInt32(clamping: bandwidth.kilobits) }
    }
}

extension Forge_Network_V1_Limits {
    init(_ limits: EndpointLimits) {
        self.init()
        if !limits.ingress.isEmpty { ingress = .init(limits.ingress) }
        if !limits.egress.isEmpty { egress = .init(limits.egress) }
    }
}

extension Forge_Network_V1_EffectiveLimits {
    init(_ limits: EffectiveLimits) {
        self.init()
        if !limits.endpoint.isEmpty { self.limits = .init(limits.endpoint) }
        rules = limits.rules.map { rule in
            .with {
                $0.rule = rule.reference.description
                $0.policy = rule.reference.policy.description
                $0.limit = .init(rule.limit)
            }
        }
    }
}
