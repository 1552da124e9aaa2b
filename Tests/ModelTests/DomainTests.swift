import Foundation
import Model
import Testing
import Wire

struct DomainTests {
    @Test(arguments: [
        ("api.example.com", "api.example.com", true), ("API.Example.com.", "api.example.com", true),
        ("api.example.com", "xapi.example.com", false), ("*.example.com", "api.example.com", true),
        ("*.example.com", "a.b.example.com", true), ("*.example.com", "example.com", false),
        ("*.example.com", "badexample.com", false), ("*", "anything", true),
        ("_a.example", "_a.example", true),
        // A dot within a label (RFC 1035 section 5.1), and a backslash at the end of one.
        ("*.example.com", "x\\.example.com", false), ("*.example.com", "x\\\\.example.com", true),
        ("*.example.com", "x\\.y.example.com", true), ("*", "x\\.example.com", true),
    ])
    func `a domain is a name or all names below it`(pattern: String, name: String, matches: Bool) throws {
        #expect(try DomainPattern(pattern).matches(name) == matches)
    }

    @Test(arguments: [
        "", ".", "a..b", "-a.b", "a.*.b", "*a.b", "10.0.0.1", "a b", "ä.example",
        String(repeating: "a", count: 64),
    ])
    func `what is no name is refused`(text: String) {
        #expect(throws: ParseError.self) { try DomainPattern(text) }
    }

    @Test func `a policy names domains beside other peers, and is written as it is read`() throws {
        let text = """
            policy: out
            endpoints: all
            egress:
              - {to: [{cidr: 192.0.2.0/24}], toFQDNs: [api.example.com, "*.pypi.example"], ports: [443/tcp]}
              - {toFQDNs: [a.example]}
            """
        let policy = try #require(try PolicyDocument.parse(text, file: "f").first)
        #expect(
            policy.egress.map(\.domains) == [
                [try DomainPattern("api.example.com"), try DomainPattern("*.pypi.example")],
                [try DomainPattern("a.example")],
            ])
        #expect(policy.egress[0].peers?.count == 3)
        #expect(policy.egress[1].peers?.count == 1)
        #expect(try PolicyDocument.parse(policy.yaml, file: "f") == [policy])
        try policy.validate()
    }

    @Test(arguments: [
        "ingress:\n  - {toFQDNs: [a.example]}", "egressDeny:\n  - {toFQDNs: [a.example]}",
        "egress:\n  - {toFQDNs: []}", "egress:\n  - {toFQDNs: [10.0.0.1]}",
    ])
    func `domains elsewhere than in rules that allow egress are refused`(rules: String) {
        #expect(throws: PolicyDocumentError.self) {
            try PolicyDocument.parse("policy: p\nendpoints: all\n\(rules)", file: "f")
        }
    }

    @Test func `a rule that verifies hosts is written as it is read, and recorded`() throws {
        let text = """
            policy: out
            endpoints: all
            egress:
              - {toFQDNs: [api.example.com], ports: [443/tcp, 8000-8999/tcp], verifyHost: true}
              - {toFQDNs: [a.example], verifyHost: false}
            """
        let policy = try #require(try PolicyDocument.parse(text, file: "f").first)
        #expect(policy.egress.map(\.verifyHost) == [true, false])
        #expect(try PolicyDocument.parse(policy.yaml, file: "f") == [policy])
        let record = try JSONEncoder().encode(policy)
        #expect(try JSONDecoder().decode(FirewallPolicy.self, from: record) == policy)
        #expect(try JSONDecoder().decode(FirewallPolicy.self, from: Data(try policy.record.utf8)) == policy)
    }

    @Test(arguments: [
        ("{ports: [443/tcp], verifyHost: true}", "egress[0].verifyHost"),
        ("{toFQDNs: [a.example], verifyHost: true}", "egress[0].verifyHost"),
        (
            "{toFQDNs: [a.example], to: [{cidr: 192.0.2.0/24}], ports: [443/tcp], verifyHost: true}",
            "egress[0].verifyHost"
        ),
        (
            "{toFQDNs: [a.example], ports: [443/tcp], limit: {packets: 5}, verifyHost: true}",
            "egress[0].verifyHost"
        ),
        ("{toFQDNs: [a.example], ports: [443/udp], verifyHost: true}", "egress[0].ports[0]"),
        ("{toFQDNs: [a.example], ports: [443/tcp], verifyHost: yes}", "egress[0].verifyHost"),
    ])
    func `a host is verified of TCP to domains alone`(rule: String, field: String) throws {
        let error = #expect(throws: PolicyDocumentError.self) {
            try PolicyDocument.parse("policy: p\nendpoints: all\negress:\n  - \(rule)", file: "f")
        }
        #expect(try #require(error).description.contains(field))
    }

    @Test func `a domain allows the addresses that the endpoint was told for it, and no others`() throws {
        let network = try makeNetwork("lab")
        let member = try makeMember("web", 2, in: network)
        let policy = FirewallPolicy(
            name: "out", selector: EndpointSelector(),
            egress: [
                PolicyRule(
                    peers: [.domain(try DomainPattern("*.example.com"))], ports: [PortMatch(.tcp, 443...443)])
            ])
        let address = try IPAddress("192.0.2.1")
        func allows(_ names: Set<String>, _ port: UInt16) throws -> Bool {
            let flow = Flow(
                from: try FlowSide(member), to: FlowSide(address, names: names), .tcp(port))
            return PolicyEvaluator.evaluate(policies: [policy], flow: flow).isAllowed
        }
        #expect(try allows(["api.example.com"], 443))
        #expect(try allows(["other.example", "api.example.com"], 443))
        #expect(try !allows(["api.example.com"], 80))
        #expect(try !allows(["example.com"], 443))
        #expect(try !allows([], 443))
    }
}
