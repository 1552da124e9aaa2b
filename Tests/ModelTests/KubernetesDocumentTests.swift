import Model
import Testing

/// Documents of Kubernetes' dialects that are not what they should be: every problem is told with its line,
/// and nothing of the file is read.
@Suite struct `Kubernetes policy documents` {
    static let networkPolicy = """
        apiVersion: networking.k8s.io/v1
        kind: NetworkPolicy
        metadata: {name: a, namespace: shop}
        spec:

        """
    static let clusterNetworkPolicy = """
        apiVersion: policy.networking.k8s.io/v1alpha2
        kind: ClusterNetworkPolicy
        metadata: {name: a}
        spec:

        """
    static let header = """
          tier: Admin
          priority: 1
          subject: {namespaces: {}}

        """

    private func errors(_ text: String) -> [String] {
        do {
            _ = try PolicyDocument.parse(text, file: "p")
            return []
        } catch { return error.description.split(separator: "\n").map(String.init) }
    }

    @Test(arguments: [
        ("  podSelektor: {}", "p:5: spec.podSelektor: unknown key"),
        ("  podSelector: {matchFields: {}}", "p:5: spec.podSelector.matchFields: unknown key"),
        ("  policyTypes: [Ingres]", "p:5: spec.policyTypes[0] \"Ingres\": must be Ingress, Egress"),
        ("  ingress: [{to: []}]", "p:5: spec.ingress[0].to: unknown key"),
        ("  ingress: {}", "p:5: spec.ingress: must be a list"),
        ("  ingress:\n  - from:\n    - {}", "p:7: spec.ingress[0].from[0] \"{}\": must have a podSelector"),
        (
            "  ingress:\n  - from:\n    - podSelector: {}\n      serviceAccountSelector: {}",
            "p:8: spec.ingress[0].from[0].serviceAccountSelector: unknown key"
        ),
        (
            "  ingress:\n  - from:\n    - ipBlock: {cidr: 10.0.0.0/8}\n      podSelector: {}",
            "p:7: spec.ingress[0].from[0].ipBlock: cannot stand beside a selector"
        ),
        (
            "  egress:\n  - to:\n    - ipBlock: {cidr: 10.0.0.0/33}",
            "p:7: spec.egress[0].to[0].ipBlock.cidr \"10.0.0.0/33\""
        ),
        (
            "  egress:\n  - to:\n    - ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}",
            "p:7: spec.egress[0].to[0].ipBlock.except[0] \"11.0.0.0/16\": must lie inside 10.0.0.0/8"
        ),
        ("  ingress: [{ports: [{port: 0}]}]", "p:5: spec.ingress[0].ports[0].port \"0\": must be 1 to 65535"),
        ("  ingress: [{ports: [{port: 65536}]}]", "\"65536\": must be 1 to 65535"),
        ("  ingress: [{ports: [{port: -1}]}]", "\"-1\": must be 1 to 65535"),
        ("  ingress: [{ports: [{port: 80.5}]}]", "spec.ingress[0].ports[0].port \"80.5\""),
        ("  ingress: [{ports: [{port: \"80\"}]}]", "spec.ingress[0].ports[0].port \"80\": must be 1 to 15"),
        ("  ingress: [{ports: [{protocol: tcp}]}]", "ports[0].protocol \"tcp\": must be TCP, UDP, SCTP"),
        ("  ingress: [{ports: [{endPort: 80}]}]", "ports[0].endPort \"80\": needs a port that it ends"),
        ("  ingress: [{ports: [{port: 80, endPort: 79}]}]", "ports[0].endPort \"79\": the range ends before"),
        (
            "  ingress: [{ports: [{port: web, endPort: 79}]}]",
            "endPort \"79\": cannot follow a port that is a name"
        ),
        (
            "  podSelector: {matchExpressions: [{key: a, operator: Like, values: [b]}]}",
            "p:5: spec.podSelector.matchExpressions[0].operator \"Like\": must be In, NotIn, Exists, DoesNotExist"
        ),
        (
            "  podSelector: {matchExpressions: [{key: a, operator: In}]}",
            "p:5: spec.podSelector.matchExpressions[0]"
        ),
        (
            "  podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}",
            "p:5: spec.podSelector.matchExpressions[0]"
        ),
        ("  podSelector: {matchLabels: {a: 1}}", "p:5: spec.podSelector.matchLabels.a \"1\": must be text"),
        ("  podSelector: {matchLabels: {a: \"b c\"}}", "p:5: spec.podSelector.matchLabels"),
    ]) func `of NetworkPolicy name what is wrong`(_ spec: String, _ expected: String) {
        let found = errors(Self.networkPolicy + spec)
        #expect(found.count == 1, "\(found)")
        #expect(found.first?.contains(expected) ?? false, "\(found)")
    }

    @Test(arguments: [
        ("", "p:1: spec: is missing"),
        ("  priority: 1", "p:5: spec.tier: is missing"),
        ("  tier: Platform\n  priority: 1\n  subject: {namespaces: {}}", "p:5: spec.tier \"Platform\""),
        ("  tier: Admin\n  subject: {namespaces: {}}", "p:5: spec.priority: is missing"),
        (
            "  tier: Admin\n  priority: 1001\n  subject: {namespaces: {}}",
            "p:6: spec.priority \"1001\": must be 0 to 1000"
        ),
        ("  tier: Admin\n  priority: -1\n  subject: {namespaces: {}}", "p:6: spec.priority \"-1\""),
        ("  tier: Admin\n  priority: 1e2\n  subject: {namespaces: {}}", "p:6: spec.priority \"1e2\""),
        (
            "  tier: Admin\n  priority: 99999999999999999999\n  subject: {namespaces: {}}",
            "p:6: spec.priority \"99999999999999999999\""
        ),
        (
            "  tier: Admin\n  priority: 1\n  subject: {}",
            "p:7: spec.subject: must have one of namespaces and pods"
        ),
        (
            "  tier: Admin\n  priority: 1\n  subject: {nodes: {}}",
            "p:7: spec.subject.nodes: unknown key"
        ),
    ]) func `of ClusterNetworkPolicy need tier, priority and subject`(_ spec: String, _ expected: String) {
        let found = errors(Self.clusterNetworkPolicy + spec)
        #expect(found.contains { $0.contains(expected) }, "\(found)")
    }

    @Test(arguments: [
        (
            "  egress: [{action: Accept, to: [{nodes: {}}]}]",
            "spec.egress[0].to[0].nodes: peers of this kind are not"
        ),
        (
            "  egress: [{action: Accept, to: [{domainNames: [a.example]}]}]",
            "spec.egress[0].to[0].domainNames: peers of this kind are not supported"
        ),
        (
            "  ingress: [{action: Accept, from: [{networks: [10.0.0.0/8]}]}]",
            "spec.ingress[0].from[0].networks: unknown key"
        ),
        (
            "  ingress: [{action: Allow, from: [{namespaces: {}}]}]",
            "spec.ingress[0].action \"Allow\": must be Accept"
        ),
        ("  ingress: [{from: [{namespaces: {}}]}]", "spec.ingress[0].action: is missing"),
        ("  ingress: [{action: Deny}]", "spec.ingress[0].from: is missing"),
        ("  ingress: [{action: Deny, from: []}]", "spec.ingress[0].from \"[]\": names no peer"),
        (
            "  ingress: [{action: Deny, from: [{namespaces: {}, pods: {}}]}]",
            "spec.ingress[0].from[0]: must have one of namespaces, pods"
        ),
        (
            "  ingress: [{action: Deny, from: [{pods: {podSelector: {}}}]}]",
            "spec.ingress[0].from[0].pods.namespaceSelector: is missing"
        ),
        (
            "  ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{icmp: {}}]}]",
            "spec.ingress[0].protocols[0].icmp: unknown key"
        ),
        (
            "  ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{tcp: {sourcePort: {number: 1}}}]}]",
            "spec.ingress[0].protocols[0].tcp.sourcePort: unknown key"
        ),
        (
            "  ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {range: "
                + "{start: 9, end: 8}}}}]}]",
            "protocols[0].tcp.destinationPort.range.end \"8\": the range ends before it begins (at 9)"
        ),
        (
            "  ingress:\n"
                + String(repeating: "  - {action: Deny, from: [{namespaces: {}}]}\n", count: 26),
            "p:9: spec.ingress \"26\": at most 25 rules in a direction"
        ),
    ]) func `of ClusterNetworkPolicy name what is wrong in a rule`(_ spec: String, _ expected: String) {
        let found = errors(Self.clusterNetworkPolicy + Self.header + spec)
        #expect(found.first?.contains(expected) ?? false, "\(found)")
        #expect(found.first?.hasPrefix("p:8: ") ?? false || expected.hasPrefix("p:9"), "\(found)")
    }

    @Test(arguments: [
        ("kind: NetworkPolicy", "p:1: apiVersion: is missing"),
        (
            "apiVersion: networking.k8s.io/v2\nkind: NetworkPolicy",
            "p:1: apiVersion \"networking.k8s.io/v2\": must be"
        ),
        (
            "apiVersion: v1\nkind: Pod",
            "p:2: kind \"Pod\": must be NetworkPolicy, ClusterNetworkPolicy or List"
        ),
        ("apiVersion: v1", "p:1: kind: is missing"),
        (
            "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: List}]",
            "p:3: items[0].kind \"List\": a list"
        ),
        ("apiVersion: v1\nkind: List\nitems: [3]", "p:3: items[0] \"3\": must be a mapping"),
        (
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: A}\nspec: {}",
            "p:3: metadata.name \"A\""
        ),
        (
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: A_b}\nspec: {}",
            "p:3: metadata.namespace \"A_b\""
        ),
        (
            "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\n"
                + "metadata: {name: a, namespace: b}\nspec: {tier: Admin, priority: 1, subject: {namespaces: {}}}",
            "p:3: metadata.namespace \"b\": a ClusterNetworkPolicy has none"
        ),
    ]) func `are of a kind and version that are known`(_ text: String, _ expected: String) {
        #expect(errors(text).contains { $0.hasPrefix(expected) }, "\(errors(text))")
    }

    @Test func `report every problem of every document and item, and nothing of the file is read`() {
        let good = "policy: good\nendpoints: all\n"
        let text =
            good + "---\n" + Self.networkPolicy
            + "  podSelector: {}\n  x: 1\n  y: 2\n---\n: : not yaml [\n---\n"
            + Self.clusterNetworkPolicy
            + "  tier: Admin\n  priority: 5000\n  subject: {namespaces: {}}\n---\n"
            + "apiVersion: v1\nkind: List\nitems:\n- {kind: NetworkPolicy}\n- {kind: Service}\n"
        let lines = errors(text).compactMap { $0.split(separator: ":").dropFirst().first.map(String.init) }
        #expect(Set(lines) == ["9", "10", "12", "19", "25", "26"], "\(errors(text))")
        #expect(lines == lines.sorted { Int($0) ?? 0 < Int($1) ?? 0 }, "in the order of the file")
    }

    @Test func `of hostile size are refused at once`() {
        let clock = ContinuousClock()
        let ports = (1...1_000_000).lazy.map { "{port: \($0 % 65535 + 1)}" }.joined(separator: ",")
        let deep = String(repeating: "[", count: 500_000)
        let nested = (0..<50_000).lazy.map { String(repeating: " ", count: $0 % 500) + "a:" }.joined(
            separator: "\n")
        var aliases = "a: &a [x,x,x,x,x,x,x,x,x]\n"
        for (one, two) in zip("bcdefghij", "abcdefghi") {
            aliases += "\(one): &\(one) [\((0..<9).map { _ in "*\(two)" }.joined(separator: ","))]\n"
        }
        for (name, text) in [
            ("ports", Self.networkPolicy + "  ingress: [{ports: [\(ports)]}]"),
            ("depth", Self.networkPolicy + "  ingress: \(deep)"),
            ("nesting", Self.networkPolicy + nested),
            ("aliases", aliases + Self.networkPolicy),
            ("text", String(repeating: "x", count: 100 << 20)),
        ] {
            var found: [String] = []
            let time = clock.measure { found = errors(text) }
            #expect(!found.isEmpty, "\(name)")
            #expect(time < .seconds(5), "\(name): \(time)")
            #expect(found.allSatisfy { $0.utf8.count < 500 }, "\(name)")
        }
    }
}
