import Model
import Testing
import Wire

@Suite struct `Limits` {
    private func errors(_ text: String) -> [String] {
        do throws(PolicyDocumentError) {
            _ = try PolicyDocument.parse(text, file: "f.yaml")
            return []
        } catch {
            return error.description.split(separator: "\n").map(String.init)
        }
    }

    @Test func `are read from a policy file and written as they were read`() throws {
        let text = """
            policy: web
            endpoints: {labels: {app: web}}
            directions: [ingress]
            limits:
              ingress: {connections: 100, packets: 5000, bandwidth: 20mbit}
              egress: {bandwidth: 1500kbit}
            ingress:
              - ports: [80/tcp]
                limit: {connections: 10, bandwidth: 1gbit}
              - ports: [53/udp]
            """
        let policy = FirewallPolicy(
            name: "web", selector: EndpointSelector(matchLabels: ["app": "web"]), directions: [.ingress],
            limits: EndpointLimits(
                ingress: TrafficLimit(
                    connections: 100, packets: 5000, bandwidth: Bandwidth(kilobits: 20_000)),
                egress: TrafficLimit(bandwidth: Bandwidth(kilobits: 1500))),
            ingress: [
                PolicyRule(
                    ports: [PortMatch(.tcp, 80...80)],
                    limit: TrafficLimit(connections: 10, bandwidth: Bandwidth(kilobits: 1_000_000))),
                PolicyRule(ports: [PortMatch(.udp, 53...53)]),
            ])
        #expect(try PolicyDocument.parse(text) == [policy])
        #expect(try PolicyDocument.parse(policy.yaml) == [policy])
        #expect(try PolicyDocument.parse(policy.json) == [policy])
        #expect(policy.yaml.contains("bandwidth: 20mbit}"))
    }

    @Test func `have a short form for new connections`() throws {
        let short = try PolicyDocument.parse("policy: p\nendpoints: all\nrateLimit: 5\n")
        let long = try PolicyDocument.parse(
            "policy: p\nendpoints: all\nlimits: {ingress: {connections: 5}}\n")
        #expect(short == long)
        #expect(short[0].yaml.contains("rateLimit: 5\n"))
    }

    @Test func `that are wrong are reported with line, field and value`() {
        let text = """
            policy: web
            endpoints: all
            rateLimit: 5
            limits:
              ingress: {connections: 0, packets: many,
                bandwidth: 20mb}
              egress: {}
              both: {packets: 5}
            ingress:
              - limit: {bandwidth: 8kbit}
              - limit: {}
            ingressDeny:
              - from: [all]
                limit: {packets: 5}
            """
        let syntax = [
            "f.yaml:14: ingressDeny[0].limit: unknown key; known are from, ports",
            "f.yaml:11: ingress[1].limit \"{}\": limits nothing: give connections, packets or bandwidth",
            "f.yaml:4: limits: cannot stand beside rateLimit: write limits.ingress.connections",
            "f.yaml:8: limits.both: unknown key; known are ingress, egress",
            "f.yaml:5: limits.ingress.connections \"0\": must be 1 to 1000000 new connections a second",
            "f.yaml:5: limits.ingress.packets \"many\": must be a whole number",
            "f.yaml:6: limits.ingress.bandwidth \"20mb\": expected bits a second, a whole number such as 500kbit, 20mbit or 1gbit",
            "f.yaml:7: limits.egress \"{}\": limits nothing: give connections, packets or bandwidth",
        ]
        let found = errors(text)
        for problem in syntax { #expect(found.contains(problem), "\(problem) in \(found)") }
        #expect(found.count == syntax.count)
        let bounds = """
            policy: web
            endpoints: all
            limits:
              egress:
                packets: 10000001
            egress:
              - limit: {bandwidth: 8kbit}
            """
        #expect(
            errors(bounds) == [
                "f.yaml:5: limits.egress.packets \"10000001\": must be 1 to 10000000 packets a second",
                "f.yaml:7: egress[0].limit.bandwidth \"8kbit\": must be 16kbit to 100gbit",
            ])
    }

    @Test(arguments: [
        "", "5", "0mbit", "01mbit", "-1mbit", "1.5mbit", "20mbps", "9223372036854775807gbit", "mbit",
    ])
    func `do not take just anything for a bandwidth`(text: String) {
        #expect(throws: ParseError.self) { try Bandwidth(text) }
    }

    @Test func `together come to the strictest of each kind`() {
        let one = TrafficLimit(connections: 5, bandwidth: Bandwidth(kilobits: 100))
        let other = TrafficLimit(connections: 7, packets: 3, bandwidth: Bandwidth(kilobits: 50))
        #expect(
            one.and(other) == TrafficLimit(connections: 5, packets: 3, bandwidth: Bandwidth(kilobits: 50)))
    }
}
