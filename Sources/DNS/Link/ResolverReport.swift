package import Wire

/// What the resolver tells a manager, one datagram each, of `PacketLink.limit` bytes at most.
///
/// Clients and targets are ids of endpoints; client 0 is a stranger.
package enum ResolverReport: Hashable, Sendable {
    /// After `begin`: the sockets that the resolver has, `mostListeners` at a time, and how many it has to ask
    /// upstreams. The last part says so.
    case listening([ListenerDescription], upstreamSockets: Int, isLast: Bool)
    /// May this client know of this endpoint? Answered by `verdict`.
    case mayLearnPeer(question: UInt32, client: UInt64, target: UInt64)
    /// May this client ask for this name outside? Answered by `verdict`.
    case mayAskOutside(question: UInt32, client: UInt64, name: DomainName)
    /// This client is about to be told that the name it asked for has these addresses, `mostAddresses` at most.
    /// Answered by `learnt`, when it can reach them.
    case learn(id: UInt32, client: UInt64, name: DomainName, [LearntAddress])
    /// What was not answered since the last report.
    case denied([Denial])
    /// Part of the answer to `counters`; the last part says so.
    case counters(request: UInt32, [EndpointCounters], isLast: Bool)

    /// Listeners that one message holds.
    package static let mostListeners = 256

    /// As many addresses a client learns of one answer; the rest of it is not told.
    package static let mostAddresses = 64

    package var encoded: [UInt8] {
        var writer = ByteWriter()
        func kind(_ value: UInt8) { writer.integerBE(value) }
        switch self {
        case .listening(let listeners, let sockets, let isLast):
            kind(1)
            writer.list(listeners) { $0.listener($1) }
            writer.integerBE(UInt16(clamping: sockets))
            writer.flag(isLast)
        case .mayLearnPeer(let question, let client, let target):
            kind(2)
            writer.integerBE(question)
            writer.integerBE(client)
            writer.integerBE(target)
        case .mayAskOutside(let question, let client, let name):
            kind(3)
            writer.integerBE(question)
            writer.integerBE(client)
            writer.name(name)
        case .learn(let id, let client, let name, let addresses):
            kind(4)
            writer.integerBE(id)
            writer.integerBE(client)
            writer.name(name)
            writer.list(addresses) {
                $0.address($1.address)
                $0.integerBE($1.ttl)
            }
        case .denied(let denials):
            kind(5)
            writer.list(denials) {
                $0.integerBE($1.client)
                $0.name($1.name)
                $0.integerBE($1.reason.rawValue)
                $0.integerBE($1.count)
            }
        case .counters(let request, let counters, let isLast):
            kind(6)
            writer.integerBE(request)
            writer.list(counters) { $1.write(&$0) }
            writer.flag(isLast)
        }
        return writer.bytes
    }

    package init(_ bytes: [UInt8]) throws(DecodeError) {
        var reader = ByteReader(bytes)
        let kind: UInt8 = try reader.integerBE("kind of report")
        switch kind {
        case 1:
            let listeners = try reader.list("listeners") { reader throws(DecodeError) in
                try reader.listener()
            }
            self = .listening(
                listeners, upstreamSockets: Int(try reader.integerBE("sockets", as: UInt16.self)),
                isLast: try reader.flag("last"))
        case 2:
            let question: UInt32 = try reader.integerBE("question")
            let client: UInt64 = try reader.integerBE("client")
            self = .mayLearnPeer(
                question: question, client: client, target: try reader.integerBE("target"))
        case 3:
            let question: UInt32 = try reader.integerBE("question")
            let client: UInt64 = try reader.integerBE("client")
            self = .mayAskOutside(question: question, client: client, name: try reader.name("name"))
        case 4:
            let id: UInt32 = try reader.integerBE("learning")
            let client: UInt64 = try reader.integerBE("client")
            let name = try reader.name("name")
            self = .learn(
                id: id, client: client, name: name,
                try reader.list("addresses") { reader throws(DecodeError) in
                    let address = try reader.address("address")
                    return LearntAddress(address: address, ttl: try reader.integerBE("TTL"))
                })
        case 5:
            self = .denied(
                try reader.list("denials") { reader throws(DecodeError) in
                    let client: UInt64 = try reader.integerBE("client")
                    let name = try reader.name("name")
                    let reason = DenialReason(rawValue: try reader.integerBE("reason"))
                    return Denial(
                        client: client, name: name, reason: reason, count: try reader.integerBE("count"))
                })
        case 6:
            let request: UInt32 = try reader.integerBE("request")
            let counters = try reader.list("counters") { reader throws(DecodeError) in
                try EndpointCounters(&reader)
            }
            self = .counters(request: request, counters, isLast: try reader.flag("last"))
        default: throw DecodeError("kind of report", at: 0, "\(kind) is unknown")
        }
        try reader.finish()
    }
}

/// Queries that were not answered, all alike.
package struct Denial: Hashable, Sendable {
    /// Id of the endpoint; 0 for a stranger.
    package var client: UInt64
    /// The root where queries for names of many kinds are counted together, or the name was none.
    package var name: DomainName
    package var reason: DenialReason
    package var count: UInt32

    package init(client: UInt64, name: DomainName, reason: DenialReason, count: UInt32) {
        self.client = client
        self.name = name
        self.reason = reason
        self.count = count
    }
}
