import LabSupport
import Namespaces
import Sys
import Testing

/// `forge flows` against a fabric with containers in it.
@Suite(.serialized, .enabled(if: Lab.isAvailable(), "needs a lab")) struct FlowsCommandTests {
    /// Two containers, `web` and `db`, that nobody allows anything.
    private func shop(_ fabric: FabricFixture) throws -> Containers {
        try fabric.up(network: "shop")
        let containers = try Containers(fabric, 2)
        for (name, pid) in zip(["web", "db"], containers.pids) {
            let address = name == "web" ? "10.77.0.5" : "10.77.0.6"
            try fabric.succeed(
                "attach --network shop --container \(name) --pid \(pid) --name \(name) --ip \(address) -q")
        }
        return containers
    }

    private static let knock = "echo -n x > /dev/udp/10.77.0.6/5432"

    @Test(arguments: owners)
    func `shows what was denied and why, as lines and as JSON`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        let containers = try shop(fabric)
        #expect(try fabric.succeed("flows") == "")
        for _ in 0..<3 { try containers.run(0, "bash", "-c", Self.knock) }

        let line = try fabric.succeed("flows --denied --endpoint db")
        #expect(
            line.dropFirst(13)
                == "DENY  egress  web (10.77.0.5) -> db (10.77.0.6):5432/udp  default deny (egress of web)  x3\n"
        )
        // 12:00:01.123
        #expect(
            line.prefix(13).map { $0.isNumber ? "0" : $0 } == Array("00:00:00.000 "), "\(line.prefix(13))")
        let json = try fabric.succeed("flows --format json")
        #expect(json.split(separator: "\n").count == 1)
        for part in [
            "\"verdict\":\"VERDICT_DENY\"", "\"count\":3", "\"endpoint\":\"web\"", "\"peer\":\"db\"",
            "\"code\":\"default-deny\"", "\"destinationPort\":5432", "\"protocol\":\"udp\"",
        ] { #expect(json.contains(part), "\(part) in \(json)") }
        try fabric.refuse("flows --endpoint nobody", "no such endpoint: \"nobody\"")
        try fabric.refuse(
            "flows --endpoint ''", "--endpoint \"\": is empty; leave the option out to mean none")
    }

    @Test(arguments: anyOwner)
    func `follows connections and denials until it is told to end`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        let containers = try shop(fabric)
        let path = try fabric.write(
            "open.yaml",
            "{policy: open, endpoints: all, ingress: [{ports: [5432/udp]}], egress: [{}]}")
        try fabric.succeed("policy apply -f \(path)")
        var following = try Following.start(fabric, ["--follow"])
        // The last ones come first, so that something tells that it follows.
        pauseThread(milliseconds: 700)
        try containers.run(0, "bash", "-c", Self.knock)
        try containers.run(0, "bash", "-c", "echo -n x > /dev/udp/10.77.0.6/99")
        let lines = try following.lines(2)
        #expect(
            Set(lines.map { String($0.dropFirst(13)) }) == [
                "ALLOW egress  web (10.77.0.5) -> db (10.77.0.6):5432/udp",
                "DENY  ingress web (10.77.0.5) -> db (10.77.0.6):99/udp  default deny (ingress of db)",
            ], "\(lines)")
        // Ctrl-C; 128 and the signal, as of every program that it ends.
        let ended = try following.end(2)
        #expect(ended.code == 130)
        #expect(ended.errors.isEmpty)
        #expect(try fabric.forge("status", "-q").status.code == 0)
    }

    @Test(arguments: owners)
    func
        `what was denied before a manager began is told by its number, and so is what nobody was there to tell`(
            owner: FabricFixture.Owner
        ) throws
    {
        let fabric = try FabricFixture(owner)
        let containers = try shop(fabric)
        try containers.run(0, "bash", "-c", Self.knock)
        #expect(try fabric.succeed("flows --denied").contains("DENY"))
        let killed = try #require(fabric.processes).manager
        ProcessSignal.send(9, to: killed)
        if owner == .rootOnHost { #expect(eventually(seconds: 10) { fabric.processes == nil }) }
        // With --host nobody starts the next one: these are told by none.
        for _ in 0..<2 { try containers.run(0, "bash", "-c", Self.knock) }
        if owner == .rootOnHost { try fabric.up() }
        #expect(eventually(seconds: 10) { fabric.processes.map { $0.manager != killed } ?? false })

        let lines = try fabric.succeed("flows --denied --endpoint web").split(separator: "\n")
        let early = try #require(lines.first).dropFirst(13)
        let end = " denials of web were before this manager began  default deny (egress of web)"
        #expect(early.hasPrefix("LOST  ") && early.hasSuffix(end), "\(lines)")
        // Which of the two was there when they were denied depends on how soon it came: together they are all.
        let before = try #require(Int(early.dropFirst(6).prefix { $0.isNumber }))
        let after = lines.dropFirst().reduce(0) { sum, line in
            sum + (line.split(separator: "x").last.flatMap { Int($0) } ?? 1)
        }
        #expect(before + after == 3, "\(lines)")
        if owner == .rootOnHost { #expect(before == 3) }
        #expect(try fabric.succeed("flows --denied --endpoint db") == "")
        let json = try fabric.succeed("flows --denied --endpoint web --format json")
        for part in ["\"VERDICT_LOST\"", "\"lostBecause\":\"earlier\"", "\"code\":\"default-deny\""] {
            #expect(json.contains(part), "\(part) in \(json)")
        }
    }

    @Test(arguments: anyOwner)
    func `what a limit on bandwidth drops is told by its number`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        let containers = try shop(fabric)
        let path = try fabric.write(
            "slow.yaml",
            """
            {policy: slow, endpoints: all, ingress: [{}], egress: [{}], limits: {egress: {bandwidth: 1mbit}}}

            """)
        try fabric.succeed("policy apply -f \(path)")
        #expect(try !fabric.succeed("flows --denied").contains("bandwidth"))
        let flood =
            "import socket; s = socket.socket(type=socket.SOCK_DGRAM); "
            + "[s.sendto(bytes(1400), ('10.77.0.6', 99)) for _ in range(200)]"
        func told(_ lines: [String]) -> [Int] {
            lines.filter { $0.contains("packets of web were more than its bandwidth  ") }.compactMap { line in
                Int(line.dropFirst(19).prefix { $0.isNumber })
            }
        }
        func counted() throws -> Int {
            let line = try fabric.succeed("stats web").split(separator: "\n").first {
                $0.contains("bandwidth")
            }
            return line.flatMap { Int($0.split(separator: " ")[1]) } ?? 0
        }
        // Looked at by whoever asks, and once a second for whoever watches.
        try containers.run(0, "python3", "-c", flood)
        let first = told(try fabric.succeed("flows --denied").split(separator: "\n").map(String.init))
        #expect(try first == [counted()] && first[0] > 100, "\(first)")
        var following = try Following.start(fabric, ["--follow", "--denied"])
        #expect(try told(following.lines(1)) == first)
        try containers.run(0, "python3", "-c", flood)
        // The second flood may be seen in two looks.
        let all = try counted()
        var sum = 0
        for _ in 0..<2 where sum < all { sum = told(try following.lines(sum == 0 ? 2 : 3)).reduce(0, +) }
        #expect(sum == all)
        _ = try following.end(2)
    }

    @Test(arguments: anyOwner)
    func `ends when the fabric does`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        try fabric.up(network: "shop")
        var following = try Following.start(fabric, ["-f", "--format", "json"])
        pauseThread(milliseconds: 700)
        let start = ContinuousClock.now
        #expect(try fabric.forge("down").status.code == 0)
        let ended = try following.end(nil)
        print("forge down with somebody watching took \(start.duration(to: .now))")
        #expect(ended.code == 0)
        #expect(ended.errors.isEmpty)

        try fabric.up()
        var broken = try Following.start(fabric, ["-f"])
        pauseThread(milliseconds: 700)
        ProcessSignal.send(9, to: try #require(fabric.processes).manager)
        let end = try broken.end(nil)
        #expect(end.code == 125)
        #expect(end.errors == "forge: the fabric went away\n")
    }
}

/// A `forge flows` that goes on.
private struct Following: ~Copyable {
    private var child: ChildProcess
    private let output: Descriptor
    private let errors: Descriptor
    private var text: [UInt8] = []

    static func start(_ fabric: FabricFixture, _ arguments: [String]) throws -> Following {
        let output = try Pipe()
        let errors = try Pipe()
        var plan = fabric.plan(["\(fabric.programs)/forge", "flows"] + arguments)
        plan.descriptors = [0, output.writer.rawValue, errors.writer.rawValue]
        var child = try plan.start()
        try child.waitUntilRunning()
        return Following(child, output.keepReader(), errors.keepReader())
    }

    private init(
        _ child: consuming ChildProcess, _ output: consuming Descriptor, _ errors: consuming Descriptor
    ) {
        self.child = child
        self.output = output
        self.errors = errors
    }

    /// The next lines, within some seconds.
    mutating func lines(_ count: Int) throws -> [String] {
        while text.count(where: { $0 == UInt8(ascii: "\n") }) < count {
            guard try waitReadable([output.rawValue], milliseconds: 10_000)[0] else { break }
            let part = try output.read(upTo: 4096)
            if part.isEmpty { break }
            text += part
        }
        return String(decoding: text, as: UTF8.self).split(separator: "\n").map(String.init)
    }

    /// Sends a signal, if any, and waits for the end.
    mutating func end(_ signal: Int32?) throws -> (code: Int32, errors: String) {
        if let signal { child.kill(signal) }
        let code = try child.wait().code
        return (code, String(decoding: try errors.read(upTo: 4096), as: UTF8.self))
    }
}
