import Sys
import Testing
import Wire

@testable import DNS

/// A resolver with two networks, a few endpoints and an upstream, and a clock that stands still.
///
/// `shop` (1): web 10.1.0.2 and fd01::2, db 10.1.0.3, and three with the alias `pool` at 10.1.0.11 to 13.
/// `jobs` (2): batch 10.2.0.2; is told "refused".
final class ResolverFixture {
    let resolver: Resolver
    var now: UInt64 = 1_000_000
    static let web: UInt64 = 101
    static let db: UInt64 = 102
    static let batch: UInt64 = 201
    let upstream: UpstreamAddress
    let other: UpstreamAddress
    private(set) var reports: [ResolverReport] = []
    struct Sent: Equatable {
        let socket: Int32
        let to: UpstreamAddress
        let message: [UInt8]
    }
    private(set) var sent: [Sent] = []
    private(set) var released: [Int32] = []

    init(
        settings: ResolverSettings = ResolverSettings(), udpSockets: Int = 8, tcpSockets: Int = 2,
        upstreams: Int = 1
    ) throws {
        resolver = Resolver(settings: settings, random: SteadyGenerator(), lastQuestion: 0)
        upstream = UpstreamAddress(try IPAddress("192.0.2.53"))
        other = UpstreamAddress(try IPAddress("192.0.2.54"))
        _ = resolver.addListener(ListenerDescription(network: 1, transport: .udp))
        _ = resolver.addListener(ListenerDescription(network: 2, transport: .udp))
        _ = resolver.addListener(ListenerDescription(network: 0, transport: .udp, trusted: true))
        for _ in 0..<udpSockets { _ = resolver.addUpstreamSocket(.udp, .v4) }
        for _ in 0..<tcpSockets { _ = resolver.addUpstreamSocket(.tcp, .v4) }
        try tellEverything()
        order(.upstreams(Array([upstream, other].prefix(upstreams))))
        _ = take()
    }

    func tellEverything(without: UInt64 = 0) throws {
        order(
            .network(
                NetworkDescription(
                    id: 1, name: "shop", subnets: [try CIDR("10.1.0.0/24"), try CIDR("fd01::/64")])))
        order(
            .network(
                NetworkDescription(
                    id: 2, name: "jobs", subnets: [try CIDR("10.2.0.0/24")], refusal: .refused)))
        var endpoints = [
            EndpointDescription(
                id: Self.web, network: 1, name: "web", aliases: ["www"],
                addresses: [try IPAddress("10.1.0.2"), try IPAddress("fd01::2")],
                ports: [.init(name: "http", transport: .tcp, number: 8080)]),
            EndpointDescription(id: Self.db, network: 1, name: "db", addresses: [try IPAddress("10.1.0.3")]),
            EndpointDescription(
                id: Self.batch, network: 2, name: "batch", addresses: [try IPAddress("10.2.0.2")]),
        ]
        for number in 1...3 {
            endpoints.append(
                EndpointDescription(
                    id: UInt64(110 + number), network: 1, name: "pool-\(number)", aliases: ["pool"],
                    addresses: [try IPAddress("10.1.0.1\(number)")]))
        }
        for endpoint in endpoints where endpoint.id != without { order(.endpoint(endpoint)) }
    }

    func order(_ order: ResolverOrder) {
        resolver.order(order, at: now)
        collect()
    }

    func pass(milliseconds: UInt64) {
        now += milliseconds
        resolver.tick(at: now)
        collect()
    }

    private func collect() {
        for action in resolver.actions {
            switch action {
            case .send(let socket, let to, let message):
                sent.append(Sent(socket: socket, to: to, message: message))
            case .release(let socket): released.append(socket)
            case .report(let report): reports.append(report)
            }
        }
        resolver.actions = []
    }

    /// The replies since the last time, in order.
    func take() -> [(client: ClientReference, bytes: [UInt8])] {
        collect()
        defer { resolver.outbox.removeAll() }
        return resolver.outbox.replies.indices.map {
            (resolver.outbox.replies[$0].client, Array(resolver.outbox.bytes[resolver.outbox.range($0)]))
        }
    }

    func takeReports() -> [ResolverReport] {
        collect()
        defer { reports = [] }
        return reports
    }

    func takeSent() -> [Sent] {
        collect()
        defer { sent = [] }
        return sent
    }

    func takeReleased() -> [Int32] {
        defer { released = [] }
        return released
    }

    static func client(_ address: String, listener: Int32 = 0, connection: UInt64 = 0) throws
        -> ClientReference
    {
        ClientReference(
            listener: listener, connection: connection,
            peer: SocketAddress(try IPAddress(address), port: 40000))
    }

    func send(
        _ bytes: [UInt8], from address: String = "10.1.0.2", listener: Int32 = 0, connection: UInt64 = 0
    )
        throws
    {
        // Somewhere in a larger buffer, as in the server.
        let padded = [UInt8](repeating: 0xee, count: 7) + bytes + [0xee, 0xee]
        resolver.query(
            padded, 7..<7 + bytes.count,
            from: try Self.client(address, listener: listener, connection: connection), at: now)
        collect()
    }

    /// Asks, and takes the one reply if there is one.
    func ask(
        _ name: String, _ type: RecordType = .a, from address: String = "10.1.0.2", listener: Int32 = 0,
        room: Int? = nil
    ) throws -> PlainMessage? {
        try send(MessageBuilder.query(name, type, room: room), from: address, listener: listener)
        let replies = take()
        try #require(replies.count <= 1)
        return try replies.first.map { try PlainMessage($0.bytes) }
    }

    /// Answers all open questions of the resolver alike.
    func decide(_ verdict: Verdict) {
        for report in takeReports() {
            switch report {
            case .mayLearnPeer(let question, _, _), .mayAskOutside(let question, _, _):
                order(.verdict(question: question, verdict))
            default: break
            }
        }
    }

    /// As a policy that lets everybody know everything.
    func allowEverything(from address: String = "10.1.0.2", listener: Int32 = 0) throws {
        try send(MessageBuilder.query("warm.up.example"), from: address, listener: listener)
        decide(Verdict(.allowed, coversEverything: true))
        for sent in takeSent() { answer(sent, code: 3) }
        _ = take()
    }

    /// An upstream answers.
    func answer(
        _ sent: Sent, code: Int = 0, flags: Int = 0x8180, answers: [[UInt8]] = [], authority: [[UInt8]] = [],
        additional: [[UInt8]] = []
    ) {
        deliver(
            MessageBuilder.response(
                to: sent.message, code: code, flags: flags, answers: answers, authority: authority,
                additional: additional), to: sent)
    }

    func deliver(_ bytes: [UInt8], to sent: Sent, from sender: UpstreamAddress? = nil) {
        resolver.response(
            bytes, 0..<bytes.count, socket: sent.socket,
            from: SocketAddress((sender ?? sent.to).address, port: (sender ?? sent.to).port), at: now)
        collect()
    }
}
