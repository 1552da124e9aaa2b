import LabSupport
import Namespaces
import Testing

@Suite(.enabled(if: Lab.isAvailable(), "needs a lab")) struct PolicyTroubleTests {
    static let keys = """
        policy, endpoints, directions, allowPorts, trustedPeers, rateLimit, limits, mode, ingress, egress, ingressDeny, egressDeny
        """
    static let ports = "expected ports from 1 to 65535 such as 80/tcp or 8000-8100/udp"

    /// A file, and what is said of it after its name.
    static let files: [(text: String, message: String)] = [
        ("# nothing\n", "1: the file holds no policy"),
        ("policy: [a\n", "1: not YAML: while parsing a flow sequence: did not find expected ',' or ']'"),
        ("just text\n", "1: \"just text\": must be a mapping (key: value)"),
        ("endpoints: all\n", "1: policy: is missing: every policy has a name"),
        ("policy: a\n", "1: endpoints: is missing: say which endpoints, or endpoints: all"),
        ("policy: a\nendpoints: all\nbogus:\n  - x\n", "3: bogus: unknown key; known are \(keys)"),
        (
            "policy: a\nendpoints: {lables: {app: web}}\n",
            "2: endpoints.lables: unknown key; known are labels, names, network"
        ),
        (
            "policy: a\nendpoints: all\n\ningress:\n- frm: []\n",
            "5: ingress[0].frm: unknown key; known are from, ports, limit"
        ),
        (
            "policy: a\nendpoints: all\npolicy: b\n", "3: policy: the key is given more than once"
        ),
        (
            "policy: a\nendpoints: {}\n",
            "2: endpoints \"{}\": names nothing: write all to mean every endpoint"
        ),
        ("policy: a\nendpoints: {names: []}\n", "2: endpoints.names \"[]\": names no endpoint"),
        (
            "policy: A\nendpoints: all\n",
            "1: policy \"A\": must be a DNS label: 1 to 63 of a-z, 0-9 and '-', not '-' at either end"
        ),
        ("policy: a\nendpoints: all\nallowPorts: [0/tcp]\n", "3: allowPorts[0] \"0/tcp\": \(ports)"),
        ("policy: a\nendpoints: all\nallowPorts: [65536]\n", "3: allowPorts[0] \"65536\": \(ports)"),
        (
            "policy: a\nendpoints: all\nallowPorts: [9-8/udp]\n",
            "3: allowPorts[0] \"9-8/udp\": the range ends before it begins"
        ),
        (
            "policy: a\nendpoints: all\nallowPorts: [80/tpc]\n",
            "3: allowPorts[0] \"80/tpc\": the protocol must be tcp, udp, sctp or icmp"
        ),
        (
            "policy: a\nendpoints: all\ningress: [{from: [{cidr: 10.0.0.1/8}]}]\n",
            "3: ingress[0].from[0].cidr \"10.0.0.1/8\": host bits are set; the network is 10.0.0.0/8"
        ),
        (
            "policy: a\nendpoints: all\nrateLimit: 0\n",
            "3: rateLimit \"0\": must be 1 to 1000000 new connections a second"
        ),
        (
            "policy: a\nendpoints: all\n---\npolicy: a\nendpoints: all\n",
            "4: policy \"a\": is in line 1 already"
        ),
        ("a: &x 1\nb: *x\n", "1: YAML anchors and aliases (&, *) are not accepted"),
    ]

    @Test(arguments: anyOwner)
    func `bad policy files are refused by line, and nothing of them is in force`(
        owner: FabricFixture.Owner
    ) throws {
        let fabric = try FabricFixture(owner)
        try fabric.up()
        for file in Self.files {
            _ = try fabric.write("p.yaml", file.text)
            try fabric.refuse("policy apply -f p.yaml", "p.yaml:\(file.message)")
        }
        // The good ones beside a bad one are not taken either, and every problem is told.
        _ = try fabric.write(
            "p.yaml", "policy: good\nendpoints: all\n---\npolicy: bad\nendpoints: all\nx: 1\ny: 2\n")
        let mixed = try fabric.forge(line: "policy apply -f p.yaml")
        #expect(mixed.status.code == 125)
        #expect(
            mixed.errors.split(separator: "\n").map { $0.prefix(18) } == [
                "forge: p.yaml:6: x", "forge: p.yaml:7: y",
            ])
        for (line, message) in [
            ("policy apply", "Missing expected argument '--file <file>'"),
            ("policy apply -f none.yaml", "none.yaml: No such file or directory"),
            ("policy apply -f .", ".: Is a directory"),
            ("policy apply -f /dev/null", "/dev/null: is empty"),
            ("policy apply -f -", "stdin: is empty"),
            ("policy rm nope", "no such policy: \"nope\""),
        ] {
            try fabric.refuse(line, message)
        }
        // A hundred megabytes are not read to find that they are too many.
        let path = fabric.directory + "/large.yaml"
        let made = try fabric.run(["truncate", "-s", "100M", path])
        #expect(made.status.code == 0)
        let time = try ContinuousClock().measure {
            try fabric.refuse("policy apply -f large.yaml", "large.yaml: is larger than 4194304 bytes")
        }
        #expect(time < .seconds(5))
        #expect(try fabric.succeed("policy ls -q") == "")
    }

    @Test(arguments: anyOwner)
    func `what a policy speaks of and is not there is a warning and no error`(
        owner: FabricFixture.Owner
    ) throws {
        let fabric = try FabricFixture(owner)
        try fabric.up(network: "shop")
        let containers = try Containers(fabric, 1)
        try fabric.succeed(
            "attach --network shop --container c0 --pid \(containers.pids[0]) --name web --label app=web")
        _ = try fabric.write(
            "p.yaml",
            "policy: web-in\nendpoints: {labels: {app: web}}\n"
                + "ingress: [{from: [{labels: {app: fornt}}], ports: [80/tcp]}]\n")
        let result = try fabric.forge(line: "policy apply -f p.yaml")
        #expect(result.status.code == 0)
        #expect(result.output == "web-in created\n")
        #expect(
            result.errors
                == "forge: warning: rule 1 of ingress in policy web-in: its peer: no endpoint matches now\n")
    }

    @Test(arguments: owners)
    func `policies come from files and from standard input, and are explained`(
        owner: FabricFixture.Owner
    ) throws {
        let fabric = try FabricFixture(owner)
        try fabric.up(network: "shop")
        let containers = try Containers(fabric, 2)
        for (index, name) in ["web", "front"].enumerated() {
            try fabric.succeed(
                "attach --network shop --container c\(index) --pid \(containers.pids[index]) --name \(name) "
                    + "--ip 10.77.0.1\(index) --label app=\(name)")
        }
        _ = try fabric.write(
            "p.yaml",
            """
            policy: web-in
            endpoints: {labels: {app: web}}
            ingress:
            - from: [{labels: {app: front}}]
              ports: [80/tcp, icmp]
            ---
            policy: front-out
            endpoints: {names: [front]}
            egress:
            - to: [{labels: {app: web}}]
            egressDeny:
            - ports: [81/tcp]

            """)
        let piped = try fabric.run(["sh", "-c", "forge policy apply -f - < p.yaml"])
        #expect(piped.output == "web-in created\nfront-out created\n", "\(piped.errors)")
        #expect(
            try fabric.succeed("policy apply -f p.yaml") == "web-in unchanged\nfront-out unchanged\n")
        #expect(try fabric.succeed("policy ls -q") == "front-out\nweb-in\n")
        let isolated = "denied: isolation (peer-only, network shop)"
        for (flow, answer) in [
            (
                "front web 80/tcp",
                "allowed: egress by rule 1 of egress in policy front-out, "
                    + "ingress by rule 1 of ingress in policy web-in"
            ),
            (
                "shop/front c0 icmp",
                "allowed: egress by rule 1 of egress in policy front-out, "
                    + "ingress by rule 1 of ingress in policy web-in"
            ),
            ("front web 81/tcp", "denied: rule 1 of egressDeny in policy front-out"),
            ("front web 53/udp", "denied: default deny (ingress of web)"),
            ("front web", "denied: default deny (ingress of web)"),
            ("web front 80/tcp", "denied: default deny (egress of web)"),
            ("10.77.0.11 10.77.0.10 81/tcp", "denied: rule 1 of egressDeny in policy front-out"),
            ("front 192.0.2.1 80/tcp", isolated),
            ("192.0.2.1 web 80/tcp", isolated),
            ("192.0.2.1 192.0.2.2 80/tcp", "denied: neither side is an endpoint"),
        ] {
            let lines = try fabric.succeed("policy explain \(flow)").split(separator: "\n")
            #expect(lines.first.map(String.init) == answer, "\(flow)")
        }
        for (flow, message) in [
            ("front nope 80/tcp", "no such endpoint: \"nope\""),
            ("front web 0/tcp", "port \"0/tcp\": \(Self.ports)"),
            ("front web 80-90/tcp", "port \"80-90/tcp\": expected one port such as 80/tcp"),
            ("front", "Missing expected argument '<to>'"),
        ] {
            try fabric.refuse("policy explain \(flow)", message)
        }
        // Packets agree, and what was blocked is counted with its reason.
        #expect(try containers.run(1, "ping", "-c1", "-W2", "10.77.0.10").status.code == 0)
        #expect(try containers.run(0, "ping", "-c1", "-W1", "10.77.0.11").status.code != 0)
        #expect(try fabric.succeed("stats web").contains("web    1         default deny (egress of web)"))
        #expect(try fabric.succeed("policy rm web-in front-out") == "web-in\nfront-out\n")
        #expect(try containers.run(1, "ping", "-c1", "-W1", "10.77.0.10").status.code != 0)
    }
}
