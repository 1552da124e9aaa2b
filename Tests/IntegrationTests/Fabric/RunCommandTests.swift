import LabSupport
import Namespaces
import Sys
import Testing

@Suite(.serialized, .enabled(if: Lab.isAvailable(), "needs a lab")) struct RunCommandTests {
    /// A fabric with one network, `lab`.
    private func fabric(_ owner: FabricFixture.Owner) throws -> FabricFixture {
        let fabric = try FabricFixture(owner)
        try fabric.up()
        let made = try fabric.forge("network", "create", "lab", "--subnet", "10.77.0.0/24")
        try #require(made.status.code == 0, "\(made.errors) \(fabric.log)")
        return fabric
    }

    private func run(_ fabric: FabricFixture, _ command: String...) throws -> ProgramResult {
        try fabric.run(
            ["\(fabric.programs)/forge", "run", "--network", "lab", "--name", "box", "--"] + command)
    }

    @Test(arguments: FabricFixture.availableOwners)
    func `ends with the command's exit code, or docker's`(owner: FabricFixture.Owner) throws {
        let fabric = try fabric(owner)
        #expect(try run(fabric, "true").status.code == 0)
        #expect(try run(fabric, "sh", "-c", "exit 7").status.code == 7)
        #expect(try run(fabric, "sh", "-c", "kill -9 $$").status.code == 137)

        let missing = try run(fabric, "no-such-program")
        #expect(missing.status.code == 127)
        #expect(missing.errors == "forge: exec \"no-such-program\": executable file not found in $PATH\n")
        let forbidden = try run(fabric, "/etc/passwd")
        #expect(forbidden.status.code == 126)
        #expect(forbidden.errors == "forge: exec \"/etc/passwd\": Permission denied\n")
        let unknown = try fabric.forge("run", "--network", "nowhere", "--", "true")
        #expect(unknown.status.code == 125)
        #expect(unknown.errors.contains("nowhere"))
        #expect(try fabric.forge("run", "--network", "lab").status.code == 125)
        // Nothing is left of any of them.
        #expect(try fabric.forge("endpoint", "ls", "-q").output == "")
        #expect(
            try fabric.run(["sh", "-c", "ls \(fabric.paths.runtimeDirectory)/run | wc -l"]).output == "0\n")
    }

    @Test(arguments: FabricFixture.availableOwners)
    func `gives the command a network, names and no power over the fabric`(owner: FabricFixture.Owner) throws
    {
        let fabric = try fabric(owner)
        let before = try readFile("/etc/hosts")
        let script = """
            grep -E 'CapEff|NoNewPrivs' /proc/self/status | tr -d '\\t'; id -u
            cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' ' | sort | tr '\\n' ' '; echo
            cat /etc/hosts; cat /etc/resolv.conf
            cat /proc/sys/net/ipv4/ip_unprivileged_port_start
            cat /proc/sys/net/ipv4/ping_group_range | tr '\\t' ' '
            ls \(fabric.paths.runtimeDirectory) \(fabric.paths.stateDirectory) | grep -v :
            """
        let result = try run(fabric, "sh", "-c", script)
        let lines = result.output.split(separator: "\n", omittingEmptySubsequences: true)
        #expect(result.status.code == 0 || result.errors.isEmpty, "\(result.errors)")
        let mask = try #require(
            lines.first { $0.hasPrefix("CapEff:") }.flatMap {
                UInt64($0.dropFirst("CapEff:".count), radix: 16)
            })
        if owner == .rootOnHost {
            // CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_SYS_ADMIN
            #expect(mask & (1 << 12 | 1 << 19 | 1 << 21) == 0)
        } else {
            #expect(mask == 0)
            #expect(lines.contains("NoNewPrivs:1"))
        }
        let uid = try fabric.run(["id", "-u"]).output
        #expect(result.output.contains("\n\(uid)"))
        #expect(
            lines.contains { $0.contains("lo") && $0.split(separator: " ").count == 2 }, "\(result.output)")
        #expect(
            lines.contains { $0.hasPrefix("10.77.0.") && $0.hasSuffix("box.lab box") }, "\(result.output)")
        #expect(lines.contains { $0.contains("Written by forge.") })
        #expect(lines.contains("0"))
        // The socket and the state are out of reach.
        for name in ["forge.sock", "fabric.json", "forged.lock"] { #expect(!result.output.contains(name)) }
        #expect(try readFile("/etc/hosts") == before)
    }

    @Test(arguments: FabricFixture.availableOwners)
    func `passes signals on`(owner: FabricFixture.Owner) throws {
        let fabric = try fabric(owner)
        for (signal, code) in [(15, 9), (10, 8), (2, 7)] as [(Int32, Int32)] {
            let script =
                "trap 'exit 9' TERM; trap 'exit 8' USR1; trap 'exit 7' INT; while :; do sleep 0.05; done"
            var child = try start(fabric, "box", ["sh", "-c", script])
            // The shell sets its traps after the endpoint is there.
            pauseThread(milliseconds: 200)
            child.kill(signal)
            #expect(try child.wait().code == code)
        }
    }

    @Test(arguments: FabricFixture.availableOwners)
    func `leaves the terminal to the command`(owner: FabricFixture.Owner) throws {
        let fabric = try fabric(owner)
        // Types Ctrl-C once the command has spoken.
        let typist = """
            import os, pty, sys
            pid, terminal = pty.fork()
            if pid == 0:
                os.execvp(sys.argv[1], sys.argv[1:])
            while b"ready" not in os.read(terminal, 1000):
                pass
            os.write(terminal, b"\\x03")
            while True:
                try:
                    if not os.read(terminal, 1000):
                        break
                except OSError:
                    break
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            """
        func type(_ script: String) throws -> ProgramResult {
            try fabric.run(
                [
                    "python3", "-c", typist, "\(fabric.programs)/forge", "run", "--network", "lab", "--",
                    "sh", "-c", script,
                ])
        }
        let trapped = try type("trap 'exit 4' INT; echo ready; while :; do sleep 0.05; done")
        #expect(trapped.status.code == 4, "\(trapped.errors)")
        let ended = try type("echo ready; exec sleep 60")
        #expect(ended.status.code == 130, "\(ended.errors)")
        // Ctrl-C may come before the shell has got to its end.
        #expect(try type("trap '' INT; test -t 0 && test -t 1 && echo ready && exit 6").status.code == 6)
    }

    @Test(arguments: FabricFixture.availableOwners)
    func `ends the command and releases its endpoint when forge run is killed`(owner: FabricFixture.Owner)
        throws
    {
        let fabric = try fabric(owner)
        var child = try start(fabric, "box", ["sleep", "60"])
        let pid = try commandPID(fabric, "box")
        child.kill(9)
        _ = try child.wait()
        #expect(
            eventually { (try? Descriptor.open("/proc/\(pid)/ns/net", 0)) == nil }, "the command lived on")
        #expect(
            try eventually { try fabric.forge("endpoint", "ls", "-q").output == "" },
            "the endpoint is still there")
    }

    @Test(arguments: FabricFixture.availableOwners)
    func `exec joins the command, unshare the fabric`(owner: FabricFixture.Owner) throws {
        let fabric = try fabric(owner)
        let child = try start(fabric, "box", ["sleep", "60"])
        let pid = try commandPID(fabric, "box")
        let own = try ProcessPlan(["readlink", "/proc/\(pid)/ns/net"]).run(timeoutSeconds: 5).output
        let entered = try fabric.forge("exec", "box", "--", "readlink", "/proc/self/ns/net")
        #expect(entered.output == own, "\(entered.errors)")
        #expect(try fabric.forge("exec", "box", "--", "cat", "/etc/hosts").output.contains("box.lab"))
        if owner != .rootOnHost {
            let status = try fabric.forge("exec", "box", "--", "cat", "/proc/self/status").output
            #expect(status.contains("CapEff:\t0000000000000000"))
        }
        #expect(try fabric.forge("exec", "box", "--", "sh", "-c", "exit 5").status.code == 5)
        let unknown = try fabric.forge("exec", "nobody", "--", "true")
        #expect(unknown.status.code == 125)
        #expect(unknown.errors.contains("nobody"))

        let inside = try fabric.forge("unshare", "--", "sh", "-c", "id -u; readlink /proc/self/ns/user; pwd")
        let home = try fabric.run(["readlink", "/proc/self/ns/user"]).output
        #expect(inside.output.hasPrefix("0\n"), "\(inside.errors)")
        #expect(inside.output.hasSuffix("\(fabric.directory)\n"))
        #expect(inside.output.contains(home) == (owner == .rootOnHost))
        _ = child.pid
    }

    @Test(arguments: FabricFixture.availableOwners)
    func `serves on port 80 and sends pings without any capability`(owner: FabricFixture.Owner) throws {
        let fabric = try fabric(owner)
        let script = """
            import socket
            s = socket.socket(); s.bind(("127.0.0.1", 80)); s.listen()
            p = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP); p.settimeout(5)
            p.sendto(bytes([8, 0, 0, 0, 0, 0, 0, 1]), ("127.0.0.1", 0)); assert p.recv(100)[0] == 0
            print("both")
            """
        let result = try run(fabric, "python3", "-c", script)
        #expect(result.output == "both\n", "\(result.errors)")
    }

    @Test(arguments: FabricFixture.availableOwners)
    func `covers what etc resolv.conf leads to, be it a link, a link to nothing or nothing`(
        owner: FabricFixture.Owner
    ) throws {
        let fabric = try fabric(owner)
        let show = [
            "\(fabric.programs)/forge", "run", "--network", "lab", "--name", "box", "--", "cat",
            "/etc/resolv.conf", "/etc/hosts",
        ]
        // Each in mounts of its own, over an /etc that is the machine's but for this file.
        let cases = [
            "echo stub > etc/stub; ln -s stub etc/resolv.conf", "ln -s ../no/such/file etc/resolv.conf",
            "mknod etc/resolv.conf c 0 0",
        ]
        for (index, prepare) in cases.enumerated() {
            let layers = "\(fabric.directory)/layers\(index)"
            let made = try ProcessPlan([
                "sh", "-c", "mkdir -p \(layers)/etc \(layers)/work && cd \(layers) && \(prepare)",
            ])
            .run(timeoutSeconds: 5)
            try #require(made.status.code == 0, "\(made.errors)")
            var plan = fabric.plan(show)
            let options = "lowerdir=/etc,upperdir=\(layers)/etc,workdir=\(layers)/work"
            plan.steps.insert(
                contentsOf: [
                    .unshare([.mount]),
                    .mount(source: "overlay", target: "/etc", type: "overlay", flags: 0, data: options),
                ], at: 0)
            let result = try plan.run(timeoutSeconds: 30)
            #expect(result.status.code == 0, "\(prepare): \(result.errors)")
            #expect(result.output.contains("Written by forge."), "\(prepare)")
            #expect(result.output.contains("box.lab box"), "\(prepare)")
        }
    }

    @Test(arguments: FabricFixture.availableOwners)
    func `attaches what a runtime under unshare makes, and nothing of the host's`(owner: FabricFixture.Owner)
        throws
    {
        let fabric = try fabric(owner)
        var plan = fabric.plan(
            [
                "\(fabric.programs)/forge", "unshare", "--", "unshare", "--net", "sh", "-c",
                "echo $$; exec sleep 60",
            ])
        let pipe = try Pipe()
        plan.descriptors = [0, pipe.writer.rawValue, 2]
        let runtime = try plan.start()
        let reader = pipe.keepReader()
        let line = String(decoding: try reader.read(upTo: 100), as: UTF8.self)
        let pid = try #require(Int32(line.filter(\.isNumber)), "pid \(runtime.pid) said \(line)")
        let attached = try fabric.forge("attach", "--network", "lab", "--container", "c1", "--pid", "\(pid)")
        #expect(attached.status.code == 0, "\(attached.errors)")
        #expect(try fabric.forge("endpoint", "ls", "-q").output.split(separator: "\n").count == 1)
        #expect(try fabric.forge("detach", "--container", "c1").status.code == 0)

        func refusal(_ arguments: String...) throws -> String {
            let result = try fabric.run(
                ["\(fabric.programs)/forge", "attach", "--network", "lab", "--container", "c2"] + arguments)
            #expect(result.status.code == 125)
            #expect(result.errors.split(separator: "\n").count == 1)
            return result.errors
        }
        #expect(try refusal("--pid", "2147483647").contains("2147483647"))
        let file = try refusal("--netns", "/etc/passwd")
        #expect(file.contains("/etc/passwd") && file.contains("not a network namespace"), "\(file)")
        #expect(try refusal("--netns", "/no/such").contains("/no/such"))
        if owner == .rootOnHost {
            let own = try refusal("--pid", "\(try #require(fabric.processes).anchor)")
            #expect(own.contains("the fabric's own"), "\(own)")
        } else {
            // This test's own process is root's, on the host.
            #expect(try refusal("--pid", "\(LabSockets.ownPID)").contains("belongs to another user"))
        }
        _ = runtime.pid
    }

    // MARK: -

    /// Starts `forge run` and waits until its endpoint is there.
    private func start(_ fabric: FabricFixture, _ name: String, _ command: [String]) throws -> ChildProcess {
        var plan = fabric.plan(
            ["\(fabric.programs)/forge", "run", "--network", "lab", "--name", name, "--"] + command)
        plan.add(.newSession)
        var child = try plan.start()
        try child.waitUntilRunning()
        let there = try eventually(seconds: 20) {
            try fabric.forge("endpoint", "inspect", name).status.code == 0
        }
        try #require(there, "the endpoint did not come: \(fabric.log)")
        return child
    }

    /// The process that an endpoint was attached by.
    private func commandPID(_ fabric: FabricFixture, _ name: String) throws -> Int32 {
        let text = try fabric.forge("endpoint", "inspect", name).output
        let parts = text.split(separator: "/proc/")
        let digits = parts.dropFirst().first?.prefix { $0.isNumber }
        return try #require(digits.flatMap { Int32($0) }, "no namespace path in \(text)")
    }
}
