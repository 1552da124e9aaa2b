import LabSupport
import Model
import Testing
import Wire

@testable import Firewall

@Suite struct PolicyWarningTests {
    private func compiler(_ policies: [FirewallPolicy]) throws -> PolicyCompiler {
        let network = RandomWorld(seed: 1, policies: 0).networks[0]
        var compiler = PolicyCompiler()
        compiler.setNetwork(network)
        _ = compiler.setEndpoint(
            Endpoint(
                id: "e", containerID: "c", networkID: network.id, name: "e", labels: ["app": "web"],
                addresses: [try #require(network.subnets[0].address(at: 2))],
                mac: MACAddress(bits: 2 << 40), interfaceName: "eth0",
                namespace: NamespaceReference(path: "/", device: 0, inode: 0),
                ports: [NamedPort("http", 80, .tcp)]))
        _ = compiler.setPolicies(policies)
        return compiler
    }

    private let web = EndpointSelector(matchLabels: ["app": "web"])
    private let db = EndpointSelector(matchLabels: ["app": "db"])

    @Test func `selectors that match no endpoint and names of ports that none declares are told`() throws {
        let policy = FirewallPolicy(
            name: "p", selector: db,
            ingress: [
                PolicyRule(peers: [.endpoints(web), .endpoints(db)], ports: [.named("http", nil)]),
                PolicyRule(peers: [.endpoints(db)], ports: [.named("htpp", nil)]),
            ])
        #expect(
            try compiler([policy]).warnings([policy], atMost: 20) == [
                "policy p: its endpoints: no endpoint matches now",
                "rule 1 of ingress in policy p: 1 of its 2 peers: no endpoint matches now",
                "rule 2 of ingress in policy p: its peer: no endpoint matches now",
                "rule 2 of ingress in policy p: no endpoint has a port named \"htpp\"",
            ])
    }

    @Test func `what matches, what is for all and what is outside gives no warning`() throws {
        let policy = FirewallPolicy(
            name: "p", selector: web,
            ingress: [PolicyRule(peers: [.endpoints(web), .cidr(try CIDR("0.0.0.0/0"), except: [])])])
        let all = FirewallPolicy(name: "q", selector: EndpointSelector())
        #expect(try compiler([policy, all]).warnings([policy, all], atMost: 20) == [])
        var empty = PolicyCompiler()
        _ = empty.setPolicies([all])
        #expect(empty.warnings([all], atMost: 20) == [])
    }

    @Test func `there are never many`() throws {
        let policies = (0..<500).map { index in
            FirewallPolicy(
                name: "p\(index)", selector: db, ingress: [PolicyRule(ports: [.named("none", nil)])])
        }
        let warnings = try compiler(policies).warnings(policies, atMost: 20)
        #expect(warnings.count == 21)
        #expect(warnings.last == "there may be more of this kind")
    }
}
