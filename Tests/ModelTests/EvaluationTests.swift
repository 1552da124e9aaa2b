import Foundation
import Model
import Synchronization
import Testing
import Wire

@Suite struct `Policy evaluation` {
    let shop: Network
    let web: NetworkMember
    let db: NetworkMember

    init() throws {
        shop = try makeNetwork("shop", isolation: .peerOnly)
        web = try makeMember("web", 2, in: shop, labels: ["app": "web"])
        db = try makeMember("db", 3, in: shop, labels: ["app": "db"])
    }

    private func decide(
        _ policies: [FirewallPolicy], from: NetworkMember? = nil, to: NetworkMember? = nil,
        _ transport: FlowTransport = .tcp(5432)
    ) throws -> Decision {
        let flow = Flow(from: try FlowSide(from ?? web), to: try FlowSide(to ?? db), transport)
        return PolicyEvaluator.evaluate(policies: policies, flow: flow)
    }

    private let open = FirewallPolicy(
        name: "open", selector: EndpointSelector(), ingress: [PolicyRule()], egress: [PolicyRule()])
    private let webOut = FirewallPolicy(
        name: "web-out", selector: EndpointSelector(matchLabels: ["app": "web"]), directions: [.egress],
        egress: [PolicyRule()])

    @Test func `denies by default, the sender's egress first`() throws {
        #expect(try decide([]).description == "denied: default deny (egress of web)")
        #expect(try decide([webOut]).description == "denied: default deny (ingress of db)")
    }

    @Test func `isolation does not come between an endpoint and its network's own gateway`() throws {
        let gateway = FlowSide(try #require(shop.gateway(.v4)))
        let flow = Flow(from: try FlowSide(web), to: gateway, .udp(53))
        #expect(PolicyEvaluator.evaluate(policies: [webOut], flow: flow).isAllowed)
        #expect(
            PolicyEvaluator.evaluate(policies: [], flow: flow)
                == .denied(.defaultDeny(.egress, endpoint: "web")))
    }

    @Test func `allows what both sides allow and names the two rules`() throws {
        let dbIn = FirewallPolicy(
            name: "db-in", selector: EndpointSelector(endpoints: ["db"]), directions: [.ingress],
            ingress: [
                PolicyRule(ports: [PortMatch(.udp)]),
                PolicyRule(
                    peers: [.endpoints(EndpointSelector(matchLabels: ["app": "web"]))],
                    ports: [PortMatch(.tcp, 5432...5432)]),
            ])
        #expect(
            try decide([webOut, dbIn]).description
                == "allowed: egress by rule 1 of egress in policy web-out, ingress by rule 2 of ingress in policy db-in"
        )
        #expect(try !decide([webOut, dbIn], .tcp(5433)).isAllowed)
        #expect(try !decide([webOut, dbIn], from: db, to: web).isAllowed)
    }

    @Test func `deny beats allow, whichever policy it stands in`() throws {
        let stop = FirewallPolicy(
            name: "zz", selector: EndpointSelector(network: "shop"),
            ingressDeny: [PolicyRule(peers: []), PolicyRule(ports: [PortMatch(.tcp)])])
        #expect(try decide([open, stop]).description == "denied: rule 2 of ingressDeny in policy zz")
        #expect(try decide([open, stop], .udp(53)).isAllowed)
    }

    @Test func `reads allowPorts and trustedPeers as one rule`() throws {
        var policy = FirewallPolicy(
            name: "db", selector: EndpointSelector(endpoints: ["container-db"]), directions: [.ingress])
        policy.allowPorts = [PortMatch(.tcp, 5432...5432)]
        #expect(try decide([webOut, policy]).isAllowed)
        policy.trustedPeers = [.endpoints(EndpointSelector(matchLabels: ["app": "batch"]))]
        #expect(try !decide([webOut, policy]).isAllowed)
        policy.trustedPeers = []
        #expect(try !decide([webOut, policy]).isAllowed)
        policy.trustedPeers = [.cidr(try CIDR("10.0.0.0/24"), except: [])]
        let trusted = RuleReference(policy: "db", list: .trusted)
        #expect(
            try decide([webOut, policy])
                == .allowed(
                    egress: .rule(RuleReference(policy: "web-out", list: .egress)), ingress: .rule(trusted)))
        policy.trustedPeers = [.cidr(try CIDR("10.0.0.0/24"), except: [try CIDR("10.0.0.2/32")])]
        #expect(try !decide([webOut, policy]).isAllowed)
    }

    @Test func `an endpoint that no policy selects in a direction has its network's default`() throws {
        let open = try makeNetwork("open", 1, verdict: .allow)
        let a = try makeMember("a", 2, in: open)
        let b = try makeMember("b", 3, in: open)
        #expect(
            try decide([], from: a, to: b)
                == .allowed(
                    egress: .networkDefault(network: "open"), ingress: .networkDefault(network: "open")))
        let select = FirewallPolicy(
            name: "select", selector: EndpointSelector(endpoints: ["b"]), directions: [.ingress])
        #expect(try decide([select], from: a, to: b).denial == .defaultDeny(.ingress, endpoint: "b"))
        #expect(try decide([select], from: b, to: a).isAllowed)
    }

    @Test func `a rule without peers means the outside too, and one for endpoints does not`() throws {
        let network = try makeNetwork("edge", 2)
        let edge = try makeMember("edge", 2, in: network)
        let outside = FlowSide(try IPAddress("192.0.2.1"))
        let flow = Flow(from: outside, to: try FlowSide(edge), .tcp(80))
        #expect(PolicyEvaluator.evaluate(policies: [open], flow: flow).isAllowed)
        var inner = open
        inner.ingress = [PolicyRule(peers: [.endpoints(EndpointSelector())])]
        #expect(
            PolicyEvaluator.evaluate(policies: [inner], flow: flow).denial
                == .defaultDeny(.ingress, endpoint: "edge"))
    }

    @Test func `an endpoint talks to itself, and the fabric carries nothing for strangers`() throws {
        let full = try makeNetwork("full", 3, isolation: .full)
        let alone = try makeMember("alone", 2, in: full)
        #expect(try decide([], from: alone, to: alone) == .sameEndpoint)
        let outside = FlowSide(try IPAddress("192.0.2.1"))
        #expect(
            PolicyEvaluator.evaluate(policies: [open], flow: Flow(from: outside, to: outside, .icmp)).denial
                == .noEndpoint)
    }

    @Test(
        arguments: [
            (IsolationLevel.none, IsolationLevel.none, nil),
            (.none, .peerOnly, "isolation (peer-only, network b)"),
            (.peerOnly, .peerOnly, "isolation (peer-only, network a)"),
            (.full, .peerOnly, "isolation (full, network a)"),
            (.peerOnly, .meshOnly, "isolation (mesh-only, network b)"),
            (.meshOnly, .full, "isolation (full, network b)"),
        ] as [(IsolationLevel, IsolationLevel, String?)])
    func `the stricter isolation of two networks decides before policy`(
        _ first: IsolationLevel, _ second: IsolationLevel, _ reason: String?
    ) throws {
        let a = try makeMember("one", 2, in: makeNetwork("a", 4, isolation: first))
        let b = try makeMember("two", 2, in: makeNetwork("b", 5, isolation: second))
        #expect(try decide([open], from: a, to: b).denial?.description == reason)
    }

    @Test(arguments: [(IsolationLevel.none, true), (.peerOnly, true), (.meshOnly, false), (.full, false)])
    func `inside one network, only full and mesh-only isolate`(_ level: IsolationLevel, _ allowed: Bool)
        throws
    {
        let network = try makeNetwork("one", 6, isolation: level)
        let a = try makeMember("a", 2, in: network)
        let b = try makeMember("b", 3, in: network)
        #expect(try decide([open], from: a, to: b).isAllowed == allowed)
        let out = Flow(from: try FlowSide(a), to: FlowSide(try IPAddress("192.0.2.1")), .tcp(80))
        #expect(PolicyEvaluator.evaluate(policies: [open], flow: out).isAllowed == (level == .none))
    }

    @Test(arguments: IsolationLevel.allCases)
    func `with NAT policy alone decides on the way out, and isolation stays as it is on all others`(
        _ level: IsolationLevel
    ) throws {
        let network = try makeNetwork("one", 6, isolation: level, nat: true)
        let a = try makeMember("a", 2, in: network)
        let outside = FlowSide(try IPAddress("192.0.2.1"))
        let out = Flow(from: try FlowSide(a), to: outside, .tcp(80))
        #expect(PolicyEvaluator.evaluate(policies: [open], flow: out).isAllowed)
        #expect(
            PolicyEvaluator.evaluate(policies: [], flow: out)
                == .denied(.defaultDeny(.egress, endpoint: "a")))
        let back = Flow(from: outside, to: try FlowSide(a), .tcp(80))
        #expect(PolicyEvaluator.evaluate(policies: [open], flow: back).isAllowed == (level == .none))
        let b = try makeMember("b", 3, in: network)
        #expect(
            try decide([open], from: a, to: b).isAllowed == [IsolationLevel.none, .peerOnly].contains(level))
        let other = try makeMember("c", 2, in: makeNetwork("two", 7, nat: true))
        #expect(try decide([open], from: a, to: other).isAllowed == (level == .none))
    }

    @Test func `an endpoint that was relabelled since it was inserted is judged by what it is now`() throws {
        var set = PolicySet([webOut, open], members: [web, db])
        #expect(set.selecting(web).map(\.name) == ["open", "web-out"])
        let plain = try makeMember("web", 2, in: shop)
        #expect(set.selecting(plain).map(\.name) == ["open"])
        set.insert(plain)
        #expect(set.selecting(plain).map(\.name) == ["open"])
        set.remove(endpointID: plain.endpoint.id)
        #expect(set.selecting(web).map(\.name) == ["open", "web-out"])
    }

    /// A million flows on all processors: half a minute on two, built without optimisation.
    @Test func `agrees with its naive twin on a million random flows`() async throws {
        let flows = 1_000_000
        let workers = max(ProcessInfo.processInfo.activeProcessorCount, 1)
        let worlds = flows / 400
        // On threads of their own: those of tasks are other tests' too.
        let found = Mutex<[Result<[String: Int], any Error>]>([])
        await withCheckedContinuation { done in
            DispatchQueue.global(qos: .utility).async {
                DispatchQueue.concurrentPerform(iterations: workers) { worker in
                    let result = Result {
                        try compareWithTwin(seeds: stride(from: worker, to: worlds, by: workers), flows: 400)
                    }
                    found.withLock { $0.append(result) }
                }
                done.resume()
            }
        }
        var outcomes: [String: Int] = [:]
        for result in found.withLock({ $0 }) { outcomes.merge(try result.get()) { $0 + $1 } }
        #expect(outcomes.values.reduce(0, +) == flows)
        // A property that only ever sees one outcome shows nothing.
        for kind in [
            "standard allows", "standard denies", "admin allows", "admin denies", "baseline allows",
            "baseline denies", "default denies", "default allows", "isolation", "the same endpoint",
        ] {
            #expect(outcomes[kind, default: 0] > flows / 1000, "\(kind) in \(outcomes)")
        }
    }
}

/// Evaluates random flows of random worlds both ways.
/// - Returns: how often each kind of outcome came; fewer than asked for if the two disagreed.
private func compareWithTwin(seeds: StrideTo<Int>, flows: Int) throws -> [String: Int] {
    var outcomes: [String: Int] = [:]
    for seed in seeds {
        var world = try World(seed: UInt64(seed))
        let policies = try world.policies(0...8)
        // Half of the members are known beforehand and half only from the flow.
        let set = PolicySet(
            policies, members: world.members.enumerated().filter { $0.offset % 2 == 0 }.map(\.element))
        let twin = NaiveTwin(policies)
        for _ in 0..<flows {
            let flow = try world.flow()
            let decision = set.evaluate(flow)
            let expected = twin.evaluate(flow)
            guard decision == expected else {
                Issue.record("seed \(seed): \(decision) instead of \(expected)")
                return outcomes
            }
            outcomes[kind(of: decision), default: 0] += 1
        }
    }
    return outcomes
}

private func kind(of decision: Decision) -> String {
    switch decision {
    case .sameEndpoint: "the same endpoint"
    case .allowed(_, .rule(let rule)): "\(rule.tier.name) allows"
    case .allowed: "default allows"
    case .denied(.rule(let rule)): "\(rule.tier.name) denies"
    case .denied(.isolation): "isolation"
    case .denied: "default denies"
    }
}
