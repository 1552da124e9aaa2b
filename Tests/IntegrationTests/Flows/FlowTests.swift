import LabSupport
import Model
import Netlink
import NetworkManager
import Sys
import Testing
import Wire

// A suite within that of the manager's other tests: one manager at a time has the lab's own namespace.
extension ManagerTests {
    /// What people are told of packets and connections, with real ones.
    @Suite(.serialized) struct FlowTests {
        @Test func `a packet that nobody allows is told with both sides, ports and the reason`() async throws
        {
            try await FlowLab.with { lab in
                let web = try await lab.attach("web")
                let db = try await lab.attach("db", labels: ["app": "db"])
                let reader = try await lab.read(FlowWatch(deniedOnly: true))
                for (source, destination) in zip(web.addresses, db.addresses) {
                    for _ in 0..<3 { try web.send(.udp(5353), to: destination) }
                    let record = try #require(await reader.first { $0.destination == destination })
                    #expect(record.verdict == .deny)
                    #expect(record.direction == .egress)
                    #expect(record.member?.endpoint.name == "web")
                    #expect(record.peer?.endpoint.name == "db")
                    #expect(record.peer?.endpoint.labels == ["app": "db"])
                    #expect(record.source == source)
                    #expect(record.l4proto == 17)
                    #expect(record.destinationPort == 5353)
                    #expect(record.reason == .defaultDeny(.egress, endpoint: "web"))
                    #expect(record.count == 3, "equal ones of a second are one event")
                    #expect(record.sourcePort == nil, "they had several")
                    #expect(record.time > 1_700_000_000_000_000)
                }
                // Whoever asks later is told what is remembered.
                let later = try await lab.read(FlowWatch(endpoints: ["db"], follows: false))
                #expect(await later.wait { $0.isOver })
                #expect(later.records.count == 2)
                #expect(later.records == reader.records)
                await #expect(throws: ModelError.notFound("endpoint", "nobody")) {
                    try await lab.manager.watchFlows(FlowWatch(endpoints: ["nobody"]))
                }
            }
        }

        @Test func `each denial names what denies it`() async throws {
            try await FlowLab.with { lab in
                try await lab.manager.createNetwork(NetworkRequest(name: "other"))
                let web = try await lab.attach("web")
                let db = try await lab.attach("db")
                let far = try await lab.attach("far", to: "other")
                try await lab.manager.apply([
                    FirewallPolicy(
                        name: "out", selector: EndpointSelector(), directions: [.egress],
                        egress: [PolicyRule()],
                        egressDeny: [PolicyRule(ports: [PortMatch(.tcp, 25...25)])]),
                    FirewallPolicy(
                        name: "db", selector: EndpointSelector(endpoints: ["db"]), directions: [.ingress],
                        ingressDeny: [PolicyRule(ports: [PortMatch(.tcp, 22...22)])]),
                ])
                let reader = try await lab.read(FlowWatch(deniedOnly: true))

                try web.send(.tcp(25), to: db.address)
                let mail = try #require(await reader.first { $0.destinationPort == 25 })
                #expect(mail.reason?.description == "rule 1 of egressDeny in policy out")
                #expect(mail.l4proto == 6)

                try web.send(.tcp(22), to: db.address)
                let shell = try #require(await reader.first { $0.destinationPort == 22 })
                #expect(shell.reason?.description == "rule 1 of ingressDeny in policy db")
                #expect(shell.direction == .ingress)
                #expect(shell.member?.endpoint.name == "db")
                #expect(shell.peer?.endpoint.name == "web")

                try web.send(.udp(99), to: far.address)
                let crossing = try #require(await reader.first { $0.destination == far.address })
                #expect(crossing.reason == .isolation(.peerOnly, network: "shop"))
                #expect(crossing.peer?.network.name == "other")

                let nobody = try #require(
                    web.address.family == .v4 ? IPAddress(.v4, bits: web.address.bits ^ 0x55) : nil)
                try web.send(.udp(98), to: nobody)
                let lost = try #require(await reader.first { $0.destination == nobody })
                #expect(lost.reason == .noSuchPeer)

                try web.ip("addr add 198.51.100.7/32 dev eth0")
                try web.send(.udp(97), to: db.address, from: try IPAddress("198.51.100.7"))
                let forged = try #require(await reader.first { $0.reason == .spoofedSource })
                #expect(forged.member?.endpoint.name == "web", "by its link, not by what it says")
                #expect(forged.source == (try IPAddress("198.51.100.7")))
                #expect(forged.peer?.endpoint.name == "db")
                #expect(forged.destinationPort == 97)
            }
        }

        @Test func `what an audit would deny and what a quarantine denies is told as such`() async throws {
            try await FlowLab.with { lab in
                let web = try await lab.attach("web")
                let db = try await lab.attach("db")
                var strict = FirewallPolicy(
                    name: "strict", selector: EndpointSelector(endpoints: ["db"]), directions: [.ingress],
                    ingressDeny: [PolicyRule(ports: [PortMatch(.udp, 99...99)])])
                strict.mode = .audit
                try await lab.manager.apply([
                    FirewallPolicy(
                        name: "open", selector: EndpointSelector(), ingress: [PolicyRule()],
                        egress: [PolicyRule()]), strict,
                ])
                let reader = try await lab.read(FlowWatch(deniedOnly: true))
                try web.send(.udp(99), to: db.address)
                let audited = try #require(await reader.first { $0.destinationPort == 99 })
                #expect(audited.verdict == .audit)
                #expect(audited.reason == .rule(RuleReference(policy: "strict", list: .ingressDeny)))
                try await lab.manager.quarantine("db")
                try web.send(.udp(100), to: db.address)
                let refused = try #require(await reader.first { $0.destinationPort == 100 })
                #expect(refused.verdict == .deny)
                #expect(refused.reason == .quarantine(endpoint: "db"))
            }
        }

        @Test(arguments: Direction.allCases)
        func `what a limit on packets stops is told with the limit`(direction: Direction) async throws {
            try await FlowLab.with { lab in
                let web = try await lab.attach("web")
                let db = try await lab.attach("db")
                let limited = direction == .egress ? "web" : "db"
                let policy = FirewallPolicy(
                    name: "open", selector: EndpointSelector(), ingress: [PolicyRule()],
                    egress: [PolicyRule()])
                var limits = FirewallPolicy(
                    name: "limits", selector: EndpointSelector(endpoints: [limited]), directions: [])
                limits.limits[direction].packets = 20
                try await lab.manager.apply([policy, limits])
                let reader = try await lab.read(FlowWatch(deniedOnly: true))
                for _ in 0..<50 { try web.send(.udp(99), to: db.address) }
                let stopped = try #require(await reader.first { $0.destinationPort == 99 })
                #expect(stopped.reason == .limit(.init(.packets, .endpoint(direction, limited))))
                #expect(stopped.member?.endpoint.name == limited)
                #expect(stopped.direction == direction)
            }
        }

        @Test func `a connection that is allowed is told once, while somebody watches`() async throws {
            try await FlowLab.with { lab in
                let web = try await lab.attach("web")
                let db = try await lab.attach("db")
                try await lab.manager.apply([
                    FirewallPolicy(
                        name: "open", selector: EndpointSelector(), ingress: [PolicyRule()],
                        egress: [PolicyRule()])
                ])
                let everything = try await lab.read(FlowWatch())
                let denied = try await lab.read(FlowWatch(deniedOnly: true))
                let listener = try db.namespace.inside {
                    try LabSockets.bind(.tcp, db.address.description, port: 5432)
                }
                // The subscription is made on another thread.
                try await Task.sleep(for: .milliseconds(100))
                let client = try web.namespace.inside {
                    try LabSockets.connect(.tcp, db.address.description, port: 5432)
                }
                let server = try LabSockets.accept(listener)
                try LabSockets.send(client, "hello")
                #expect(try LabSockets.receive(server) == "hello")
                let record = try #require(await everything.first { $0.destinationPort == 5432 })
                #expect(record.verdict == .allow)
                #expect(record.direction == .egress)
                #expect(record.member?.endpoint.name == "web")
                #expect(record.peer?.endpoint.name == "db")
                #expect(record.sourcePort == (try LabSockets.port(of: client)))
                #expect(record.reason == nil)
                #expect(record.count == 1)
                #expect(denied.events.isEmpty)
            }
        }

        @Test func `of a flood every packet is counted, and told or known to be untold`() async throws {
            try await FlowLab.with { lab in
                let web = try await lab.attach("web")
                let db = try await lab.attach("db")
                let quiet = try await lab.attach("quiet")
                let reader = try await lab.read(FlowWatch(deniedOnly: true))
                let count = 20_000
                let began = ContinuousClock.now
                try web.flood(count / 2, to: db.address, port: 9)
                // In the middle of it somebody else is denied something too.
                try quiet.send(.udp(53), to: db.address)
                try web.flood(count / 2, to: db.address, port: 9)
                let took = began.duration(to: .now)

                #expect(try await lab.denied("web") == UInt64(count), "counters are exact")
                let all = await reader.wait(seconds: 10) { Self.total($0, of: "web") >= UInt64(count) }
                #expect(all && Self.total(reader, of: "web") == UInt64(count), "\(reader.losses)")
                let told = reader.records.filter { $0.member?.endpoint.name == "web" }.reduce(0) {
                    $0 + $1.count
                }
                print(
                    "\(count) denied packets in \(took): \(told) told, \(UInt64(count) - told) counted as not told"
                )
                #expect(told >= 2000 && told < 10_000)
                #expect(await reader.first { $0.member?.endpoint.name == "quiet" }?.count == 1)
            }
        }

        @Test func `what more endpoints are denied than can be read is known to be lost`() async throws {
            try await FlowLab.with { lab in
                var containers: [FlowContainer] = []
                for number in 0..<24 { containers.append(try await lab.attach("e\(number)")) }
                let reader = try await lab.read(FlowWatch(deniedOnly: true))
                let each = 2500
                for (index, container) in containers.enumerated() {
                    try container.flood(each, to: containers[(index + 1) % 24].address, port: 9)
                }
                let count = UInt64(24 * each)
                var counted: UInt64 = 0
                for number in 0..<24 { counted += try await lab.denied("e\(number)") }
                #expect(counted == count)
                func total(_ reader: FlowCollector) -> UInt64 {
                    reader.records.reduce(0) { $0 + $1.count }
                        + reader.losses.reduce(0) { $0 + ($1.count ?? 0) }
                }
                #expect(await reader.wait(seconds: 15) { total($0) >= count })
                // Nothing is counted twice either.
                try await Task.sleep(for: .milliseconds(2500))
                #expect(total(reader) == count, "\(reader.losses)")
                let lost = reader.losses.filter { $0.cause == .denials }.reduce(0) { $0 + ($1.count ?? 0) }
                print("\(count) denied packets of 24 endpoints: \(lost) were more than could be read")
            }
        }

        @Test func `more frames than a port's share of spoofing are counted too`() async throws {
            try await FlowLab.with { lab in
                let web = try await lab.attach("web")
                let db = try await lab.attach("db")
                let reader = try await lab.read(FlowWatch(deniedOnly: true))
                try web.ip("addr add 198.51.100.7/32 dev eth0")
                let source = try IPAddress("198.51.100.7")
                for _ in 0..<5000 { try web.send(.udp(9), to: db.address, from: source) }
                #expect(try await lab.denied("web") == 5000)
                #expect(
                    await reader.wait(seconds: 10) { Self.total($0, of: "web") == 5000 }, "\(reader.losses)")
                #expect(reader.records.allSatisfy { $0.reason == .spoofedSource })
                #expect(reader.losses.contains { $0.cause == .share && $0.member?.endpoint.name == "web" })
            }
        }

        @Test func `a reader that is slow is told how many it missed, and slows nobody`() async throws {
            try await FlowLab.with { lab in
                let web = try await lab.attach("web")
                let db = try await lab.attach("db")
                // Nobody reads this one yet.
                let slow = try await lab.manager.watchFlows(FlowWatch(deniedOnly: true))
                let quick = try await lab.read(FlowWatch(deniedOnly: true))
                let ports = UInt16(1800)
                // In portions: on a busy machine the quick one must not be taken for a slow one.
                for port in 1...ports {
                    try web.send(.udp(port), to: db.address)
                    guard port % 300 == 0 else { continue }
                    #expect(await quick.wait { $0.records.count == Int(port) })
                }
                #expect(!quick.events.contains { if case .missed = $0 { true } else { false } })

                let late = FlowCollector(slow)
                try web.send(.udp(9999), to: db.address)
                let last = try #require(await late.first { $0.destinationPort == 9999 })
                #expect(last.count == 1)
                let missed = late.events.reduce(UInt64(0)) {
                    if case .missed(let more, _) = $1 { $0 + more } else { $0 }
                }
                #expect(missed > 0)
                #expect(UInt64(late.records.count) + missed == UInt64(ports) + 1)
            }
        }

        @Test func `streams end when the manager stops, and the next one listens`() async throws {
            let directory = try TemporaryDirectory()
            let first = try await NetworkManager(.init(stateDirectory: directory.path, ownsNamespace: true))
            let reader = FlowCollector(try await first.watchFlows())
            await first.stop()
            #expect(await reader.wait { $0.isOver })
            let second = try await NetworkManager(
                .init(stateDirectory: directory.path + "/2", ownsNamespace: true))
            #expect(await second.missingFeatures.isEmpty)
            _ = try await second.watchFlows()
            try await second.tearDown()
        }

        /// Denials of one endpoint that a reader knows of, told or not.
        private static func total(_ reader: FlowCollector, of name: String) -> UInt64 {
            let told = reader.records.filter { $0.member?.endpoint.name == name }.reduce(0) { $0 + $1.count }
            // What the manager could not read has no name; nobody else is denied anything to speak of.
            return reader.losses.filter { $0.member == nil || $0.member?.endpoint.name == name }.reduce(told)
            {
                $0 + ($1.count ?? 0)
            }
        }
    }
}
