import LabSupport
import Namespaces
import Sys
import Testing

/// Names, asked for by `dig` in containers of a fabric whose resolver is its proxy.
@Suite(.enabled(if: Lab.isAvailable(), "needs a lab")) struct NameTests {
    private static let policy = """
        policy: web
        endpoints: {labels: {app: web}}
        ingress: [{from: [{labels: {app: client}}], ports: [80/tcp]}]
        ---
        policy: clients
        endpoints: {labels: {app: client}}
        egress: [{to: [{labels: {app: web}}]}]

        """

    /// `web` 10.77.0.10 and `web2` 10.77.0.11, both `www`; `client` 10.77.0.12, which may reach them; `other`
    /// 10.77.0.13, which may not.
    private func lab(_ fabric: FabricFixture, _ network: String = "--dns") throws -> Containers {
        try fabric.up()
        try fabric.succeed("network create shop --subnet 10.77.0.0/24 --subnet fd77::/64 \(network)")
        _ = try fabric.write("p.yaml", Self.policy)
        let containers = try Containers(fabric, 4)
        for (index, (name, more)) in [
            ("web", "--label app=web --alias www --port http=80/tcp"),
            ("web2", "--label app=web --alias www"), ("client", "--label app=client"), ("other", ""),
        ].enumerated() {
            try fabric.succeed(
                "attach --network shop --container c\(index) --pid \(containers.pids[index]) --name \(name) "
                    + "--ip 10.77.0.1\(index) \(more)")
        }
        try fabric.succeed("policy apply -f p.yaml")
        return containers
    }

    private static var client: Int { 2 }
    private static var other: Int { 3 }

    private func dig(_ containers: borrowing Containers, _ index: Int, _ question: String) throws -> String {
        let line =
            "nsenter -n -t \(containers.pids[index]) dig @10.77.0.1 +tries=1 +time=5 +noall +answer +comments "
            + question
        return try ProcessPlan(line.split(separator: " ").map(String.init)).run(timeoutSeconds: 10).output
    }

    private func answers(
        _ containers: borrowing Containers, _ index: Int, _ question: String
    ) throws -> Set<String> {
        let lines = try dig(containers, index, question).split(separator: "\n").filter {
            !$0.hasPrefix(";") && !$0.isEmpty
        }
        return Set(lines.map { $0.split(whereSeparator: \.isWhitespace).dropFirst(4).joined(separator: " ") })
    }

    @Test(arguments: owners)
    func `an endpoint is told the names of those whom it may reach`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        let containers = try lab(fabric)
        for question in ["web.shop.forge.internal", "web", "+tcp web.shop.forge.internal"] {
            #expect(try answers(containers, Self.client, question) == ["10.77.0.10"])
            #expect(try answers(containers, Self.other, question).isEmpty)
        }
        #expect(
            try answers(containers, Self.client, "www.shop.forge.internal") == ["10.77.0.10", "10.77.0.11"])
        #expect(
            try answers(containers, Self.client, "_http._tcp.web.shop.forge.internal SRV")
                == ["0 0 80 web.shop.forge.internal."])
        #expect(try answers(containers, Self.client, "-x 10.77.0.10") == ["web.shop.forge.internal."])
        #expect(try answers(containers, Self.client, "web AAAA").allSatisfy { $0.hasPrefix("fd77:") })
        #expect(try dig(containers, Self.other, "web").contains("NXDOMAIN"))
        #expect(try dig(containers, Self.other, "-x 10.77.0.10").contains("NXDOMAIN"))
        #expect(try fabric.succeed("status").contains("proxy"))
        let counted = try fabric.succeed("dns stats other").split(separator: "\n").last ?? ""
        #expect(counted.hasPrefix("other   shop") && counted.contains("peer "), "\(counted)")
        // It knows itself.
        #expect(try answers(containers, Self.other, "other") == ["10.77.0.13"])
    }

    @Test(arguments: anyOwner)
    func `a change of policy is a change of names`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        let containers = try lab(fabric, "--dns --dns-refusal refused")
        #expect(try answers(containers, Self.client, "web") == ["10.77.0.10"])
        try fabric.succeed("policy rm clients")
        #expect(try dig(containers, Self.client, "web").contains("REFUSED"))
        try fabric.succeed("policy apply -f p.yaml")
        #expect(try answers(containers, Self.client, "web") == ["10.77.0.10"])
        try fabric.succeed("endpoint label client app=nobody")
        #expect(try dig(containers, Self.client, "web").contains("REFUSED"))
        try fabric.succeed("endpoint label client app=client")
        try fabric.succeed("detach --container c0")
        #expect(try dig(containers, Self.client, "web").contains("NXDOMAIN"))
        #expect(try answers(containers, Self.client, "www") == ["10.77.0.11"])
    }

    @Test(arguments: anyOwner)
    func `a quarantined endpoint is told nothing`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        let containers = try lab(fabric)
        #expect(try answers(containers, Self.client, "web") == ["10.77.0.10"])
        try fabric.succeed("quarantine client")
        #expect(try answers(containers, Self.client, "+time=1 web").isEmpty)
        try fabric.succeed("release client")
        #expect(try answers(containers, Self.client, "web") == ["10.77.0.10"])
        // Nor is its name told.
        try fabric.succeed("quarantine web")
        #expect(try dig(containers, Self.client, "web").contains("NXDOMAIN"))
    }

    /// Asks every few milliseconds, and says how many questions had no answer.
    private static let asker = """
        import socket, struct, sys, time
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.connect(("10.77.0.1", 53))
        s.setblocking(False)
        name = b"".join(bytes([len(l)]) + l for l in b"web.shop.forge.internal".split(b".")) + b"\\0"
        open_questions, sent, refused = set(), 0, 0
        def take():
            global refused
            while True:
                try: reply = s.recv(512)
                except BlockingIOError: return
                except ConnectionRefusedError: refused += 1000; continue
                if reply[3] & 15 == 0 and reply[7] == 1: open_questions.discard(reply[:2])
                else: refused += 1
        print("begun", flush=True)
        end = time.monotonic() + 2
        while time.monotonic() < end:
            id = struct.pack(">H", sent)
            open_questions.add(id)
            s.send(id + b"\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0" + name + b"\\0\\1\\0\\1")
            sent += 1
            time.sleep(0.002)
            take()
        end = time.monotonic() + 5
        while open_questions and time.monotonic() < end:
            time.sleep(0.01)
            take()
        print(sent, len(open_questions), refused, sorted(open_questions)[:3])
        """

    @Test(arguments: owners.filter { $0 != .rootOnHost })
    func `no question is lost while the manager is killed and started again`(
        owner: FabricFixture.Owner
    ) throws {
        let fabric = try FabricFixture(owner)
        let containers = try lab(fabric)
        #expect(try answers(containers, Self.client, "web") == ["10.77.0.10"])
        let script = try fabric.write("asker.py", Self.asker)
        let words = try Pipe()
        var plan = ProcessPlan([
            "nsenter", "-n", "-t", "\(containers.pids[Self.client])", "python3", script,
        ])
        plan.descriptors = [0, words.writer.rawValue, 2]
        var child = try plan.start()
        let reader = words.keepReader()
        _ = try reader.read(upTo: 100)
        let killed = try #require(fabric.processes).manager
        ProcessSignal.send(9, to: killed)
        #expect(eventually(seconds: 10) { fabric.processes.map { $0.manager != killed } ?? false })
        // And a change, for good measure.
        try fabric.succeed("policy apply -f p.yaml")
        _ = try child.wait()
        let said = String(decoding: try reader.read(upTo: 200), as: UTF8.self)
        let numbers = said.split(whereSeparator: \.isWhitespace).prefix(2).compactMap { Int($0) }
        try #require(numbers.count == 2)
        #expect(numbers[0] > 200)
        #expect(numbers[1] == 0, "\(said)")
        // What the new manager knows, the resolver knows.
        try fabric.succeed("policy rm clients")
        #expect(try dig(containers, Self.client, "web").contains("NXDOMAIN"))
    }

    @Test(arguments: owners)
    func `a proxy that ends is started again, and is told everything`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        let containers = try lab(fabric)
        #expect(try answers(containers, Self.client, "web") == ["10.77.0.10"])
        let proxy = try fabric.proxy()
        // It has no capability, and nobody may look into it.
        let status = try ProcessPlan(["grep", "^Cap", "/proc/\(proxy)/status"]).run(timeoutSeconds: 5).output
        let masks = status.split(separator: "\n").map { $0.split(separator: "\t")[1] }
        #expect(masks.count == 5)
        #expect(masks.allSatisfy { $0 == "0000000000000000" }, "\(status)")
        ProcessSignal.send(9, to: proxy)
        #expect(
            try eventually(seconds: 10) {
                try self.answers(containers, Self.client, "+time=1 web") == ["10.77.0.10"]
            })
    }
}
