import Model
import Testing
import Wire

@Suite struct `Validation` {
    @Test(arguments: ["a", "web-1", "0", String(repeating: "a", count: 63)])
    func `accepts DNS labels as names`(_ name: String) throws { try Name.check(name, field: "name") }

    @Test(arguments: [
        "", "-a", "a-", "A", "a_b", "a.b", "é", String(repeating: "a", count: 64), "a\n", "a b",
    ])
    func `refuses other names and says which field`(_ name: String) {
        let error = #expect(throws: ModelError.self) { try Name.check(name, field: "network") }
        #expect(error?.description.hasPrefix("network \"\(name)\": must be a DNS label") == true)
    }

    @Test func `takes labels as Kubernetes does`() throws {
        try LabelSyntax.check(["app": "web", "a.b/c_D.e-1": "V1.2_x-y", "empty": ""], field: "labels")
        #expect(try LabelSyntax.parse("a=b") == ("a", "b"))
        for bad in [
            "", "=x", "a", "-a=1", "a/=1", "/a=1", "A B=1", "a=b c", "a=-", "a=b=c", "a/b/c=1", "X/a=1",
            "a=" + String(repeating: "x", count: 64),
        ] {
            #expect(throws: ModelError.self) { try LabelSyntax.parse(bad) }
        }
        let many = Dictionary(uniqueKeysWithValues: (0...64).map { ("k\($0)", "v") })
        #expect(throws: ModelError.self) { try LabelSyntax.check(many, field: "labels") }
    }

    @Test(arguments: ["80/tcp", "8000-8100/udp", "icmp", "tcp", "udp", "1-65535/tcp", "65535/udp"])
    func `reads and prints ports`(_ text: String) throws { #expect(try PortRange(text).description == text) }

    @Test(arguments: [
        "", "/", "tcp/80", "0", "65536", "80/", "/tcp", "80-/tcp", "-80/tcp", "1-2-3/tcp", "+80", "080",
        "80/TCP", "80/tcp/udp", "８０", "icmp/1", "1/icmp",
    ])
    func `refuses other ports`(_ text: String) { #expect(throws: ParseError.self) { try PortRange(text) } }

    @Test func `reads what a flow is`() throws {
        for text in ["80/tcp", "53/udp", "icmp", "proto-47"] {
            #expect(try FlowTransport(text).description == text)
        }
        #expect(try FlowTransport("443") == .tcp(443))
        #expect(FlowTransport(number: 58, port: 0) == .icmp)
        #expect(FlowTransport(number: 17, port: 53) == .udp(53))
        for text in ["tcp", "1-2/tcp", "proto-256", "proto-", "x"] {
            #expect(throws: ParseError.self) { try FlowTransport(text) }
        }
    }

    @Test(arguments: ["192.0.2.53", "192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]:5353"])
    func `reads and prints resolvers`(_ text: String) throws {
        #expect(try DNSUpstream(text).description == text)
    }

    @Test(arguments: [
        "", "192.0.2.53:", "192.0.2.53:0", "192.0.2.53:+5", "192.0.2.53:65536", "[192.0.2.53]:53",
        "[2001:db8::53",
        "[2001:db8::53]53", "dns.example", ":53",
    ])
    func `refuses other resolvers`(_ text: String) {
        #expect(throws: ParseError.self) { try DNSUpstream(text) }
    }

    @Test func `refuses resolvers that nobody can be`() throws {
        func problem(_ upstreams: [String]) throws -> String? {
            var request = NetworkRequest(name: "n", nat: true)
            request.dns = DNSSettings(upstreams: try upstreams.map { try DNSUpstream($0) })
            do { try request.validate() } catch { return error.description }
            return nil
        }
        #expect(try problem(["192.0.2.53", "192.0.2.53:54", "2001:db8::53"]) == nil)
        for text in ["0.0.0.0", "224.0.0.251", "255.255.255.255", "::", "ff02::fb", "fe80::1"] {
            #expect(
                try problem([text])?.hasPrefix("dns upstream \"\(text)\": is nobody's address") == true)
        }
        #expect(
            try problem(["192.0.2.53", "192.0.2.53:53"]) == "dns upstream \"192.0.2.53\": is given twice")
        #expect(try problem((1...9).map { "192.0.2.\($0)" }) == "dns upstream \"9\": at most 8")
    }

    @Test func `finds what a policy file could not have said`() {
        var policy = FirewallPolicy(name: "p", selector: EndpointSelector())
        #expect(policy.problems().isEmpty)
        policy.allowPorts = [PortMatch(.icmp, 8...8), PortMatch(.tcp, 0...80)]
        #expect(policy.problems().count == 2)
        policy.allowPorts = nil
        policy.directions = []
        #expect(throws: ModelError.self) { try policy.validate() }
        policy.rateLimit = 5
        #expect(policy.problems().isEmpty)
        policy.rateLimit = 1_000_001
        #expect(policy.problems().count == 1)
        policy = FirewallPolicy(
            name: "p", selector: EndpointSelector(), ingress: Array(repeating: PolicyRule(), count: 10_001))
        #expect(policy.problems().map(\.description) == ["rules \"10001\": at most 10000 in one policy"])
    }

    @Test func `takes a container's name from its id`() {
        func derived(_ id: String) -> String {
            EndpointRequest(network: "n", containerID: id, namespace: .pid(1)).derivedName
        }
        #expect(derived("web-1") == "web-1")
        #expect(derived(String(repeating: "0123456789abcdef", count: 4)) == "0123456789ab")
        #expect(derived("Web_1.OLD") == "web-1-old")
        #expect(derived("__") == "endpoint")
        #expect(derived(String(repeating: "a", count: 62) + "__b").utf8.count == 62)
    }

    @Test(arguments: ["", "a234567890123456", ".", "..", "a/b", "a:b", "a b", "eth%d", "lo", "é", "a\u{0}"])
    func `refuses interface names that the kernel would`(_ name: String) {
        let request = EndpointRequest(network: "n", containerID: "c", namespace: .pid(1), interfaceName: name)
        let error = #expect(throws: ModelError.self) { try request.validate() }
        #expect(error?.description.hasPrefix("ifname") == true)
    }

    @Test func `refuses other bad requests by field`() throws {
        func request(_ change: (inout EndpointRequest) throws -> Void) rethrows -> EndpointRequest {
            var request = EndpointRequest(network: "n", containerID: "c", namespace: .pid(1))
            try change(&request)
            return request
        }
        let bad: [(String, EndpointRequest)] = [
            ("container \"\"", request { $0.containerID = "" }),
            ("container \"a b\"", request { $0.containerID = "a b" }),
            ("name \"A\"", request { $0.name = "A" }), ("labels", request { $0.labels = ["": ""] }),
            (
                "mac \"01:00:00:00:00:01\": is a multicast",
                try request { $0.mac = try MACAddress("01:00:00:00:00:01") }
            ),
            ("mac", try request { $0.mac = try MACAddress("0:0:0:0:0:0") }),
            ("alias \"A\": must be a DNS label", request { $0.aliases = ["a", "A"] }),
            ("alias \"a\": is given twice", request { $0.aliases = ["a", "b", "a"] }),
            ("alias \"33\": at most 32", request { $0.aliases = (0...32).map { "a\($0)" } }),
            (
                "ip \"10.0.0.3\": a second IPv4",
                try request { $0.addresses = [try IPAddress("10.0.0.2"), try IPAddress("10.0.0.3")] }
            ),
        ]
        for (prefix, request) in bad {
            let error = #expect(throws: ModelError.self) { try request.validate() }
            #expect(error?.description.hasPrefix(prefix) == true, "\(String(describing: error))")
        }
    }

    @Test func `accepts the same request again and names what differs in another`() throws {
        let member = try makeMember("web", 2, in: makeNetwork("shop"), labels: ["app": "web"])
        var request = EndpointRequest(
            network: "shop", containerID: "container-web", namespace: .pid(1), labels: ["app": "web"])
        try request.check(matches: member.endpoint)
        request.addresses = member.endpoint.addresses
        try request.check(matches: member.endpoint)
        request.addresses = [try IPAddress("10.0.0.9")]
        let error = #expect(throws: ModelError.self) { try request.check(matches: member.endpoint) }
        #expect(
            error?.description == "container \"container-web\" is attached with ip 10.0.0.2, not 10.0.0.9")
        request.addresses = []
        request.aliases = ["www"]
        let other = #expect(throws: ModelError.self) { try request.check(matches: member.endpoint) }
        #expect(
            other?.description == "container \"container-web\" is attached with aliases none, not www")
        request.aliases = []
        request.labels = [:]
        #expect(throws: ModelError.self) { try request.check(matches: member.endpoint) }
    }
}
