import CLinux
import LabSupport
import Model
import Namespaces
import Netlink
import NetworkManager
import Sys
import Testing
import Wire

// Inside the other tests of the manager: all of them have the lab's own namespace, one at a time.
extension ManagerTests {
    /// Real traffic against every kind of limit, each way.
    @Suite(.serialized) struct LimitTests {
        // MARK: Bandwidth

        @Test(arguments: Direction.allCases)
        func `an endpoint's bandwidth is what its policy says, and changes without a break`(
            direction: Direction
        )
            async throws
        {
            try await LimitLab.with { lab in
                let address = lab.server.addresses[0]
                var policy = lab.limits()
                // The client sends: that is the server's ingress. For the server's egress it sends itself.
                policy.limits[direction].bandwidth = Bandwidth(kilobits: 20_000)
                try await lab.manager.apply([policy])
                let stream = try Stream(from: lab.client, to: lab.web, address, port: 80)
                let way: Stream.Way = direction == .ingress ? .there : .back
                try expect(20, stream, way)
                let free = try stream.megabits(way == .there ? .back : .there, seconds: 0.3)
                #expect(free > 100, "\(free) Mbit/s the other way")

                policy.limits[direction].bandwidth = Bandwidth(kilobits: 60_000)
                try await lab.manager.apply([policy])
                try expect(60, stream, way)

                try await lab.manager.deletePolicy(policy.name)
                let unlimited = try stream.megabits(way, seconds: 0.5)
                #expect(unlimited > 200, "\(unlimited) Mbit/s")
                #expect(try lab.traces().isEmpty, "no ifb and no qdisc is left")
            }
        }

        /// Within 15 %. A busy machine may be too slow for a rate, and gets two more chances; too fast it must never
        /// be.
        private func expect(_ megabits: Double, _ stream: Stream, _ way: Stream.Way) throws {
            var measured: [Double] = []
            for _ in 0..<3 {
                measured.append(try stream.megabits(way, seconds: 1.2))
                if measured[measured.count - 1] > megabits * 0.85 { break }
            }
            let last = measured[measured.count - 1]
            #expect(
                last > megabits * 0.85 && measured.allSatisfy { $0 < megabits * 1.15 }, "\(measured) Mbit/s")
        }

        @Test func `what waits too long is dropped and counted with its reason`() async throws {
            try await LimitLab.with { lab in
                var policy = lab.limits()
                policy.limits.egress.bandwidth = Bandwidth(kilobits: 1_000)
                try await lab.manager.apply([policy])
                let sent = try lab.datagrams(
                    2_000, size: 1000, from: lab.web, to: lab.other.addresses[0], at: lab.client)
                #expect(sent < 1_000)
                let reasons = try await lab.server.statistics().denials
                let drops = reasons.first {
                    $0.reason == .limit(.init(.bandwidth, .endpoint(.egress, "web")))
                }
                #expect((drops?.packets ?? 0) > 1_000, "\(reasons)")
            }
        }

        @Test func `a shaped endpoint is found by the next manager, mended, and leaves nothing behind`()
            async throws
        {
            let directory = try TemporaryDirectory()
            let web = try Box()
            var first: NetworkManager? = try await LimitLab.manager(directory)
            _ = try await first?.createNetwork(NetworkRequest(name: "shop"))
            try await first?.apply([
                FirewallPolicy(
                    name: "limits", selector: EndpointSelector(), directions: [],
                    limits: EndpointLimits(
                        ingress: TrafficLimit(packets: 1_000, bandwidth: Bandwidth(kilobits: 20_000)),
                        egress: TrafficLimit(packets: 1_000, bandwidth: Bandwidth(kilobits: 20_000))))
            ])
            _ = try await first?.assign(
                containerID: "c-web", network: "shop", namespace: .path(web.path), name: "web")
            let made = try traces()
            #expect(made.count == 4, "\(made)")
            await first?.stop()
            first = nil

            var second: NetworkManager? = try await LimitLab.manager(directory)
            #expect(try traces() == made, "adopted as they are")
            await second?.stop()
            second = nil

            // Somebody takes everything away while nobody looks.
            var socket = try NetlinkSocket<RouteProtocol>()
            for link in try links(&socket) where link.kind == "ifb" {
                try socket.perform(.deleteLink(.index(link.index)))
            }
            let third = try await LimitLab.manager(directory)
            #expect(
                try traces().map(\.description).map(withoutIndex) == made.map(\.description).map(withoutIndex)
            )
            try await third.release(containerID: "c-web")
            #expect(try traces().isEmpty)
            try await third.tearDown()
        }

        @Test func `whoever takes a limit of bandwidth away sees it come back`() async throws {
            try await LimitLab.with { lab in
                var policy = lab.limits()
                policy.limits.ingress.bandwidth = Bandwidth(kilobits: 20_000)
                policy.limits.egress.bandwidth = Bandwidth(kilobits: 20_000)
                try await lab.manager.apply([policy])
                let made = try traces().map(withoutIndex)
                var socket = try NetlinkSocket<RouteProtocol>()
                let port = try #require(
                    try links(&socket).first { $0.name == lab.server.endpoint.hostInterfaceName })
                let shaper = try #require(try links(&socket).first { $0.kind == "ifb" })
                for qdisc in try socket.dump(.listQdiscs).map(Qdisc.init) where qdisc.link == port.index {
                    try socket.perform(
                        .deleteQdisc(link: qdisc.link, handle: qdisc.handle, parent: qdisc.parent))
                }
                try await LimitLab.soon { try traces().map(withoutIndex) == made }
                try socket.perform(.deleteLink(.index(shaper.index)))
                try await LimitLab.soon { try traces().map(withoutIndex) == made }
                let stream = try Stream(from: lab.client, to: lab.web, lab.server.addresses[0], port: 80)
                try expect(20, stream, .there)
                try expect(20, stream, .back)
            }
        }

        // MARK: Packets

        @Test(arguments: Direction.allCases)
        func `packets a second are counted for endpoints with a limit, in established flows too`(
            direction: Direction
        ) async throws {
            try await LimitLab.with { lab in
                var policy = lab.limits()
                let there = direction == .ingress
                let (from, to, at) =
                    there
                    ? (lab.client, lab.server.addresses[0], lab.web)
                    : (lab.web, lab.other.addresses[0], lab.client)
                #expect(try lab.datagrams(500, size: 10, from: from, to: to, at: at) == 500)
                policy.limits[direction].packets = 100
                try await lab.manager.apply([policy])
                let passed = try lab.datagrams(500, size: 10, from: from, to: to, at: at)
                #expect((10...60).contains(passed), "\(passed) of 500 at once passed 100 a second")
                let reasons = try await lab.server.statistics().denials
                let dropped = reasons.first {
                    $0.reason == .limit(.init(.packets, .endpoint(direction, "web")))
                }
                // The container's kernel speaks too: it solicits routers, a few times.
                let lost = UInt64(500 - passed)
                #expect((lost...lost + 4).contains(dropped?.packets ?? 0), "\(reasons)")

                policy.limits[direction].packets = nil
                policy.limits[direction].connections = 1_000_000
                try await lab.manager.apply([policy])
                #expect(try lab.datagrams(500, size: 10, from: from, to: to, at: at) == 500)
            }
        }

        // MARK: Connections

        @Test(arguments: IPFamily.allCases)
        func `new connections a second are counted for the endpoint in both families together`(
            family: IPFamily
        )
            async throws
        {
            try await LimitLab.with { lab in
                let server = try #require(lab.server.endpoint.address(family))
                #expect(try lab.connections(40, from: lab.client, to: server, at: lab.web) == 40)
                var policy = lab.limits()
                policy.limits.ingress.connections = 10
                try await lab.manager.apply([policy])
                #expect(
                    (10...13).contains(try lab.connections(40, from: lab.client, to: server, at: lab.web)))
                let six = try #require(lab.server.endpoint.address(family == .v4 ? .v6 : .v4))
                #expect(try lab.connections(40, from: lab.client, to: six, at: lab.web) <= 4, "one bucket")
                let reasons = try await lab.server.statistics().denials.map(\.reason)
                #expect(reasons == [.limit(.init(.connections, .endpoint(.ingress, "web")))])

                policy.limits = EndpointLimits(egress: TrafficLimit(connections: 10))
                try await lab.manager.apply([policy])
                #expect(try lab.connections(40, from: lab.client, to: server, at: lab.web) == 40)
                let client = try #require(lab.other.endpoint.address(family))
                #expect(
                    (10...13).contains(try lab.connections(40, from: lab.web, to: client, at: lab.client)))
            }
        }

        // MARK: Rules

        @Test(arguments: IPFamily.allCases)
        func `a rule's limits hold for what it allows and for nothing else`(family: IPFamily) async throws {
            try await LimitLab.with { lab in
                let server = try #require(lab.server.endpoint.address(family))
                var policy = FirewallPolicy(
                    name: "limits", selector: EndpointSelector(endpoints: ["web"]),
                    ingress: [
                        PolicyRule(ports: [PortMatch(.tcp, 80...80)], limit: TrafficLimit(connections: 5)),
                        PolicyRule(
                            ports: [PortMatch(.udp, 9...9)], limit: TrafficLimit(packets: 100)),
                        PolicyRule(),
                    ], egress: [PolicyRule()])
                try await lab.manager.deletePolicy("open")
                try await lab.manager.apply([
                    policy,
                    FirewallPolicy(
                        name: "client", selector: EndpointSelector(endpoints: ["client"]),
                        ingress: [PolicyRule()],
                        // Both sides have a limit for the same connection: each holds.
                        egress: [PolicyRule(limit: TrafficLimit(connections: 30))]),
                ])
                let limited = try lab.connections(20, from: lab.client, to: server, at: lab.web, port: 80)
                #expect((5...7).contains(limited), "\(limited)")
                let free = try lab.connections(20, from: lab.client, to: server, at: lab.web, port: 81)
                #expect((10...20).contains(free), "\(free)")
                _ = try lab.connections(40, from: lab.client, to: server, at: lab.web, port: 81)
                let rule = { (name: String, list: RuleList, number: Int) in
                    RuleReference(policy: name, list: list, number: number)
                }
                let reasons = try await lab.server.statistics().denials.map(\.reason)
                #expect(reasons == [.limit(.init(.connections, .rule(rule("limits", .ingress, 1))))])
                let others = try await lab.other.statistics().denials.map(\.reason)
                #expect(others == [.limit(.init(.connections, .rule(rule("client", .egress, 1))))])

                // Datagrams of one flow, first unanswered, then established.
                let socket = try lab.flow(from: lab.client, to: server, at: lab.web, port: 9)
                let passed = try socket.send(300)
                #expect((10...60).contains(passed), "\(passed)")
                pauseThread(milliseconds: 300)
                #expect(try socket.exchange())
                let later = try socket.send(300)
                #expect((5...60).contains(later), "\(later)")

                // Another limit holds for the flow that is there; none lets it all pass.
                policy.ingress[1].limit = nil
                try await lab.manager.apply([policy])
                #expect(try socket.send(300) == 300)
                policy.ingress[1].limit = TrafficLimit(packets: 50)
                try await lab.manager.apply([policy])
                let again = try socket.send(300)
                #expect((5...30).contains(again), "\(again)")
            }
        }

        @Test(arguments: IPFamily.allCases)
        func `an endpoint's own limit counts a connection once, whatever limit the other side's rule has`(
            family: IPFamily
        ) async throws {
            try await LimitLab.with { lab in
                let server = try #require(lab.server.endpoint.address(family))
                try await lab.manager.deletePolicy("open")
                var web = FirewallPolicy(
                    name: "web", selector: EndpointSelector(endpoints: ["web"]), ingress: [PolicyRule()],
                    egress: [PolicyRule()])
                web.limits.ingress.connections = 10
                try await lab.manager.apply([
                    web,
                    FirewallPolicy(
                        name: "client", selector: EndpointSelector(endpoints: ["client"]),
                        ingress: [PolicyRule()], egress: [PolicyRule(limit: TrafficLimit(connections: 1000))]),
                ])
                #expect(
                    (10...13).contains(try lab.connections(40, from: lab.client, to: server, at: lab.web)))
            }
        }

        @Test func `a rule's bandwidth holds for each way of its connections, also of those that stand`()
            async throws
        {
            try await LimitLab.with { lab in
                let address = lab.server.addresses[0]
                let stream = try Stream(from: lab.client, to: lab.web, address, port: 80)
                #expect(try stream.megabits(.there, seconds: 0.3) > 200)
                let policy = FirewallPolicy(
                    name: "a-limit", selector: EndpointSelector(endpoints: ["web"]),
                    ingress: [
                        PolicyRule(
                            ports: [PortMatch(.tcp, 80...80)],
                            limit: TrafficLimit(bandwidth: Bandwidth(kilobits: 20_000)))
                    ])
                try await lab.manager.apply([policy])
                let there = try stream.megabits(.there, seconds: 1.5)
                #expect((8...23).contains(there), "\(there) Mbit/s")
                let back = try stream.megabits(.back, seconds: 1.5)
                #expect((8...23).contains(back), "\(back) Mbit/s")
                let other = try Stream(from: lab.client, to: lab.web, address, port: 81)
                #expect(try other.megabits(.there, seconds: 0.3) > 200)
            }
        }

        // MARK: Helpers

        private func traces() throws -> [String] { try LimitLab.traces() }

        private func withoutIndex(_ text: String) -> String {
            String(text.prefix { $0 != "#" })
        }

        private func links(_ socket: inout NetlinkSocket<RouteProtocol>) throws -> [Link] {
            try socket.dump(.listLinks()).map(Link.init)
        }
    }
}

/// A container's namespace.
private final class Box {
    private let namespace: LabNamespace
    init() throws { namespace = try LabNamespace() }
    var path: String { namespace.path }
    func inside<R: ~Copyable>(_ body: () throws -> R) throws -> R { try namespace.inside(body) }
}

/// A network with a server "web" and a client, that allows everything.
private final class LimitLab {
    let manager: NetworkManager
    let web: Box
    let client: Box
    let server: Assignment
    let other: Assignment

    private init(
        _ manager: NetworkManager, _ web: Box, _ client: Box,
        _ server: Assignment, _ other: Assignment
    ) {
        self.manager = manager
        self.web = web
        self.client = client
        self.server = server
        self.other = other
    }

    static func manager(_ directory: TemporaryDirectory) async throws -> NetworkManager {
        try await NetworkManager(.init(stateDirectory: directory.path, ownsNamespace: true))
    }

    static func with(_ body: (LimitLab) async throws -> Void) async throws {
        let directory = try TemporaryDirectory()
        let manager = try await manager(directory)
        do {
            #expect(await manager.missingFeatures.isEmpty)
            try await manager.createNetwork(NetworkRequest(name: "shop"))
            let (web, client) = (try Box(), try Box())
            let server = try await manager.assign(
                containerID: "c-web", network: "shop", namespace: .path(web.path), name: "web")
            let other = try await manager.assign(
                containerID: "c-client", network: "shop", namespace: .path(client.path), name: "client")
            try await manager.apply([
                FirewallPolicy(
                    name: "open", selector: EndpointSelector(), ingress: [PolicyRule()],
                    egress: [PolicyRule()])
            ])
            try await body(LimitLab(manager, web, client, server, other))
        } catch {
            try? await manager.tearDown()
            throw error
        }
        try await manager.tearDown()
        #expect(try traces().isEmpty)
    }

    /// Waits for what the manager does by itself.
    static func soon(_ isSo: () throws -> Bool) async throws {
        for _ in 0..<100 where try !isSo() { try await Task.sleep(for: .milliseconds(10)) }
        #expect(try isSo())
    }

    /// A policy that decides nothing, for limits of the server.
    func limits() -> FirewallPolicy {
        FirewallPolicy(name: "limits", selector: EndpointSelector(endpoints: ["web"]), directions: [])
    }

    func traces() throws -> [String] { try LimitLab.traces() }

    /// What traffic control has in the fabric: links that hold back, and queueing disciplines that are not the
    /// kernel's own choice.
    static func traces() throws -> [String] {
        var socket = try NetlinkSocket<RouteProtocol>()
        let shapers = try socket.dump(.listLinks()).map(Link.init).filter { $0.kind == "ifb" }
        let qdiscs = try socket.dump(.listQdiscs).map(Qdisc.init).filter { qdisc in
            if case .other = qdisc.kind { false } else { true }
        }
        return (shapers.map { "\($0.name)#\($0.index)" } + qdiscs.map { "\($0.kind)#\($0.link)" }).sorted()
    }

    /// How many of so many attempts at once come through.
    func connections(
        _ count: Int, from source: Box, to address: IPAddress, at target: Box,
        port: UInt16 = 80
    ) throws -> Int {
        let open = try target.inside { try OpenPort(address.description, port: port) }
        let any = address.family == .v4 ? "0.0.0.0" : "::"
        let probes = try source.inside {
            try (0..<count).map {
                try Probe(.tcp(port), from: any, to: address.description, token: UInt32($0))
            }
        }
        pauseThread(milliseconds: 100)
        try open.drain()
        return probes.count(where: \.isAnswered)
    }

    /// How many of so many datagrams at once arrive.
    func datagrams(
        _ count: Int, size: Int, from source: Box, to address: IPAddress,
        at target: Box
    ) throws -> Int {
        let flow = try self.flow(from: source, to: address, at: target, port: 7)
        #expect(try flow.exchange(), "the flow is established")
        pauseThread(milliseconds: 300)
        return try flow.send(count, size: size)
    }

    func flow(
        from source: Box, to address: IPAddress, at target: Box, port: UInt16
    ) throws -> DatagramFlow {
        let receiver = try target.inside { try LabSockets.bind(.udp, address.description, port: port) }
        let sender = try source.inside { try LabSockets.connect(.udp, address.description, port: port) }
        return DatagramFlow(sender, receiver)
    }
}

/// Datagrams of one connected socket, and where they arrive.
private final class DatagramFlow {
    private let sender: Descriptor
    private let receiver: Descriptor

    init(_ sender: consuming Descriptor, _ receiver: consuming Descriptor) {
        self.sender = sender
        self.receiver = receiver
    }

    /// One there and one back.
    func exchange() throws -> Bool {
        try sender.write([1])
        try LabSockets.echoDatagram(receiver)
        return try LabSockets.receive(sender).utf8.count == 1
    }

    func send(_ count: Int, size: Int = 10) throws -> Int {
        let payload = [UInt8](repeating: 0, count: size)
        var arrived = 0
        func take(_ milliseconds: Int32) throws {
            while try waitReadable([receiver.rawValue], milliseconds: milliseconds)[0] {
                _ = try receiver.read(upTo: 2048)
                arrived += 1
            }
        }
        for _ in 0..<count {
            try sender.write(payload)
            // An ordinary user's socket does not hold all of them.
            try take(0)
        }
        try take(60)
        return arrived
    }
}

/// A TCP connection between two containers, both ends in hand.
private final class Stream {
    enum Way { case there, back }

    private let client: Descriptor
    private let server: Descriptor

    init(from source: Box, to target: Box, _ address: IPAddress, port: UInt16)
        throws
    {
        let listener = try target.inside { try LabSockets.bind(.tcp, address.description, port: port) }
        client = try source.inside { try LabSockets.connect(.tcp, address.description, port: port) }
        server = try LabSockets.accept(listener)
    }

    /// What comes out at the other end in so many seconds, in Mbit/s, after a fifth of them to settle.
    func megabits(_ way: Way, seconds: Double) throws -> Double {
        let (from, to) =
            way == .there ? (client.rawValue, server.rawValue) : (server.rawValue, client.rawValue)
        let payload = [UInt8](repeating: 0, count: 64 << 10)
        var room = payload
        let flags = Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)
        let clock = ContinuousClock()
        let start = clock.now
        var (received, begun) = (0, start)
        while clock.now - start < .seconds(seconds) {
            let sent = unsafe payload.withUnsafeBytes { unsafe send(from, $0.baseAddress, $0.count, flags) }
            let got = unsafe room.withUnsafeMutableBytes { unsafe recv(to, $0.baseAddress, $0.count, flags) }
            if got > 0 { received += got }
            if sent <= 0, got <= 0 { _ = try waitReadable([to], milliseconds: 5) }
            if begun == start, clock.now - start > .seconds(seconds / 5) {
                (received, begun) = (0, clock.now)
            }
        }
        let elapsed = (clock.now - begun) / .seconds(1)
        // What is still under way must not count for the next measurement.
        while try waitReadable([to], milliseconds: 100)[0] {
            let got = unsafe room.withUnsafeMutableBytes { unsafe recv(to, $0.baseAddress, $0.count, flags) }
            if got <= 0 { break }
        }
        return Double(received) * 8 / elapsed / 1e6
    }
}
