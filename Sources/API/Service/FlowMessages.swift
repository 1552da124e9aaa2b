internal import GRPCCore
internal import Model
internal import Protos
internal import SwiftProtobuf
internal import Wire

extension FlowWatch {
    init(_ request: Forge_Network_V1_WatchFlowsRequest) throws(ModelError) {
        try Bounds.check("endpoints", count: request.endpoints.count, atMost: Bounds.names)
        for name in request.endpoints { _ = try Bounds.reference(name, "endpoint") }
        self.init(
            endpoints: request.endpoints, deniedOnly: request.deniedOnly,
            includesRecent: request.includeRecent || !request.follow, follows: request.follow)
    }
}

/// Hands a stream of events to a caller until either ends.
func forward(
    _ events: AsyncStream<FlowEvent>, to response: RPCWriter<Forge_Network_V1_FlowEvent>
) async throws {
    try await whileCalled {
        for await event in events { try await response.write(.init(event)) }
    }
}

extension Forge_Network_V1_FlowEvent {
    init(_ event: FlowEvent) {
        self.init()
        switch event {
        case .flow(let record):
            switch record.verdict {
            case .allow: verdict = .allow
            case .deny: verdict = .deny
            case .audit: verdict = .audit
            }
            time = Google_Protobuf_Timestamp(microseconds: record.time)
            count = record.count
            describe(record)
        case .lost(let loss):
            verdict = .lost
            time = Google_Protobuf_Timestamp(microseconds: loss.time)
            if let number = loss.count { count = number }
            lostBecause = loss.cause.rawValue
            if let denial = loss.reason { reason = .init(denial) }
            name(loss.member)
        case .missed(let number, let moment):
            verdict = .missed
            time = Google_Protobuf_Timestamp(microseconds: moment)
            count = number
        }
    }

    private mutating func name(_ member: NetworkMember?) {
        guard let member else { return }
        endpoint = member.endpoint.name
        endpointID = member.endpoint.id
        vnet = member.network.name
    }

    private mutating func describe(_ record: FlowRecord) {
        name(record.member)
        direction = .init(record.direction)
        self.protocol = record.protocolName
        sourceAddress = record.source?.description ?? ""
        sourcePort = UInt32(record.sourcePort ?? 0)
        destinationAddress = record.destination?.description ?? ""
        destinationPort = UInt32(record.destinationPort ?? 0)
        if let type = record.icmpType { icmpType = UInt32(type) }
        if let other = record.peer {
            peer = other.endpoint.name
            peerEndpointID = other.endpoint.id
            peerVnet = other.network.name
            peerLabels = other.endpoint.labels
        } else if record.peerIsGateway {
            peer = "gateway"
        }
        if let denial = record.reason { reason = .init(denial) }
    }
}

extension Google_Protobuf_Timestamp {
    /// - Parameter microseconds: since 1970.
    fileprivate init(microseconds: UInt64) {
        self.init(
            seconds: Int64(clamping: microseconds / 1_000_000),
            nanos: Int32(truncatingIfNeeded: microseconds % 1_000_000) * 1000)
    }
}
