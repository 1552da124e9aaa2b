internal import Model
internal import Protos
internal import SwiftProtobuf
internal import Wire

extension Forge_Network_V1_NameStatistics {
    init(_ names: NameStatistics) {
        self.init()
        queries = names.queries
        local = names.local
        cached = names.cached
        outside = names.outside
        refused = names.refused
        entropy = names.entropy
        labelBytes = names.labelBytes
    }
}

extension Forge_Network_V1_EndpointStatistics {
    init(_ statistics: EndpointStatistics) {
        self.init()
        let endpoint = statistics.member.endpoint
        endpointID = endpoint.id
        self.endpoint = endpoint.name
        containerID = endpoint.containerID
        vnet = statistics.member.network.name
        rxBytes = statistics.receivedBytes
        rxPackets = statistics.receivedPackets
        txBytes = statistics.sentBytes
        txPackets = statistics.sentPackets
        rxDropped = statistics.receivedDropped
        txDropped = statistics.sentDropped
        deniedPackets = statistics.denials.reduce(0) { $0 &+ $1.packets }
        denials = statistics.denials.map { .init($0) }
        audited = statistics.audited.map { .init($0) }
        if let names = statistics.names { self.names = .init(names) }
        published = statistics.published.map { one in
            var port = Forge_Network_V1_PublishedPort(one.port)
            if let traffic = one.traffic { port.traffic = .init(traffic) }
            return port
        }
    }
}

extension Forge_Network_V1_PortTraffic {
    fileprivate init(_ traffic: PortTraffic) {
        self.init()
        connections = traffic.connections
        guard let carried = traffic.carried else { return }
        active = carried.active
        failed = carried.failed
        evicted = carried.evicted
        dropped = carried.dropped
        rxBytes = carried.receivedBytes
        txBytes = carried.sentBytes
        seenAsGateway = carried.seenAsGateway
        renumbered = carried.renumbered
    }
}

extension Forge_Network_V1_Denial {
    fileprivate init(_ denial: DenialCount) {
        self.init()
        reason = .init(denial.reason)
        packets = denial.packets
        bytes = denial.bytes
    }
}

extension Forge_Network_V1_GetStatusResponse {
    init(_ status: FabricStatus) {
        self.init()
        version = status.version
        mode = status.mode == .rootless ? .rootless : .host
        roles = status.roles.map { role in
            .with {
                $0.name = role.name
                $0.pid = role.pid
                let (seconds, attoseconds) = role.uptime.components
                $0.uptimeMilliseconds =
                    UInt64(clamping: seconds) * 1_000 + UInt64(clamping: attoseconds / 1_000_000_000_000_000)
                $0.restarts = UInt32(clamping: role.restarts)
            }
        }
        vnetCount = UInt32(clamping: status.networkCount)
        endpointCount = UInt32(clamping: status.endpointCount)
        policyCount = UInt32(clamping: status.policyCount)
        missingFeatures = status.missingFeatures.map { feature in
            .with {
                $0.name = feature.name
                $0.explanation = feature.explanation
            }
        }
        if let way = status.uplink {
            uplink = .with {
                $0.program = way.program ?? ""
                $0.pid = way.pid
                $0.restarts = UInt32(clamping: way.restarts)
                $0.trouble = way.trouble ?? ""
            }
        }
        paths = .with {
            $0.socket = status.socketPath
            $0.runtimeDirectory = status.runtimeDirectory
            $0.stateDirectory = status.stateDirectory
        }
    }
}
