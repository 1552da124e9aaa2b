import ConformanceSupport
import Foundation
import LabSupport
import Model
import Testing
import Wire

@testable import Firewall

@Suite struct PolicyCompilerTests {
    @Test(arguments: 0..<60) func `judges every flow as the pure evaluation does`(seed: UInt64) {
        var world = RandomWorld(seed: seed)
        let compiler = compile(world)
        for _ in 0..<500 { expectAgreement(&world, compiler) }
    }

    @Test(arguments: 100..<130) func `stays in step while policies and endpoints come, change and go`(
        seed: UInt64
    ) {
        var world = RandomWorld(seed: seed)
        var compiler = compile(world)
        for step in 0..<30 {
            switch Int.random(in: 0..<5, using: &world.generator) {
            case 0:
                let changed = world.policy("policy\(step % 8)")
                world.policies = world.policies.filter { $0.name != changed.name } + [changed]
                _ = compiler.setPolicies([changed])
            case 1:
                guard let gone = world.policies.randomElement(using: &world.generator) else { continue }
                world.policies.removeAll { $0.name == gone.name }
                _ = compiler.setPolicies([], removing: [gone.name])
            case 2:
                world.relabelNetwork()
                for network in world.networks { compiler.setNetwork(network) }
            case 3:
                let index = Int.random(in: 0..<world.members.count, using: &world.generator)
                world.members[index] = world.endpoint(index)
                _ = compiler.setEndpoint(world.members[index].endpoint)
            default:
                let index = Int.random(in: 0..<world.members.count, using: &world.generator)
                _ = compiler.removeEndpoint(id: world.members[index].endpoint.id)
                _ = compiler.setEndpoint(world.members[index].endpoint)
            }
            for _ in 0..<50 { expectAgreement(&world, compiler) }
        }
        let anew = compile(world).rows
        let rows = compiler.rows
        let differing = Set(rows.keys).union(anew.keys).filter { rows[$0] != anew[$0] }
        #expect(differing.isEmpty, "the way to a state does not show in it")
        #expect(compiler.bandwidths == compile(world).bandwidths)
    }

    @Test(arguments: 200..<230)
    func `isolation lets the outside in to published ports, as the pure evaluation does`(seed: UInt64) throws
    {
        var world = RandomWorld(seed: seed)
        for index in world.members.indices {
            var endpoint = world.members[index].endpoint
            endpoint.published = try RandomWorld.ports.dropLast().enumerated().map { place, port in
                Publication(
                    id: UInt32(place),
                    port: try PublishedPort(
                        hostPort: port, endpointPort: port, transport: index % 2 == 0 ? .tcp : .udp))
            }
            world.members[index] = NetworkMember(endpoint, in: world.members[index].network)
        }
        let compiler = compile(world)
        for _ in 0..<500 { expectAgreement(&world, compiler) }
        let port = try #require(RandomWorld.ports.first)
        let hidden = try #require(RandomWorld.ports.last)
        for member in world.members {
            guard let address = member.endpoint.address(.v4) else { continue }
            let outside = try IPAddress("203.0.113.99")
            let isTCP = member.endpoint.published.first?.port.transport == .tcp
            func outcome(_ port: UInt16) -> Outcome {
                compiler.judge(from: outside, to: address, l4proto: isTCP ? 6 : 17, port: port)
            }
            #expect(outcome(port) != .isolation)
            #expect((outcome(hidden) == .isolation) == (member.network.isolation != .none))
        }
    }

    @Test func `the differences that it returns add up to the rows that it has`() {
        var world = RandomWorld(seed: 7)
        var compiler = PolicyCompiler()
        var rows: [Row: UInt32] = [:]
        func follow(_ delta: RulesetDelta) {
            for (row, value) in delta.removed.map({ ($0.row, $0.value) }) {
                #expect(rows[row] == value)
                rows[row] = nil
            }
            for (row, value) in delta.added.map({ ($0.row, $0.value) }) {
                #expect(rows[row] == nil)
                rows[row] = value
            }
            #expect(rows == compiler.rows)
        }
        for network in world.networks { compiler.setNetwork(network) }
        for member in world.members { follow(compiler.setEndpoint(member.endpoint)) }
        for step in 0..<100 { follow(compiler.setPolicies([world.policy("policy\(step % 5)")])) }
        for member in world.members { follow(compiler.removeEndpoint(id: member.endpoint.id)) }
        #expect(rows.isEmpty)
    }

    @Test func `attaching an endpoint with known labels adds one row for each address`() {
        var world = RandomWorld(seed: 3, policies: 0, endpoints: 0)
        var compiler = PolicyCompiler()
        for network in world.networks { compiler.setNetwork(network) }
        let policy = FirewallPolicy(
            name: "web", selector: EndpointSelector(matchLabels: ["app": "web"]),
            ingress: [
                PolicyRule(
                    peers: [.endpoints(EndpointSelector(matchLabels: ["app": "web"]))],
                    ports: [PortMatch(.tcp, 80...80)])
            ])
        _ = compiler.setPolicies([policy])
        for index in stride(from: 0, to: 300, by: 3) {
            let template = world.endpoint(index)
            let endpoint = Endpoint(
                id: template.endpoint.id, containerID: template.endpoint.containerID,
                networkID: template.network.id,
                name: template.endpoint.name, labels: ["app": "web"], addresses: template.endpoint.addresses,
                mac: template.endpoint.mac, interfaceName: "eth0", namespace: template.endpoint.namespace)
            let delta = compiler.setEndpoint(endpoint)
            if index > 0 { #expect(delta.added.count == 2) }
            #expect(delta.removed.isEmpty)
        }
    }

    @Test func `a change of one policy touches nothing of the others`() {
        var world = RandomWorld(seed: 11, policies: 0)
        world.policies = (0..<20).map { index in
            FirewallPolicy(
                name: "p\(index)", selector: EndpointSelector(endpoints: ["e\(index % 9)"]),
                ingress: [PolicyRule(ports: [PortMatch(.tcp, UInt16(1000 + index)...UInt16(1000 + index))])])
        }
        var compiler = compile(world)
        var changed = world.policies[4]
        changed.ingress[0].ports = [PortMatch(.tcp, 4242...4242)]
        let delta = compiler.setPolicies([changed])
        // One endpoint, two families: its segments and the class that they point to.
        #expect(delta.added.count + delta.removed.count <= 8)
        #expect(compiler.setPolicies([changed]).isEmpty)
    }

    @Test func `a change of one policy leaves the pairs alone that it does not speak of`() throws {
        var world = RandomWorld(seed: 5, policies: 0)
        world.policies = (0..<9).map { index in
            FirewallPolicy(
                name: "p\(index)", selector: EndpointSelector(endpoints: ["e\(index)"]),
                ingress: [
                    PolicyRule(
                        peers: (0..<9).map { .endpoints(EndpointSelector(endpoints: ["e\($0)"])) },
                        ports: [PortMatch(.tcp, 80...80)])
                ])
        }
        var compiler = compile(world)
        var changed = world.policies[4]
        changed.ingress.append(
            PolicyRule(
                peers: [.endpoints(EndpointSelector(endpoints: ["e7"]))], ports: [PortMatch(.udp, 53...53)]))
        let delta = compiler.setPolicies([changed])
        let pairs = delta.added.filter { if case .pair = $0.row { true } else { false } }
        #expect(pairs.count == 1)
        #expect(delta.removed.count == 1)
    }

    @Test func `a port name tells endpoints apart only while a policy uses it`() throws {
        let network = RandomWorld(seed: 1, policies: 0).networks[0]
        var compiler = PolicyCompiler()
        compiler.setNetwork(network)
        for (number, ports) in [[], [NamedPort("web", 80, .tcp)], [NamedPort("web", 81, .tcp)]].enumerated() {
            let address = try #require(network.subnets[0].address(at: UInt128(number + 2)))
            _ = compiler.setEndpoint(
                Endpoint(
                    id: "e\(number)", containerID: "c\(number)", networkID: network.id, name: "e\(number)",
                    labels: [:], addresses: [address], mac: MACAddress(bits: 2 << 40), interfaceName: "eth0",
                    namespace: NamespaceReference(path: "/", device: 0, inode: 0), ports: ports))
        }
        func identities() -> Int {
            Set(compiler.rows.filter { if case .identity = $0.key { true } else { false } }.values).count
        }
        #expect(identities() == 1)
        let policy = FirewallPolicy(
            name: "p", selector: EndpointSelector(), ingress: [PolicyRule(ports: [.named("web", nil)])])
        _ = compiler.setPolicies([policy])
        #expect(identities() == 3)
        _ = compiler.setPolicies([], removing: ["p"])
        #expect(identities() == 1)
    }

    @Test(
        .enabled(if: ConformanceSuite.isPresent, "needs ../shared/conformance"),
        arguments: ConformanceSuite.files, IPFamily.allCases)
    func `judges every case of Kubernetes as it should be, each change made on top of the last`(
        _ file: String, _ family: IPFamily
    ) throws {
        let suite = try ConformanceSuite(file)
        for one in suite.cases {
            var world = try ConformanceWorld(suite, family)
            var compiler = PolicyCompiler()
            var endpoints: Set<String> = []
            for step in one.steps {
                let questions = try world.perform(step)
                for network in world.networks { compiler.setNetwork(network) }
                let members = world.members
                for id in endpoints.subtracting(members.map(\.endpoint.id)) {
                    _ = compiler.removeEndpoint(id: id)
                }
                endpoints = Set(members.map(\.endpoint.id))
                for member in members { _ = compiler.setEndpoint(member.endpoint) }
                _ = compiler.setPolicies(
                    Array(world.policies.values),
                    removing: compiler.policyNames.filter { name in
                        !world.policies.keys.contains { $0.description == name }
                    })
                for question in questions {
                    let flow = question.flow
                    let (l4proto, port) = flow.transport.numbers(family)
                    let outcome = compiler.judge(
                        from: flow.source.address, to: flow.destination.address, l4proto: l4proto, port: port)
                    #expect((outcome == .allow) == question.isAllowed, "\(one.id): \(question.text)")
                }
            }
        }
    }

    private func compile(_ world: RandomWorld) -> PolicyCompiler {
        var compiler = PolicyCompiler()
        for network in world.networks { compiler.setNetwork(network) }
        for member in world.members { _ = compiler.setEndpoint(member.endpoint) }
        _ = compiler.setPolicies(world.policies)
        return compiler
    }

    @Test func `the text that a policy is stored as reads back as the policy`() throws {
        var world = RandomWorld(seed: 17, policies: 0)
        var policies = (0..<2_000).map { world.policy("policy\($0)") }
        policies[0].rules = [
            PolicyRule(.ingress, .allow, name: "a \"quoted\" \\ name\n\u{1}é", peers: [.unknown], ports: [])
        ]
        policies[1].limits.egress.connections = 5
        policies[2].limits.ingress.connections = 7
        for policy in policies {
            let record = try policy.record
            let read = try JSONDecoder().decode(FirewallPolicy.self, from: Data(record.utf8))
            #expect(read == policy, "\(record)")
        }
    }

    private func expectAgreement(_ world: inout RandomWorld, _ compiler: PolicyCompiler) {
        let flow = world.flow()
        let set = PolicySet(world.policies)
        let decision = set.evaluate(flow)
        let (l4proto, port) = flow.transport.numbers(flow.source.address.family)
        let outcome = compiler.judge(
            from: flow.source.address, to: flow.destination.address, l4proto: l4proto, port: port)
        guard let denial = decision.denial else {
            if case .allowed(.verifiedRule, _) = decision {
                #expect(outcome == .unverifiedHost, "\(flow)")
                return
            }
            #expect(!outcome.isDenial, "\(flow)")
            guard let audit = set.audit(flow) else {
                #expect(outcome == .allow, "\(flow)")
                return
            }
            #expect(outcome.isAudit, "\(flow)")
            expect(outcome.auditedDenial, is: audit, flow, compiler)
            return
        }
        expect(outcome, is: denial, flow, compiler)
    }

    private func expect(
        _ outcome: Outcome, is denial: DenialReason, _ flow: Flow, _ compiler: PolicyCompiler
    ) {
        switch denial {
        case .isolation: #expect(outcome == .isolation, "\(flow)")
        case .defaultDeny(.egress, _): #expect(outcome == .defaultDenyEgress, "\(flow)")
        case .defaultDeny(.ingress, _): #expect(outcome == .defaultDenyIngress, "\(flow)")
        case .foreignResolver: #expect(outcome == .foreignResolver, "\(flow)")
        case .rule(let rule): #expect(compiler.rule(of: outcome) == rule, "\(flow)")
        default: Issue.record("the evaluation knows no \(denial)")
        }
    }
}
