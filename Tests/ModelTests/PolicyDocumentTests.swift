import Model
import Testing
import Wire

@Suite struct `Policy files` {
    private func errors(_ text: String) -> [String] {
        do throws(PolicyDocumentError) {
            _ = try PolicyDocument.parse(text, file: "f.yaml")
            return []
        } catch {
            return error.description.split(separator: "\n").map(String.init)
        }
    }

    @Test func `are read whole`() throws {
        let text = """
            # The shop's front door.
            policy: web-from-front
            endpoints: {labels: {app: web, version: 1}, network: shop, names: [web1]}
            directions: [ingress]
            allowPorts: [80/tcp, 8000-8100/udp, icmp, 443]
            trustedPeers:
              - {labels: {app: front}}
              - names: [front1]
              - network: shop
              - {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}
              - all
            rateLimit: 100
            ingress:
              - from: [{labels: {app: "yes"}}]
                ports: [tcp]
              - ports: [udp]
            ingressDeny:
              - from: [{cidr: "fd00::/8"}]
            ---
            policy: nothing
            endpoints: all
            """
        let policies = try PolicyDocument.parse(text)
        let web = FirewallPolicy(
            name: "web-from-front",
            selector: EndpointSelector(
                matchLabels: ["app": "web", "version": "1"], endpoints: ["web1"], network: "shop"),
            directions: [.ingress],
            allowPorts: [
                PortMatch(.tcp, 80...80), PortMatch(.udp, 8000...8100), PortMatch(.icmp),
                PortMatch(.tcp, 443...443),
            ],
            trustedPeers: [
                .endpoints(EndpointSelector(matchLabels: ["app": "front"])),
                .endpoints(EndpointSelector(endpoints: ["front1"])),
                .endpoints(EndpointSelector(network: "shop")),
                .cidr(try CIDR("10.0.0.0/8"), except: [try CIDR("10.1.0.0/16")]),
                .endpoints(EndpointSelector()),
            ],
            rateLimit: 100,
            ingress: [
                PolicyRule(
                    peers: [.endpoints(EndpointSelector(matchLabels: ["app": "yes"]))],
                    ports: [PortMatch(.tcp)]),
                PolicyRule(ports: [PortMatch(.udp)]),
            ],
            ingressDeny: [PolicyRule(peers: [.cidr(try CIDR("fd00::/8"), except: [])])])
        #expect(policies == [web, FirewallPolicy(name: "nothing", selector: EndpointSelector())])
    }

    @Test func `report every problem with its line, field and value`() {
        let text = """
            policy: Web
            endpoints: {labels: {app: web}, network: Shop_1}
            allowPort: [80/tcp]
            allowPorts: [0/tcp, 70000, 90-80/tcp, 80/gre, icmp/8]
            trustedPeers: [{}, {cidr: 10.0.0.1/8}, {labels: {}}, {except: []}, {cidr: 10.0.0.0/8, network: x}, some]
            rateLimit: many
            ingress:
              - from: [{cidr: 10.0.0.0/8, except: [11.0.0.0/8]}]
                to: []
              - port: 80
            """
        #expect(
            errors(text) == [
                "f.yaml:3: allowPort: unknown key; known are policy, endpoints, directions, allowPorts, trustedPeers, rateLimit, limits, mode, ingress, egress, ingressDeny, egressDeny",
                "f.yaml:9: ingress[0].to: unknown key; known are from, ports, limit",
                "f.yaml:10: ingress[1].port: unknown key; known are from, ports, limit",
                "f.yaml:4: allowPorts[0] \"0/tcp\": expected ports from 1 to 65535 such as 80/tcp or 8000-8100/udp",
                "f.yaml:4: allowPorts[1] \"70000\": expected ports from 1 to 65535 such as 80/tcp or 8000-8100/udp",
                "f.yaml:4: allowPorts[2] \"90-80/tcp\": the range ends before it begins",
                "f.yaml:4: allowPorts[3] \"80/gre\": the protocol must be tcp, udp, sctp or icmp",
                "f.yaml:4: allowPorts[4] \"icmp/8\": the protocol must be tcp, udp, sctp or icmp",
                "f.yaml:5: trustedPeers[0] \"{}\": names nothing: write all to mean every endpoint",
                "f.yaml:5: trustedPeers[1].cidr \"10.0.0.1/8\": host bits are set; the network is 10.0.0.0/8",
                "f.yaml:5: trustedPeers[2].labels \"{}\": names nothing",
                "f.yaml:5: trustedPeers[3].except: belongs to a cidr",
                "f.yaml:5: trustedPeers[4].network: cannot stand beside a cidr: make it a peer of its own",
                "f.yaml:5: trustedPeers[5] \"some\": must be all, or a mapping of labels, names and network",
                "f.yaml:6: rateLimit \"many\": must be a whole number",
            ])
    }

    @Test func `give what validation finds its line`() {
        let text = """
            policy: Web
            endpoints: {network: Shop_1}
            rateLimit: 0
            directions: [egress]
            ingressDeny:
              - from: [{cidr: 10.0.0.0/8, except: [
                  11.0.0.0/8]}]
                ports: []
              - from: []
            """
        let found = errors(text)
        #expect(found.count == 7, "\(found)")
        #expect(found.contains { $0.hasPrefix("f.yaml:1: policy \"Web\": must be a DNS label") })
        #expect(
            found.contains { $0.hasPrefix("f.yaml:2: endpoints.network \"Shop_1\": must be a DNS label") })
        #expect(found.contains("f.yaml:3: rateLimit \"0\": must be 1 to 1000000 new connections a second"))
        #expect(
            found.contains(
                "f.yaml:5: ingressDeny \"egress\": has no effect: ingress is not among the policy's directions"
            ))
        #expect(
            found.contains(
                "f.yaml:7: ingressDeny[0].from[0].except[0] \"11.0.0.0/8\": must lie inside 10.0.0.0/8"))
        #expect(
            found.contains(
                "f.yaml:8: ingressDeny[0].ports \"[]\": names no port; leave it out to mean all ports"))
        #expect(
            found.contains("f.yaml:9: ingressDeny[1].from \"[]\": denies nobody; leave it out to mean anyone")
        )
    }

    @Test func `must say which endpoints they are for`() {
        #expect(
            errors("policy: x") == ["f.yaml:1: endpoints: is missing: say which endpoints, or endpoints: all"]
        )
        #expect(
            errors("policy: x\nendpoints: {}") == [
                "f.yaml:2: endpoints \"{}\": names nothing: write all to mean every endpoint"
            ])
        #expect(errors("policy: x\nendpoints:\n").first?.hasPrefix("f.yaml:2: endpoints") == true)
        #expect(
            errors("policy: x\nendpoints: {names: []}") == [
                "f.yaml:2: endpoints.names \"[]\": names no endpoint"
            ])
        #expect(errors("endpoints: all") == ["f.yaml:1: policy: is missing: every policy has a name"])
    }

    @Test func `report the problems of every document, also after one that is not YAML`() {
        let text = """
            policy: a
            endpoints: [
            --- # the second
            policy: b
            endpoints: all
            egress: 1
            ---
            policy: c
            policy: c
            endpoints: all
            ---
            ---
            - policy: d
            """
        let found = errors(text)
        #expect(found.count == 4, "\(found)")
        #expect(found[0].hasPrefix("f.yaml:3: not YAML: ") || found[0].hasPrefix("f.yaml:2: not YAML: "))
        #expect(found[1] == "f.yaml:6: egress \"1\": must be a list")
        #expect(found[2] == "f.yaml:9: policy: the key is given more than once")
        #expect(found[3] == "f.yaml:13: must be a mapping (key: value)")
    }

    @Test func `name each policy once`() {
        let found = errors("policy: a\nendpoints: all\n---\npolicy: a\nendpoints: all")
        #expect(found == ["f.yaml:4: policy \"a\": is in line 1 already"])
    }

    @Test(arguments: ["", "\n\n", "# nothing\n", "---\n---\n", "---", "null", "~", "\u{feff}", "\"\""])
    func `hold at least one policy`(_ text: String) { #expect(errors(text).count == 1) }

    @Test func `refuse duplicate keys, whichever way they are written`() {
        #expect(errors("policy: a\n\"policy\": b\nendpoints: all").count == 1)
        #expect(errors("policy: a\nendpoints: {labels: {1: a, \"1\": b}}").count == 1)
    }

    @Test func `refuse empty values and tags`() {
        #expect(
            errors("policy: a\nendpoints: {labels: {app: }}") == [
                "f.yaml:2: endpoints.labels.app: has no value (write \"\" for empty text)"
            ])
        #expect(errors("policy: a\nendpoints: {labels: {app: \"\"}}").isEmpty)
        #expect(errors("policy: !!int 1\nendpoints: all").count == 1)
        #expect(errors("policy: !!str a\nendpoints: all").isEmpty)
        #expect(errors("policy: a\nendpoints: !evil {}").count == 1)
        #expect(errors("policy: {}\nendpoints: all").count >= 1)
        #expect(errors("? [a, b]\n: c\n").count >= 1)
        #expect(errors("%YAML 1.2\n---\npolicy: a\nendpoints: all").count == 1)
    }

    @Test func `refuse anchors, so that aliases cannot stand for billions`() {
        var bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n"
        for letter in "bcdefghijklmnop" {
            let previous = Character(Unicode.Scalar(letter.asciiValue.map { $0 - 1 } ?? 97))
            bomb +=
                "\(letter): &\(letter) [" + Array(repeating: "*\(previous)", count: 9).joined(separator: ",")
                + "]\n"
        }
        #expect(
            errors(bomb + "? *p\n: x\n") == ["f.yaml:1: YAML anchors and aliases (&, *) are not accepted"])
        #expect(errors("# c\u{2028}x: &a [1]\npolicy: x\nendpoints: all").first?.contains("anchors") == true)
        #expect(errors("# c\rx: &a [1]\npolicy: x\nendpoints: all").first?.contains("anchors") == true)
        #expect(errors("policy: *a\nendpoints: all").count == 1)
        // An ampersand that anchors nothing.
        #expect(errors("# R&D, front & &back\npolicy: x # a & b\nendpoints: all").isEmpty)
    }

    @Test func `refuse hostile sizes before they cost anything`() {
        let clock = ContinuousClock()
        let took = clock.measure {
            #expect(errors(String(repeating: "x", count: 5 << 20)).count == 1)
            #expect(errors("policy: [" + String(repeating: "a,", count: 300_000) + "]").count == 1)
            #expect(errors(String(repeating: "[", count: 150_000)).count == 1)
            #expect(errors(String(repeating: "- ", count: 150_000)).count == 1)
            #expect(errors(String(repeating: "{a: ", count: 50_000)).count == 1)
            #expect(
                errors("a: " + String(repeating: "[", count: 900) + String(repeating: "]", count: 900)).count
                    >= 1)
            #expect(errors(String(repeating: "---\nx: 1\n", count: 100_000)).count == PolicyLimits.problems)
            #expect(
                errors(
                    "policy: p\nendpoints: all\nallowPorts: [" + String(repeating: "1/tcp,", count: 10_001)
                        + "]"
                ).count == 1)
            #expect(
                errors("policy: \"" + String(repeating: "y", count: 500_000) + "\"\nendpoints: all").joined()
                    .count < 400)
        }
        #expect(took < .seconds(20))
    }

    @Test func `read back as they were written, for random policies`() throws {
        for seed in 0..<300 as Range<UInt64> {
            var world = try World(seed: seed)
            let policies = try world.policies(1...4).filter { $0.problems().isEmpty }
            guard !policies.isEmpty else { continue }
            #expect(try PolicyDocument.parse(policies.map(\.yaml).joined(separator: "---\n")) == policies)
            #expect(try PolicyDocument.parse(policies.map(\.json).joined(separator: "\n---\n")) == policies)
        }
    }

    @Test func `are written the way a person would`() throws {
        let policy = FirewallPolicy(
            name: "web", selector: EndpointSelector(matchLabels: ["app": "web", "version": "1", "on": ""]),
            allowPorts: [PortMatch(.tcp, 80...80)],
            ingress: [PolicyRule(peers: [.cidr(try CIDR("fd00::/8"), except: [])], ports: [PortMatch(.icmp)])]
        )
        #expect(
            policy.yaml == """
                policy: web
                endpoints: {labels: {app: web, "on": "", version: "1"}}
                allowPorts: [80/tcp]
                ingress:
                  - {from: [{cidr: "fd00::/8"}], ports: [icmp]}

                """)
    }

    @Test func `random text never crashes the reader`() {
        var random = Seeded(7)
        let pieces = [
            "policy", "endpoints", ": ", "all", "\n", "  ", "- ", "{", "}", "[", "]", ",", "'", "\"", "|\n",
            ">\n", "&a", "*a", "!t", "!!str ", "#",
            "---\n", "...\n", "%", "?", "\\ud800", "\\x00", "\u{0}", "\t", "80/tcp", "ingress", "é", "\u{85}",
            "\u{feff}", "from", "cidr", "10.0.0.0/8",
        ]
        for _ in 0..<20_000 {
            let text = random.some(0...25) { $0.pick(pieces) }.joined()
            if let policies = try? PolicyDocument.parse(text) { #expect(!policies.isEmpty) }
        }
    }
}
