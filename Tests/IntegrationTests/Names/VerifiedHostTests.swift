import LabSupport
import Namespaces
import Sys
import Testing

/// Rules that verify hosts: an address that several names share is reached by the names that a rule allows, and by
/// no other.
@Suite(.serialized, .enabled(if: Lab.isAvailable(), "needs a lab")) struct VerifiedHostTests {
    private static let policy = """
        policy: out
        endpoints: {labels: {app: web}}
        egress:
          - {toFQDNs: ["n7.example.com", "six.example.com"], ports: [80/tcp, 8000-8999/tcp], verifyHost: true}
          - {toFQDNs: ["alias1.example.com"], ports: [80/tcp, 8000-8999/tcp]}

        """

    /// Says whom it was asked as and by whom, in HTTP/1.1 with connections that stay; `/stream` without end.
    private static let server = """
        import http.server, ssl, sys, threading
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            def do_GET(self):
                self.send_response(200)
                if self.path == "/stream":
                    self.end_headers()
                    while True: self.wfile.write(b"x" * 16384)
                body = f"host={self.headers['Host']} by={self.client_address[0]}\\n".encode()
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            def do_POST(self):
                got = len(self.rfile.read(int(self.headers["Content-Length"])))
                body = f"got={got}\\n".encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            def log_message(self, *_): pass
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1])
        for port, secure in [(8080, False), (8443, True)]:
            server = http.server.ThreadingHTTPServer(("0.0.0.0", port), Handler)
            if secure: server.socket = context.wrap_socket(server.socket, server_side=True)
            threading.Thread(target=server.serve_forever).start()
        """

    private final class World {
        let field: DomainEgressTests.Field
        private var server: ChildProcess

        init(_ owner: FabricFixture.Owner) throws {
            field = try DomainEgressTests.Field(owner, policy: VerifiedHostTests.policy)
            let certificate = field.fabric.directory + "/server.pem"
            let made = try ProcessPlan([
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days", "2", "-subj", "/CN=lab", "-keyout", certificate, "-out", certificate + ".crt",
            ]).run(timeoutSeconds: 10)
            try #require(made.status.code == 0, "\(made.errors)")
            let joined = try ProcessPlan([
                "sh", "-c", "cat \(certificate).crt >> \(certificate) && chmod 644 \(certificate)",
            ]).run(timeoutSeconds: 10)
            try #require(joined.status.code == 0, "\(joined.errors)")
            let script = try field.fabric.write("server.py", VerifiedHostTests.server)
            server = try field.internet.start(["python3", script, certificate])
            // The uplink of a rootless fabric takes a moment, and so does the server.
            try #require(
                eventually(seconds: 30) {
                    try field.ask("n7.example.com").contains("203.0.113.7")
                        && get("http://n7.example.com:8080/").status.code == 0
                }, "\(field.fabric.log)")
        }

        /// As curl has it, without asking a resolver.
        func get(_ url: String, _ more: String...) throws -> ProgramResult {
            var words = ["curl", "-sk", "-m", "5", url]
            for name in ["n7.example.com", "evil.example.com", "n9.example.com"] {
                for port in [80, 8080, 8443] { words += ["--resolve", "\(name):\(port):203.0.113.7"] }
            }
            return try field.containers.plan(0, words + more).run(timeoutSeconds: 10)
        }

        /// A download without end, half a minute at most, no faster than a disk.
        func stream(into file: String) throws -> ChildProcess {
            try field.containers.plan(
                0,
                [
                    "curl", "-s", "--no-buffer", "-m", "30", "--limit-rate", "20M", "-o", file, "--resolve",
                    "n7.example.com:8080:203.0.113.7", "http://n7.example.com:8080/stream",
                ]
            ).start()
        }

        func script(_ text: String) throws -> String {
            try field.containers.plan(0, ["python3", "-c", text]).run(timeoutSeconds: 10).output
        }
    }

    private static func size(of file: String) throws -> Int {
        let said = try ProcessPlan(["stat", "-c", "%s", file]).run(timeoutSeconds: 5).output
        return Int(said.dropLast()) ?? 0
    }

    private static func hasStopped(_ file: String) throws -> Bool {
        let before = try size(of: file)
        pauseThread(milliseconds: 700)
        return try size(of: file) == before
    }

    @Test(arguments: owners)
    func `a shared address is reached for the name that a rule allows alone`(owner: FabricFixture.Owner)
        throws
    {
        let world = try World(owner)
        #expect(try world.get("http://n7.example.com:8080/").output.contains("host=n7.example.com:8080 "))
        #expect(try world.get("https://n7.example.com:8443/").output.contains("host=n7.example.com:8443 "))
        // A port by itself, in another class of the kernel's than a run of them.
        #expect(try world.get("http://n7.example.com/").status.code == 0)
        let big =
            "head -c 3000000 /dev/zero | curl -s -m 9 --data-binary @- -H Expect: "
            + "--resolve n7.example.com:8080:203.0.113.7 http://n7.example.com:8080/"
        #expect(try world.field.containers.run(0, "sh", "-c", big).output == "got=3000000\n")

        let refused = try world.get("http://evil.example.com:8080/", "-w", "%{http_code}")
        #expect(refused.output == "forge: policy does not allow this host\n403")
        #expect(
            try world.get("http://n7.example.com:8080/", "-H", "Host: evil.example.com").output.hasPrefix(
                "forge:"))
        // CURLE_SSL_CONNECT_ERROR, after an alert.
        let secure = try world.get("https://evil.example.com:8443/", "-S")
        #expect(secure.status.code == 35 && secure.errors.contains("alert"), "\(secure.errors)")
        // The address by itself has no SNI.
        #expect(try world.get("https://203.0.113.7:8443/").status.code == 35)
        #expect(try world.get("http://203.0.113.7:8080/").output.hasPrefix("forge: "))

        let flows = try world.field.fabric.forge(line: "stats e0 --format json").output
        #expect(flows.contains("unverified-host"), "\(flows)")
        let explained = try world.field.fabric.succeed("policy explain e0 n7.example.com 8443/tcp")
        #expect(
            explained.contains("rule 1 of egress in policy out, for a host that it names"), "\(explained)")
        // Other ports, and other protocols, are as closed as ever.
        #expect(try world.get("http://n7.example.com:81/").status.code != 0)
    }

    @Test(arguments: owners)
    func `over IPv6 it is no other`(owner: FabricFixture.Owner) throws {
        let world = try World(owner)
        func get(_ name: String) throws -> ProgramResult {
            try world.field.containers.run(
                0, "curl", "-s", "-m", "5", "--resolve", "\(name):80:[2001:db8::9]", "-w", "%{http_code}",
                "-o",
                "/dev/null", "http://\(name)/")
        }
        #expect(try get("six.example.com").status.code != 0)
        let answer = try world.field.containers.run(
            0, "dig", "@10.77.0.1", "+tries=1", "+time=5", "+short", "six.example.com", "AAAA")
        #expect(answer.output == "2001:db8::9\n")
        #expect(try eventually(seconds: 20) { try get("six.example.com").output == "200" })
        #expect(try get("evil.example.com").output == "403")
    }

    @Test(arguments: anyOwner)
    func `one connection is one request to one host`(owner: FabricFixture.Owner) throws {
        let world = try World(owner)
        let said = try world.script(
            """
            import socket
            s = socket.create_connection(("203.0.113.7", 8080), 5)
            one = "GET / HTTP/1.1\\r\\nHost: n7.example.com\\r\\nConnection: keep-alive\\r\\n\\r\\n"
            s.sendall((one + one.replace("n7", "evil")).encode())
            data = b""
            while True:
                part = s.recv(4096)
                if not part: break
                data += part
            print(data.count(b"200 OK"), b"evil" in data)
            """)
        #expect(said == "1 False\n")
        for text in [
            "SSH-2.0-x\\r\\n", "GET / HTTP/1.1\\nHost: n7.example.com\\n\\n",
            "PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n",
        ] {
            let said = try world.script(
                """
                import socket
                s = socket.create_connection(("203.0.113.7", 8080), 5)
                s.sendall(b"\(text)")
                data = s.recv(4096)
                print(b"200" in data)
                """)
            #expect(said != "True\n", "\(text)")
        }
    }

    @Test(arguments: anyOwner)
    func `another rule opens the address for what is not verified`(owner: FabricFixture.Owner) throws {
        let world = try World(owner)
        #expect(try world.get("http://evil.example.com:8080/").output.hasPrefix("forge:"))
        #expect(try world.field.ask("alias1.example.com").contains("203.0.113.7"))
        #expect(try world.get("http://evil.example.com:8080/").output.hasPrefix("host=evil.example.com"))
    }

    @Test(arguments: anyOwner)
    func `a stream that was verified ends with its rule`(owner: FabricFixture.Owner) throws {
        let world = try World(owner)
        let fabric = world.field.fabric
        let file = fabric.directory + "/stream"
        let stream = try world.stream(into: file)
        func size() throws -> Int { try VerifiedHostTests.size(of: file) }
        try #require(eventually(seconds: 10) { try size() > 1_000_000 })
        // What concerns it not leaves it alone.
        let other = try fabric.write(
            "other.yaml", "policy: other\nendpoints: {labels: {app: other}}\ndirections: [ingress]\n")
        try fabric.succeed("policy apply -f \(other)")
        let before = try size()
        #expect(try eventually(seconds: 10) { try size() > before })
        try fabric.succeed("policy rm out")
        // What was in the container's own socket by then comes yet, 20 MB a second.
        withExtendedLifetime(stream.pid) {}
        #expect(try eventually(seconds: 8) { try Self.hasStopped(file) })
    }

    @Test(arguments: anyOwner)
    func `a quarantined endpoint's streams end, and so do those of one that goes`(
        owner: FabricFixture.Owner
    ) throws {
        let world = try World(owner)
        let fabric = world.field.fabric
        for (index, end) in ["quarantine e0", "detach --container c0"].enumerated() {
            let file = fabric.directory + "/stream\(index)"
            let stream = try world.stream(into: file)
            try #require(eventually(seconds: 10) { try Self.size(of: file) > 1_000_000 })
            try fabric.succeed(end)
            withExtendedLifetime(stream.pid) {}
            #expect(try eventually(seconds: 8) { try Self.hasStopped(file) })
            if index == 0 { try fabric.succeed("release e0") }
        }
    }

    // Stopped, not killed: nobody takes its place, and nobody listens to the proxy.
    @Test(arguments: anyOwner.filter { $0 != .rootOnHost })
    func `refusals that no manager hears of do not end the proxy`(owner: FabricFixture.Owner) throws {
        let world = try World(owner)
        let manager = try #require(world.field.fabric.processes).manager
        func proxy() throws -> String {
            try world.field.fabric.succeed("status --format json").split(separator: "\n").filter {
                $0.contains("restarts")
            }.joined()
        }
        let before = try proxy()
        ProcessSignal.send(19, to: manager)
        defer { ProcessSignal.send(18, to: manager) }
        let flood = try world.field.containers.plan(
            0,
            [
                "python3", "-c",
                """
                import socket
                for n in range(12000):
                    try:
                        s = socket.create_connection(("203.0.113.7", 8080), 0.2)
                        s.sendall(b"SSH-2.0-x\\r\\n")
                        s.close()
                    except OSError: pass
                    if n % 1000 == 0: print(n, flush=True)
                """,
            ]
        ).run(timeoutSeconds: 25)
        _ = flood
        ProcessSignal.send(18, to: manager)
        #expect(
            try eventually(seconds: 20) {
                try world.get("http://n7.example.com:8080/").output.contains("host=n7")
            })
        #expect(try proxy() == before)
    }

    @Test(arguments: owners)
    func `a gate whose port is taken is opened with the next change once it is free`(
        owner: FabricFixture.Owner
    ) throws {
        let field = try DomainEgressTests.Field(
            owner, policy: "policy: out\nendpoints: {labels: {app: web}}\ndirections: [egress]\n")
        let fabric = field.fabric
        func get() throws -> Bool {
            try field.containers.run(
                0, "curl", "-s", "-m", "3", "-o", "/dev/null", "--resolve", "n7.example.com:80:203.0.113.7",
                "http://n7.example.com/"
            ).status.code == 0
        }
        let words = try Pipe()
        var plan = ProcessPlan([
            "nsenter", "-n", "-t", "\(try #require(fabric.processes).manager)", "python3", "-c",
            """
            import os, socket, time
            s = socket.socket()
            s.bind(("10.77.0.1", 61443))
            os.write(1, b"taken")
            time.sleep(60)
            """,
        ])
        plan.descriptors = [0, words.writer.rawValue, 2]
        var taker: ChildProcess? = try plan.start()
        let reader = words.keepReader()
        try #require(try reader.read(upTo: 10) == Array("taken".utf8))
        let policy = try fabric.write("verified.yaml", Self.policy)
        try fabric.succeed("policy apply -f \(policy)")
        // The uplink of a rootless fabric takes a moment.
        try #require(eventually(seconds: 30) { try field.ask("n7.example.com").contains("203.0.113.7") })
        #expect(try !get())
        #expect(fabric.log.contains("hosts cannot be verified"), "\(fabric.log)")
        taker = nil
        _ = taker
        let other = try fabric.write(
            "other.yaml", "policy: other\nendpoints: {labels: {app: other}}\ndirections: [ingress]\n")
        try fabric.succeed("policy apply -f \(other)")
        #expect(try eventually(seconds: 20) { try get() })
    }

    // Others' translations are on the host alone.
    @Test(arguments: owners.filter { $0 == .rootOnHost })
    func `what the host translates elsewhere is judged as ever`(owner: FabricFixture.Owner) throws {
        let world = try World(owner)
        let fabric = world.field.fabric
        let server = try Internet.serve(fabric.host, "::", 9998, fabric.programs)
        try Internet.wait(for: "http://127.0.0.1:9998/", from: fabric.host)
        for line in [
            "add table ip others", "add chain ip others pre { type nat hook prerouting priority -100; }",
            "add rule ip others pre tcp dport 9999 redirect to :9998",
        ] {
            let done = try fabric.inside("nft", line)
            try #require(done.status.code == 0, "\(done.errors)")
        }
        let reached = try world.get("http://203.0.113.7:9999/")
        #expect(reached.status.code != 0, "\(reached.output.prefix(80))")
        withExtendedLifetime(server.pid) {}
    }

    // With --host nobody starts the manager again.
    @Test(arguments: anyOwner.filter { $0 != .rootOnHost })
    func `a manager that is killed interrupts no verified stream`(owner: FabricFixture.Owner) throws {
        let world = try World(owner)
        let fabric = world.field.fabric
        let file = fabric.directory + "/stream"
        let stream = try world.stream(into: file)
        try #require(eventually(seconds: 10) { try Self.size(of: file) > 1_000_000 })
        let killed = try #require(fabric.processes).manager
        ProcessSignal.send(9, to: killed)
        #expect(eventually(seconds: 10) { fabric.processes.map { $0.manager != killed } ?? false })
        try fabric.succeed("network ls")
        #expect(try world.get("http://n7.example.com:8080/").output.contains("host=n7"))
        let before = try Self.size(of: file)
        #expect(try eventually(seconds: 10) { try Self.size(of: file) > before + 1_000_000 })
        try fabric.succeed("policy rm out")
        #expect(try eventually(seconds: 8) { try Self.hasStopped(file) })
        withExtendedLifetime(stream.pid) {}
    }
}
