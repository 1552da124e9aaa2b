import LabSupport
import Namespaces
import Sys
import Testing

/// Egress by domain name: an endpoint reaches what it was told by name, the moment it was told, and nothing
/// else.
@Suite(.serialized, .enabled(if: Lab.isAvailable(), "needs a lab")) struct DomainEgressTests {
    /// An authority for `*.example.com`, which answers each name with an address out of its labels: `n7` is
    /// 203.0.113.7, `six` is 2001:db8::9; what begins with `alias` is a CNAME of `n7.elsewhere.net`.
    static let authority = """
        import socket, struct, sys
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind((sys.argv[1], 53))
        def wire(name): return b"".join(bytes([len(l)]) + l for l in name.split(b".")) + b"\\0"
        while True:
            query, peer = s.recvfrom(4096)
            end = 12
            labels = []
            while query[end]:
                labels.append(query[end + 1:end + 1 + query[end]].lower())
                end += 1 + query[end]
            question = query[12:end + 5]
            kind = struct.unpack(">H", query[end + 1:end + 3])[0]
            answers = []
            def address(owner, label):
                value = {b"inside": b"\\x0a\\x4d\\x00\\x0b", b"loop": b"\\x7f\\x00\\x00\\x01"}.get(
                    label, bytes([203, 0, 113, int(label[1:]) if label[1:].isdigit() else 9]))
                return owner + struct.pack(">HHIH", 1, 1, 1, 4) + value
            if kind == 1:
                if labels[0].startswith(b"alias"):
                    target = wire(b"n7.elsewhere.net")
                    answers = [b"\\xc0\\x0c" + struct.pack(">HHIH", 5, 1, 1, len(target)) + target,
                               address(target, b"n7")]
                else:
                    answers = [address(b"\\xc0\\x0c", labels[0])]
            if kind == 28 and labels[0] == b"six":
                answers = [b"\\xc0\\x0c" + struct.pack(">HHIH", 28, 1, 1, 16)
                           + socket.inet_pton(socket.AF_INET6, "2001:db8::9")]
            header = query[:2] + struct.pack(">HHHHH", 0x8580, 1, len(answers), 0, 0)
            s.sendto(header + question + b"".join(answers), peer)
        """

    static let policy = """
        policy: out
        endpoints: {labels: {app: web}}
        egress:
          - {toFQDNs: ["*.example.com"], ports: [80/tcp]}

        """

    /// A fabric with an endpoint `web` (10.77.0.10) that may go where `*.example.com` is, and the Internet.
    final class Field {
        let fabric: FabricFixture
        let internet: Internet
        let containers: Containers
        private var authority: ChildProcess

        init(_ owner: FabricFixture.Owner, policy: String = DomainEgressTests.policy) throws {
            fabric = try FabricFixture(owner)
            internet = try Internet(behind: fabric.host, directory: fabric.programs)
            let script = try fabric.write("authority.py", DomainEgressTests.authority)
            authority = try internet.start(["python3", script, "192.0.2.2"])
            let up = try fabric.run(
                ["\(fabric.programs)/forge", "up"] + (owner == .rootOnHost ? ["--host"] : []))
            try #require(up.status.code == 0, "\(up.errors)\(fabric.log)")
            try fabric.succeed(
                "network create out --subnet 10.77.0.0/24 --nat --dns --dns-upstream 192.0.2.2")
            containers = try Containers(fabric, 2)
            for (index, label) in ["app=web", "app=other"].enumerated() {
                try fabric.succeed(
                    "attach --network out --container c\(index) --pid \(containers.pids[index]) "
                        + "--ip 10.77.0.1\(index) --label \(label) --name e\(index)")
            }
            let file = try fabric.write("policy.yaml", policy)
            try fabric.succeed("policy apply -f \(file)")
        }

        func ask(_ name: String, of index: Int = 0) throws -> String {
            try containers.run(
                index, "dig", "@10.77.0.1", "+tries=1", "+time=5", "+noall", "+answer", "+comments", name
            ).output
        }

        func reaches(_ address: String, from index: Int = 0) throws -> Bool {
            try containers.run(
                index, "curl", "-s", "-m", "3", "-o", "/dev/null", "http://\(address)/"
            ).status.code == 0
        }
    }

    @Test(arguments: owners)
    func `what a rule's domain stands for is reached once it was told`(owner: FabricFixture.Owner) throws {
        let field = try Field(owner)
        #expect(try !field.reaches("203.0.113.7"))
        // The uplink of a rootless fabric takes a moment.
        #expect(
            try eventually(seconds: 20) {
                try field.ask("n7.example.com").contains("203.0.113.7") && field.reaches("203.0.113.7")
            })
        // Another's answer opens nothing, another name nothing, and a name that no rule speaks of is not told.
        #expect(try field.ask("n7.example.com", of: 1).contains("NXDOMAIN"))
        #expect(try !field.reaches("203.0.113.7", from: 1))
        #expect(try field.ask("n9.other.net").contains("NXDOMAIN"))
        #expect(try !field.reaches("198.51.100.9"))
        let explained = try field.fabric.forge(line: "policy explain e0 203.0.113.7 80/tcp").output
        #expect(explained.hasPrefix("allowed"), "\(explained)")
        #expect(
            try field.fabric.forge(line: "policy explain e0 203.0.113.7 81/tcp").output.hasPrefix("denied"))
        #expect(
            try field.fabric.forge(line: "policy explain e0 n8.example.com 80/tcp").output.hasPrefix(
                "allowed"))
        #expect(
            try field.fabric.forge(line: "policy explain e0 example.com 80/tcp").output.hasPrefix("denied"))
        // The policy gone, so is its reach.
        try field.fabric.succeed("policy rm out")
        #expect(try !field.reaches("203.0.113.7"))
        #expect(try field.ask("n7.example.com").contains("NXDOMAIN"))
    }

    @Test(arguments: anyOwner)
    func `an alias counts for the name that was asked, and lies open nothing`(
        owner: FabricFixture.Owner
    ) throws {
        let field = try Field(owner)
        #expect(
            try eventually(seconds: 20) {
                try field.ask("alias1.example.com").contains("203.0.113.7") && field.reaches("203.0.113.7")
            })
        #expect(try field.ask("n7.elsewhere.net").contains("NXDOMAIN"))
        // An authority that says that its name is an endpoint's, or the host itself.
        #expect(try !field.ask("inside.example.com").contains("10.77.0.11"))
        #expect(try !field.ask("loop.example.com").contains("127.0.0.1"))
        let names = try field.fabric.inside("nft", "list", "map", "inet", "forge", "named4").output
        #expect(names.contains("10.77.0.10 . 203.0.113.7"), "\(names)")
        #expect(!names.contains("127.0.0.1") && !names.contains("10.77.0.11"), "\(names)")
    }

    // With --host nobody starts the manager again.
    @Test(arguments: anyOwner.filter { $0 != .rootOnHost })
    func `what was told outlives the manager, and ends with the endpoint`(owner: FabricFixture.Owner) throws {
        let field = try Field(owner)
        #expect(
            try eventually(seconds: 20) {
                try field.ask("n7.example.com").contains("203.0.113.7") && field.reaches("203.0.113.7")
            })
        let killed = try #require(field.fabric.processes).manager
        ProcessSignal.send(9, to: killed)
        #expect(eventually(seconds: 10) { field.fabric.processes.map { $0.manager != killed } ?? false })
        try field.fabric.succeed("network ls")
        #expect(try field.reaches("203.0.113.7"))
        try field.fabric.succeed("detach --container c0")
        #expect(
            try !field.fabric.inside("nft", "list", "map", "inet", "forge", "named4").output.contains(
                "203.0.113.7"))
        try field.fabric.succeed(
            "attach --network out --container c0 --pid \(field.containers.pids[0]) --ip 10.77.0.10 "
                + "--label app=web --name e0")
        #expect(try !field.reaches("203.0.113.7"))
    }

    @Test(arguments: anyOwner)
    func `the host asks too, and may know every name`(owner: FabricFixture.Owner) throws {
        let field = try Field(owner)
        #expect(try field.fabric.succeed("dns query e1.out --type A -q") == "10.77.0.11\n")
        #expect(try field.fabric.succeed("dns query 10.77.0.11 -q") == "e1.out.forge.internal\n")
        let missing = try field.fabric.forge(line: "dns query nobody.out.forge.internal")
        #expect(missing.status.code == 1)
        #expect(missing.errors == "forge: nobody.out.forge.internal: there is no such name\n")
    }
}
