package import Wire

/// What a manager tells the resolver, one datagram each, of `PacketLink.limit` bytes at most.
///
/// A new manager says `begin`, all that there is, and `end`: what was not mentioned is dropped then, and
/// what the manager before was asked and did not answer is asked again. Until `end` queries are answered as before.
package enum ResolverOrder: Hashable, Sendable {
    case begin
    case end
    /// A network is there, or has changed.
    case network(NetworkDescription)
    /// Its endpoints and listeners go with it.
    case removeNetwork(UInt64)
    /// An endpoint is there, or has changed. Its network was told before.
    case endpoint(EndpointDescription)
    case removeEndpoint(UInt64)
    /// The fabric's subnets, of networks without names too, `mostSubnets` at a time: no name outside stands for an
    /// address there. They are in force with the last part.
    case own([CIDR], isLast: Bool)
    /// Whom the host asks.
    case upstreams([UpstreamAddress])
    /// Policy has changed: what this endpoint was let know, and others of it, holds no longer; nil is everybody.
    case forgetVerdicts(client: UInt64?)
    /// Answers `mayLearnPeer` and `mayAskOutside`.
    case verdict(question: UInt32, Verdict)
    /// Answers `learn`: whether the client can reach the addresses now.
    case learnt(id: UInt32, Bool)
    /// A socket for clients comes along; it replaces one of the same description.
    case listener(ListenerDescription)
    /// A socket to upstreams comes along, neither bound nor connected.
    case upstreamSocket(DNSTransport, IPFamily)
    /// Asks for `counters`.
    case counters(request: UInt32)

    /// Subnets that one message holds.
    package static let mostSubnets = 2048

    package var encoded: [UInt8] {
        var writer = ByteWriter()
        func kind(_ value: UInt8) { writer.integerBE(value) }
        switch self {
        case .begin: kind(1)
        case .end: kind(2)
        case .network(let network):
            kind(3)
            writer.integerBE(network.id)
            writer.string(network.name)
            writer.subnets(network.subnets)
            writer.integerBE(network.refusal.rawValue)
            writer.flag(network.upstreams != nil)
            if let upstreams = network.upstreams { writer.upstreams(upstreams) }
        case .removeNetwork(let id):
            kind(4)
            writer.integerBE(id)
        case .endpoint(let endpoint):
            kind(5)
            writer.integerBE(endpoint.id)
            writer.integerBE(endpoint.network)
            writer.string(endpoint.name)
            writer.list(endpoint.aliases) { $0.string($1) }
            writer.list(endpoint.addresses) { $0.address($1) }
            writer.list(endpoint.ports) {
                $0.string($1.name)
                $0.integerBE($1.transport.rawValue)
                $0.integerBE($1.number)
            }
        case .removeEndpoint(let id):
            kind(6)
            writer.integerBE(id)
        case .upstreams(let upstreams):
            kind(7)
            writer.upstreams(upstreams)
        case .forgetVerdicts(let client):
            kind(8)
            writer.list(client.map { [$0] } ?? []) { $0.integerBE($1) }
        case .verdict(let question, let verdict):
            kind(9)
            writer.integerBE(question)
            writer.integerBE(verdict.outcome.rawValue)
            writer.integerBE(verdict.reason.rawValue)
            writer.flag(verdict.coversEverything)
        case .learnt(let id, let installed):
            kind(10)
            writer.integerBE(id)
            writer.flag(installed)
        case .listener(let listener):
            kind(11)
            writer.listener(listener)
        case .upstreamSocket(let transport, let family):
            kind(12)
            writer.integerBE(transport.rawValue)
            writer.integerBE(family.rawValue)
        case .counters(let request):
            kind(13)
            writer.integerBE(request)
        case .own(let subnets, let isLast):
            kind(14)
            writer.subnets(subnets)
            writer.flag(isLast)
        }
        return writer.bytes
    }

    package init(_ bytes: [UInt8]) throws(DecodeError) {
        var reader = ByteReader(bytes)
        let kind: UInt8 = try reader.integerBE("kind of order")
        switch kind {
        case 1: self = .begin
        case 2: self = .end
        case 3: self = .network(try Self.network(&reader))
        case 4: self = .removeNetwork(try reader.integerBE("network"))
        case 5: self = .endpoint(try Self.endpoint(&reader))
        case 6: self = .removeEndpoint(try reader.integerBE("endpoint"))
        case 7: self = .upstreams(try reader.upstreams("upstreams"))
        case 8:
            let clients = try reader.list("client") { reader throws(DecodeError) in
                try reader.integerBE("client", as: UInt64.self)
            }
            self = .forgetVerdicts(client: clients.first)
        case 9:
            let question: UInt32 = try reader.integerBE("question")
            let outcome: Verdict.Outcome = try reader.choice("outcome")
            let reason = DenialReason(rawValue: try reader.integerBE("reason"))
            self = .verdict(
                question: question,
                Verdict(outcome, reason: reason, coversEverything: try reader.flag("everything")))
        case 10:
            let id: UInt32 = try reader.integerBE("learning")
            self = .learnt(id: id, try reader.flag("installed"))
        case 11: self = .listener(try reader.listener())
        case 12:
            let transport: DNSTransport = try reader.choice("transport")
            self = .upstreamSocket(transport, try reader.choice("family"))
        case 13: self = .counters(request: try reader.integerBE("request"))
        case 14:
            let subnets = try reader.subnets("subnets")
            self = .own(subnets, isLast: try reader.flag("last"))
        default: throw DecodeError("kind of order", at: 0, "\(kind) is unknown")
        }
        try reader.finish()
    }

    private static func network(_ reader: inout ByteReader) throws(DecodeError) -> NetworkDescription {
        let id: UInt64 = try reader.integerBE("network")
        let name = try reader.string("name")
        let subnets = try reader.subnets("subnets")
        return NetworkDescription(
            id: id, name: name, subnets: subnets, refusal: try reader.choice("refusal"),
            upstreams: try reader.flag("own upstreams") ? try reader.upstreams("upstreams") : nil)
    }

    private static func endpoint(_ reader: inout ByteReader) throws(DecodeError) -> EndpointDescription {
        EndpointDescription(
            id: try reader.integerBE("endpoint"), network: try reader.integerBE("network"),
            name: try reader.string("name"),
            aliases: try reader.list("aliases") { reader throws(DecodeError) in try reader.string("alias") },
            addresses: try reader.list("addresses") { reader throws(DecodeError) in
                try reader.address("address")
            },
            ports: try reader.list("ports") { reader throws(DecodeError) in
                EndpointDescription.Port(
                    name: try reader.string("port"), transport: try reader.choice("transport"),
                    number: try reader.integerBE("number"))
            })
    }
}
