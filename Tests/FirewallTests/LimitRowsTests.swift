import Model
import Testing
import Wire

@testable import Firewall

@Suite struct LimitRowsTests {
    private let network: Network
    private let endpoint: Endpoint

    init() throws {
        network = Network(
            id: String(repeating: "a", count: 64), name: "shop", subnets: [try CIDR("10.1.0.0/24")],
            isolation: .peerOnly, defaultVerdict: .deny, mtu: 1500, labels: [:])
        endpoint = try LimitRowsTests.endpoint(network, 5, "web")
    }

    private static func endpoint(_ network: Network, _ number: UInt8, _ name: String) throws -> Endpoint {
        let digit = String(number, radix: 16)
        return Endpoint(
            id: String(repeating: digit, count: 64), containerID: "c\(number)", networkID: network.id,
            name: name,
            labels: ["app": name], addresses: [try IPAddress("10.1.0.\(number)")],
            mac: try MACAddress("02:00:00:00:00:0\(digit)"), interfaceName: "eth0",
            namespace: NamespaceReference(path: "/x", device: 1, inode: UInt64(number)))
    }

    private func compiler(_ policies: [FirewallPolicy]) -> PolicyCompiler {
        var compiler = PolicyCompiler()
        compiler.setNetwork(network)
        _ = compiler.setPolicies(policies)
        _ = compiler.setEndpoint(endpoint)
        return compiler
    }

    private func limits(_ name: String, _ limit: TrafficLimit) -> FirewallPolicy {
        FirewallPolicy(
            name: name, selector: EndpointSelector(), directions: [], limits: EndpointLimits(ingress: limit))
    }

    @Test func `the strictest bound of each kind holds, and the next when it is gone`() throws {
        var compiler = compiler([
            limits("a", TrafficLimit(connections: 5, packets: 100)),
            limits("b", TrafficLimit(connections: 9, packets: 50, bandwidth: Bandwidth(kilobits: 20))),
        ])
        let number = try #require(compiler.rows[.limited(endpoint.addresses[0])])
        #expect(compiler.rows[.connections(scope: Direction.ingress.ownScope, endpoint: number)] == 5)
        #expect(compiler.rows[.packets(.ingress, port: LinkName(endpoint.hostInterfaceName))] == 50)
        #expect(compiler.bandwidths[endpoint.id]?.ingress == Bandwidth(kilobits: 20))
        #expect(compiler.takeReshaped() == [endpoint.id])
        let delta = compiler.setPolicies([], removing: ["b"])
        #expect(compiler.rows[.packets(.ingress, port: LinkName(endpoint.hostInterfaceName))] == 100)
        #expect(delta.added.count == 1 && delta.removed.count == 1, "one element for another")
        #expect(compiler.takeReshaped() == [endpoint.id] && compiler.bandwidths.isEmpty)
        #expect(compiler.setPolicies([], removing: ["a"]).chains == [.packetLimits: false])
    }

    @Test(arguments: [
        ("", []), ("v", [0x76]), ("veth0123456789a", Array("veth0123456789a".utf8)),
        ("longer than a name can be", Array("longer than a n".utf8)),
    ])
    func `a link is called in the sets as the kernel calls it, with zeros behind`(
        name: String, bytes: [UInt8]
    ) {
        #expect(LinkName(name).bytes == bytes + [UInt8](repeating: 0, count: 16 - bytes.count))
    }

    @Test func `a rule with a limit leaves its number in the marks of its connections`() throws {
        let limit = TrafficLimit(connections: 1, packets: 2, bandwidth: Bandwidth(kilobits: 16))
        var compiler = compiler([
            FirewallPolicy(
                name: "p", selector: EndpointSelector(),
                ingress: [PolicyRule(ports: [PortMatch(.tcp, 80...80)], limit: limit), PolicyRule()],
                egress: [PolicyRule(ports: [PortMatch(.tcp, 80...81)], limit: limit), PolicyRule()])
        ])
        let other = try LimitRowsTests.endpoint(network, 6, "front")
        let added = compiler.setEndpoint(other)
        #expect(added.added.filter { if case .identity = $0.row { false } else { true } }.count >= 11)
        func mark(_ port: UInt16) -> UInt32 {
            compiler.connectionMark(
                from: endpoint.addresses[0], to: other.addresses[0], l4proto: 6, port: port)
        }
        #expect(mark(82) == 0)
        #expect(mark(81) & 0xffff_0000 == 0 && mark(81) > 1)
        #expect(mark(80) & 0xffff == mark(81) && mark(80) >> 16 > 1 && mark(80) >> 31 == 0)
        let outcome = Outcome.exceeded(.packets, .ingress, rule: mark(80) & 0xffff_0000)
        #expect(outcome.isDenial && outcome.rawValue < Outcome.rules.lowerBound)
        #expect(
            compiler.exceededLimit(outcome, endpoint: "front")
                == ExceededLimit(.packets, .rule(RuleReference(policy: "p", list: .ingress, number: 1))))
        #expect(
            compiler.exceededLimit(.exceeded(.connections, .egress), endpoint: "front")
                == ExceededLimit(.connections, .endpoint(.egress, "front")))
        #expect(compiler.exceededLimit(.defaultDenyEgress, endpoint: "front") == nil)
        #expect(compiler.limits(ofEndpoint: other.id).rules.map(\.limit) == [limit, limit])
        _ = compiler.setPolicies([], removing: ["p"])
        #expect(compiler.exceededLimit(outcome, endpoint: "front") == nil)
        #expect(!compiler.limitsConnections && mark(80) == 0)
    }
}
