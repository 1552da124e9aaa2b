import LabSupport
import Namespaces
import Sys
import Testing

/// Out of the fabric: as far as a network may be left and policy allows, for each kind of fabric.
@Suite(.serialized, .enabled(if: Lab.isAvailable(), "needs a lab")) struct UplinkTests {
    private static let policy = """
        policy: web-outside
        endpoints: all
        egress:
          - {to: [{cidr: 203.0.113.7/32}, {cidr: "2001:db8::9/128"}], ports: [80/tcp]}

        """

    private static let rootless = FabricFixture.availableOwners.filter { $0 != .rootOnHost }

    /// A fabric with an endpoint `web` in a network that may be left, and the internet around it.
    private final class Field {
        let fabric: FabricFixture
        let internet: Internet
        private var web: ChildProcess?

        /// - Parameter tools: the programs that `forged` finds; nil are all.
        init(_ owner: FabricFixture.Owner, tools: [String]? = nil) throws {
            fabric = try FabricFixture(owner)
            internet = try Internet(behind: fabric.host, directory: fabric.programs)
            let arguments = ["\(fabric.programs)/forge", "up"] + (owner == .rootOnHost ? ["--host"] : [])
            var environment: [String] = []
            if let tools {
                let directory = "\(fabric.directory)/tools"
                _ = try fabric.run(["mkdir", directory])
                for tool in tools { _ = try fabric.run(["ln", "-s", "/usr/bin/\(tool)", directory]) }
                environment = ["PATH=\(directory)"]
            }
            let up = try fabric.plan(arguments, environment: environment).run(timeoutSeconds: 30)
            try #require(up.status.code == 0, "\(up.errors)\(fabric.log)")
            try fabric.succeed("network create out --subnet 10.77.0.0/24 --nat")
            let file = try fabric.write("policy.yaml", UplinkTests.policy)
            try fabric.succeed("policy apply -f \(file)")
            web = try run("web", in: "out")
        }

        /// Starts an endpoint that does nothing, and waits until it is there.
        func run(_ name: String, in network: String) throws -> ChildProcess {
            var child = try fabric.plan([
                "\(fabric.programs)/forge", "run", "--network", network, "--name", name, "--", "sleep", "600",
            ]).start()
            try child.waitUntilRunning()
            let deadline = Deadline(seconds: 20)
            while try fabric.forge("endpoint", "inspect", name).status.code != 0 {
                try #require(!deadline.hasPassed, "\(name) does not come: \(fabric.log)")
                pauseThread(milliseconds: 50)
            }
            return child
        }

        /// Whether a web server answers an endpoint; waits a while for it where it should.
        func reaches(_ address: String, port: Int = 80, from name: String = "web", patiently: Bool = false)
            throws -> Bool
        {
            let host = address.contains(":") ? "[\(address)]" : address
            let patience =
                patiently
                ? ["--retry", "20", "--retry-delay", "1", "--retry-all-errors", "--retry-max-time", "20"] : []
            let result = try fabric.run(
                [
                    "\(fabric.programs)/forge", "exec", name, "--", "curl", "-g", "-s", "-m", "3", "-o",
                    "/dev/null",
                ]
                    + patience + ["http://\(host):\(port)/"], timeoutSeconds: 40)
            return result.status.code == 0
        }

        /// The number that stands in `forge status` for the uplink's process.
        var uplink: Int32? {
            get throws {
                let line = try status.split(separator: "\n").first { $0.hasPrefix("uplink ") }
                return line.flatMap { line in
                    line.split(separator: "process ").last.flatMap { Int32($0.prefix { $0.isNumber }) }
                }
            }
        }

        var status: String { get throws { try fabric.forge("status").output } }
    }

    /// Says so, or fails in CI, where a test needs a program that is not there.
    private static func has(_ program: String) -> Bool {
        let search = try? ProcessPlan(["which", program]).run(timeoutSeconds: 10)
        let found = search?.status.code == 0
        if !found { Lab.missing("\(program) is not installed: run scripts/setup --for test") }
        return found
    }

    @Test(arguments: FabricFixture.availableOwners)
    func `an endpoint reaches what policy allows outside, and nothing else`(owner: FabricFixture.Owner) throws
    {
        guard owner == .rootOnHost || Self.has("pasta") else { return }
        let field = try Field(owner)
        for address in Internet.allowed {
            let isReached = try field.reaches(address, patiently: true)
            let status = try field.status
            #expect(isReached, "\(address): \(status) \(field.fabric.log)")
        }
        for address in Internet.others { #expect(try !field.reaches(address), "\(address)") }
        #expect(
            try field.fabric.forge("policy", "explain", "web", "198.51.100.9", "80/tcp").output
                .contains("default deny (egress of web)"))
        #expect(
            try field.fabric.forge("stats", "web", "--format", "json").output
                .contains("default deny (egress of web)"))

        // The same policy, and a network that may not be left.
        try field.fabric.succeed("network create in --subnet 10.78.0.0/24")
        let inner = try field.run("inner", in: "in")
        #expect(try !field.reaches(Internet.allowed[0], from: "inner"))
        #expect(
            try field.fabric.forge("policy", "explain", "inner", Internet.allowed[0], "80/tcp").output
                .contains("isolation (peer-only, network in)"))
        _ = consume inner

        // With the last network that may be left goes all that there is for it.
        try field.fabric.succeed("network rm -f out")
        #expect(try !field.fabric.inside("nft", "list", "ruleset").output.contains("forge_nat"))
        #expect(try !field.status.contains("uplink"))
        #expect(try field.fabric.inside("ip", "link", "show", "uplink").status.code != 0)
    }

    @Test(arguments: FabricFixture.availableOwners)
    func `a connection to the outside ends with its permission`(owner: FabricFixture.Owner) throws {
        guard owner == .rootOnHost || Self.has("pasta") else { return }
        let field = try Field(owner)
        #expect(try field.reaches(Internet.allowed[0], patiently: true), "\(field.fabric.log)")
        // Some ten minutes, unless nothing comes for two seconds.
        var download = try field.fabric.plan([
            "\(field.fabric.programs)/forge", "exec", "web", "--", "curl", "-s", "-o", "/dev/null",
            "--limit-rate",
            "100k", "--speed-limit", "1", "--speed-time", "2", "http://\(Internet.allowed[0])/forged",
        ]).start()
        try download.waitUntilRunning()
        pauseThread(milliseconds: 3_000)
        let early = try download.poll()
        #expect(early == nil, "it is under way")
        try field.fabric.succeed("policy rm web-outside")
        var status = early
        let deadline = Deadline(seconds: 30)
        while status == nil, !deadline.hasPassed {
            pauseThread(milliseconds: 100)
            status = try download.poll()
        }
        // curl(1): 28 is a timeout.
        #expect(status?.code == 28)
    }

    @Test(arguments: FabricFixture.availableOwners)
    func `what is flushed by others is there again`(owner: FabricFixture.Owner) throws {
        guard owner == .rootOnHost || Self.has("pasta") else { return }
        let field = try Field(owner)
        #expect(try field.reaches(Internet.allowed[0], patiently: true), "\(field.fabric.log)")
        try field.fabric.inside("nft", "flush", "ruleset")
        #expect(try field.reaches(Internet.allowed[0], patiently: true), "\(field.fabric.log)")
        #expect(try field.fabric.inside("nft", "list", "ruleset").output.contains("masquerade"))
    }

    @Test(arguments: rootless)
    func `the host's loopback cannot be reached, whatever policy says`(owner: FabricFixture.Owner) throws {
        guard Self.has("pasta") else { return }
        let field = try Field(owner)
        let server = try Internet.serve(field.fabric.host, "127.0.0.1", 8080, field.fabric.programs)
        try Internet.wait(for: "http://127.0.0.1:8080/", from: field.fabric.host)
        let file = try field.fabric.write(
            "open.yaml", "policy: open\nendpoints: all\negress: [{}]\n")
        try field.fabric.succeed("policy apply -f \(file)")
        #expect(try field.reaches(Internet.others[0], patiently: true), "\(field.fabric.log)")
        // The uplink's gateway, its own address, the host's addresses.
        for address in ["169.254.254.1", "169.254.254.2", "192.0.2.1", "127.0.0.1", "10.77.0.1"] {
            #expect(try !field.reaches(address, port: 8080), "\(address)")
        }
        for address in ["fd66:6f72:6765::1", "fd66:6f72:6765::2", "2001:db8:fe::1", "::1"] {
            #expect(try !field.reaches(address, port: 8080), "\(address)")
        }
        _ = consume server
    }

    @Test(arguments: rootless)
    func `the way out is made again when its program dies, outlives a manager, and ends with the anchor`(
        owner: FabricFixture.Owner
    ) throws {
        guard Self.has("pasta") else { return }
        let field = try Field(owner)
        #expect(try field.reaches(Internet.allowed[0], patiently: true), "\(field.fabric.log)")
        let first = try #require(try field.uplink)
        ProcessSignal.send(9, to: first)
        #expect(try field.reaches(Internet.allowed[0], patiently: true), "\(field.fabric.log)")
        let second = try #require(try field.uplink)
        #expect(second != first)

        let before = try #require(field.fabric.processes)
        ProcessSignal.send(9, to: before.manager)
        #expect(try field.reaches(Internet.allowed[0], patiently: true), "\(field.fabric.log)")
        #expect(try field.uplink == second)

        // As the next start finds it recorded.
        try field.fabric.succeed("down")
        try field.fabric.succeed("up")
        let third = try #require(try field.uplink)
        let anchor = try #require(field.fabric.processes).anchor

        func lives() -> Bool { (try? readFile("/proc/\(third)/cmdline"))?.isEmpty == false }
        #expect(lives())
        ProcessSignal.send(9, to: anchor)
        let deadline = Deadline(seconds: 5)
        while lives(), !deadline.hasPassed { pauseThread(milliseconds: 20) }
        #expect(!lives())
    }

    @Test(arguments: rootless.suffix(1))
    func `slirp4netns is the way out where there is no pasta`(owner: FabricFixture.Owner) throws {
        guard Self.has("slirp4netns") else { return }
        let field = try Field(owner, tools: ["slirp4netns"])
        #expect(try field.reaches(Internet.allowed[0], patiently: true), "\(field.fabric.log)")
        #expect(try field.status.contains("uplink     slirp4netns (process "))
        #expect(try !field.reaches("169.254.254.2", port: 80))
    }

    @Test(arguments: rootless.suffix(1))
    func `what keeps the fabric from having a way out is told`(owner: FabricFixture.Owner) throws {
        let bare = try Field(owner, tools: [])
        #expect(
            try bare.status.contains(
                "uplink     none: neither pasta nor slirp4netns is installed (Debian, Ubuntu: apt-get install passt)"
            ))
        #expect(try bare.status.contains("  uplink: networks made with --nat have no way out: neither"))

        // A host that has no route itself.
        guard Self.has("pasta") else { return }
        let fabric = try FabricFixture(owner)
        try fabric.up(network: "plain")
        #expect(try !fabric.forge("status").output.contains("uplink"))
        try fabric.succeed("network create out --nat")
        let deadline = Deadline(seconds: 10)
        while try !fabric.forge("status").output.contains("pasta ended with code 1: "), !deadline.hasPassed {
            pauseThread(milliseconds: 100)
        }
        #expect(try fabric.forge("status").output.contains("pasta ended with code 1: "), "\(fabric.log)")
    }
}
