import Sys
import Testing
import Wire

@testable import DNS

struct LinkTests {
    private static func orders() throws -> [ResolverOrder] {
        [
            .begin, .end,
            .own([try CIDR("10.0.0.0/8"), try CIDR("fd00::/8")], isLast: false), .own([], isLast: true),
            .network(
                NetworkDescription(
                    id: 1, name: "shop", subnets: [try CIDR("10.0.0.0/8"), try CIDR("fd00::/8")])),
            .network(
                NetworkDescription(
                    id: .max, name: "", subnets: [], refusal: .refused,
                    upstreams: [
                        UpstreamAddress(try IPAddress("192.0.2.1"), port: 5353),
                        UpstreamAddress(try IPAddress("2001:db8::1")),
                    ])),
            .network(NetworkDescription(id: 2, name: "none", subnets: [], upstreams: [])),
            .removeNetwork(7),
            .endpoint(
                EndpointDescription(
                    id: 1, network: 2, name: "web", aliases: ["www", "ünder"],
                    addresses: [try IPAddress("10.0.0.1")],
                    ports: [
                        .init(name: "http", transport: .tcp, number: 80),
                        .init(name: "dns", transport: .udp, number: 53),
                    ])),
            .removeEndpoint(9), .upstreams([]), .forgetVerdicts(client: nil), .forgetVerdicts(client: 4),
            .verdict(question: 7, Verdict(.learn, reason: .outside, coversEverything: true)),
            .learnt(id: 8, false),
            .listener(
                ListenerDescription(
                    network: 3, transport: .tcp, trusted: true, address: try IPAddress("10.0.0.1"))),
            .upstreamSocket(.udp, .v6), .counters(request: 5),
        ]
    }

    private static func reports() throws -> [ResolverReport] {
        let name = try #require(DomainName("www.example.com"))
        var counters = EndpointCounters(endpoint: 4)
        counters.queries = 1 << 40
        counters.refused = [.peer: 3, .flood: 9]
        counters.entropy = 4321
        return [
            .listening([ListenerDescription(network: 1, transport: .udp)], upstreamSockets: 64, isLast: true),
            .mayLearnPeer(question: 1, client: 2, target: 3),
            .mayAskOutside(question: 1, client: 2, name: name),
            .learn(
                id: 3, client: 2, name: name, [LearntAddress(address: try IPAddress("2001:db8::1"), ttl: 60)]),
            .denied([Denial(client: 1, name: name, reason: .outside, count: 5)]),
            .counters(request: 1, [counters], isLast: true),
        ]
    }

    @Test func `orders and reports are read as they were written, and not when cut off or longer`() throws {
        for order in try Self.orders() {
            let bytes = order.encoded
            #expect(try ResolverOrder(bytes) == order)
            for length in 0..<bytes.count {
                #expect(throws: DecodeError.self) { try ResolverOrder(Array(bytes.prefix(length))) }
            }
            #expect(throws: DecodeError.self) { try ResolverOrder(bytes + [0]) }
        }
        for report in try Self.reports() {
            let bytes = report.encoded
            #expect(try ResolverReport(bytes) == report)
            for length in 0..<bytes.count {
                #expect(throws: DecodeError.self) { try ResolverReport(Array(bytes.prefix(length))) }
            }
            #expect(throws: DecodeError.self) { try ResolverReport(bytes + [0]) }
        }
        #expect(throws: DecodeError.self) { try ResolverOrder([99]) }
    }

    @Test func `subnets that come in parts are in force with the last one`() throws {
        let resolver = Resolver(settings: ResolverSettings())
        func order(_ subnet: String, isLast: Bool) throws {
            resolver.order(.own([try CIDR(subnet)], isLast: isLast), at: 1)
        }
        try order("10.1.0.0/16", isLast: false)
        #expect(resolver.own.isEmpty)
        try order("10.2.0.0/16", isLast: true)
        #expect(resolver.own == [try CIDR("10.1.0.0/16"), try CIDR("10.2.0.0/16")])
        // A manager that ended before its last part leaves nothing behind.
        try order("10.3.0.0/16", isLast: false)
        resolver.order(.begin, at: 2)
        try order("10.4.0.0/16", isLast: true)
        #expect(resolver.own == [try CIDR("10.4.0.0/16")])
    }

    @Test func `what is longer than a message is refused, not cut`() throws {
        let (mine, its) = try PacketLink.pair()
        let link = PacketLink(Descriptor(owning: mine))
        let other = PacketLink(Descriptor(owning: its))
        let longest = [UInt8](repeating: 7, count: PacketLink.limit)
        try link.send(longest)
        let error = #expect(throws: SystemError.self) { try link.send(longest + [7]) }
        #expect(error?.errno == .tooLong)
        #expect(try other.receive()?.bytes == longest)
    }

    @Test func `whatever the resolver reports fits into one message`() throws {
        let listener = ListenerDescription(
            network: .max, transport: .udp, address: try IPAddress("2001:db8::1"))
        #expect(
            ResolverReport.listening(
                Array(repeating: listener, count: ResolverReport.mostListeners), upstreamSockets: 1,
                isLast: true
            ).encoded.count <= PacketLink.limit)
        let subnet = try CIDR("fd00::/64")
        let own = ResolverOrder.own(
            Array(repeating: subnet, count: ResolverOrder.mostSubnets), isLast: true)
        #expect(own.encoded.count <= PacketLink.limit)
        var counters = EndpointCounters(endpoint: .max)
        for reason in 0..<20 { counters.refused[DenialReason(rawValue: UInt8(reason))] = .max }
        #expect(
            ResolverReport.counters(request: 1, Array(repeating: counters, count: 200), isLast: true).encoded
                .count <= PacketLink.limit)
        let long = try #require(
            DomainName(Array(repeating: String(repeating: "a", count: 61), count: 4).joined(separator: ".")))
        let denials = Array(repeating: Denial(client: 1, name: long, reason: .peer, count: 1), count: 200)
        #expect(ResolverReport.denied(denials).encoded.count <= PacketLink.limit)
        let addresses = Array(
            repeating: LearntAddress(address: try IPAddress("2001:db8::1"), ttl: 1),
            count: ResolverReport.mostAddresses)
        #expect(
            ResolverReport.learn(id: 1, client: 1, name: long, addresses).encoded.count <= PacketLink.limit)
    }

    private func pass(_ clients: [Int32]) -> FairPass { FairPass(clients.map { FairPass.Piece(client: $0) }) }

    @Test func `a pass serves everybody's first, and of a flood a share`() {
        #expect(pass([1, 2, 1, 1]).order == [0, 1, 2, 3])
        // One client alone, as a benchmark is: nothing is thrown away.
        #expect(pass([Int32](repeating: 1, count: 200)).order == Array(0..<200))
        var clients = [Int32](repeating: 1, count: 500)
        clients[450] = 2
        clients[499] = 3
        let pass = pass(clients)
        #expect(pass.order.prefix(18).suffix(2) == [450, 499])
        #expect(pass.order.count == FairPass.share + 2)
        #expect(pass.dropped == [1: 498 - FairPass.share])
    }

    @Test func `what came as one piece counts for as many queries as it holds`() {
        var pieces = [FairPass.Piece](repeating: .init(client: 1, count: 60), count: 10)
        pieces[5] = .init(client: 2)
        let pass = FairPass(pieces)
        // The first piece of each, and what fits into the share.
        #expect(pass.order == [0, 5, 1])
        #expect(pass.dropped == [1: 7 * 60])
        #expect(FairPass([.init(client: 1, count: 60), .init(client: 2)]).order == [0, 1])
    }

    @Test func `messages on a stream are found however they are cut`() {
        let messages = [
            [UInt8](repeating: 1, count: 12), [UInt8](repeating: 2, count: 500),
            [UInt8](repeating: 3, count: 13),
        ]
        let stream = messages.flatMap { StreamFrames.framed($0) }
        for step in [1, 2, 7, 100, 1000] {
            var frames = StreamFrames(limit: 512)
            var found: [[UInt8]] = []
            for start in stride(from: 0, to: stream.count, by: step) {
                frames.append(stream[start..<min(start + step, stream.count)])
                while case .message(let message) = frames.next() { found.append(message) }
            }
            #expect(found == messages)
        }
        var frames = StreamFrames(limit: 512)
        frames.append([2, 1, 0][...])
        #expect(frames.next() == .broken)
        frames = StreamFrames(limit: 512)
        frames.append([0, 11][...])
        #expect(frames.next() == .broken)
    }
}
