internal import BenchLab
internal import CBench
internal import Model
internal import Wire

/// Evaluations by the pure function, of endpoints that it knows.
struct Evaluation {
    private let set: PolicySet
    private let flows: [Flow]

    /// Policies of the everyday kind, each for some of 1,000 endpoints: by label, for peers by label and by block.
    init(policies count: Int) throws {
        let network = Network(
            id: String(repeating: "1", count: 64), name: "bench", subnets: [try CIDR("10.1.0.0/16")],
            isolation: .none, defaultVerdict: .deny, mtu: 1500, labels: [:])
        let members = (0..<1000).map { index in
            NetworkMember(
                Endpoint(
                    id: "\(index)", containerID: "c\(index)", networkID: network.id, name: "e\(index)",
                    labels: ["app": "app\(index % 100)", "tier": "tier\(index % 7)"],
                    addresses: [IPAddress(.v4, bits: 10 << 24 | 1 << 16 | UInt128(index + 10))],
                    mac: MACAddress(bits: 2 << 40), interfaceName: "eth0",
                    namespace: NamespaceReference(path: "/", device: 0, inode: 0)),
                in: network)
        }
        func app(_ index: Int) -> EndpointSelector {
            EndpointSelector(matchLabels: ["app": "app\(index % 100)"])
        }
        let block = try CIDR("192.0.2.0/24")
        let policies = (0..<count).map { index in
            let port = UInt16(1000 + index)
            return FirewallPolicy(
                name: "p\(index)", selector: app(index),
                ingress: [
                    PolicyRule(
                        peers: [.endpoints(app(index * 7 + 1)), .cidr(block, except: [])],
                        ports: [PortMatch(.tcp, port...port)])
                ],
                // The inverse of the line above: who accepts an application is who it may go to.
                egress: [PolicyRule(peers: [.endpoints(app(index * 43 + 57))])])
        }
        set = PolicySet(policies, members: members)
        flows = (0..<4096).map { index in
            // Every other one is allowed.
            let wanted = index * 7919 % 1000
            let from = members[index % 2 == 0 ? (wanted * 7 + 1) % 100 + index % 10 * 100 : index % 1000]
            let to = members[wanted]
            return Flow(
                from: FlowSide(from.endpoint.addresses[0], from),
                to: FlowSide(to.endpoint.addresses[0], to), .tcp(UInt16(1000 + wanted)))
        }
    }

    func run() throws -> String {
        var times: [Double] = []
        var allowed = 0
        for _ in 0..<50 {
            let start = bench_now()
            for flow in flows where set.evaluate(flow).isAllowed { allowed += 1 }
            times.append(Double(bench_now() - start) / 1000 / Double(flows.count))
        }
        // A verdict that is always the same would be found by another way than the one meant.
        guard allowed > 0, allowed < 50 * flows.count else { throw Problem("all verdicts are alike") }
        return json(["evaluate_us": times])
    }
}
