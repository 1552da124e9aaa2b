import LabSupport
import Namespaces
import Sys
import Testing

@Suite(.serialized, .enabled(if: Lab.isAvailable(), "needs a lab")) struct FabricLifecycleTests {
    /// A number that is nobody's.
    private static let stranger: UInt32 = 54321

    @Test(arguments: FabricFixture.Owner.allCases)
    func `this machine can test every kind of fabric`(owner: FabricFixture.Owner) {
        // Says so, or fails in CI, where one is missing; the tests below run with those that are there.
        _ = FabricFixture.available(owner)
    }

    @Test(arguments: FabricFixture.availableOwners)
    func `starts once, answers, and leaves nothing when it is stopped`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        let up = owner == .rootOnHost ? ["up", "--host"] : ["up"]
        let started = ContinuousClock.now
        let first = try fabric.run(["\(fabric.programs)/forge"] + up)
        print("\(owner): forge up took \(started.duration(to: .now))")
        #expect(first.output == "fabric started\n", "\(first.errors) \(fabric.log)")
        #expect(try fabric.run(["\(fabric.programs)/forge"] + up).output == "fabric is running\n")
        #expect(try fabric.forge("status").status.code == 0)
        let processes = try #require(fabric.processes)

        #expect(try fabric.forge("down").output == "fabric stopped\n")
        #expect(throws: SystemError.self) { _ = try Descriptor.open("/proc/\(processes.anchor)/ns/net", 0) }
        #expect(throws: SystemError.self) { _ = try Descriptor.open("/proc/\(processes.manager)/ns/net", 0) }
        for path in [fabric.paths.socket, fabric.paths.record] {
            #expect(throws: SystemError.self) { _ = try readFile(path) }
        }
        let again = try fabric.forge("down")
        #expect(again.output == "no fabric is running\n")
        #expect(again.status.code == 0)
    }

    @Test(arguments: FabricFixture.availableOwners)
    func `refuses a second forged on the same state, in one line`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        try fabric.up()
        let arguments = owner == .rootOnHost ? ["--host"] : []
        let second = try fabric.run(["\(fabric.programs)/forged"] + arguments)
        #expect(second.status.code == 1)
        let holder = try #require(fabric.processes).anchor
        #expect(
            second.errors
                == "forged: another forged (process \(holder)) already serves \(fabric.paths.stateDirectory)\n"
        )
        #expect(try fabric.forge("status").status.code == 0)
    }

    @Test(arguments: FabricFixture.availableOwners.filter { $0 != .rootOnHost })
    func `answers again at once after its manager is killed`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        try fabric.up()
        try Self.waitForAnswer(fabric)
        var times: [Double] = []
        for _ in 0..<3 {
            let before = try #require(fabric.processes)
            let start = ContinuousClock.now
            ProcessSignal.send(9, to: before.manager)
            // Connections made now wait in the line of the anchor's socket.
            try Self.waitForAnswer(fabric)
            times.append(start.duration(to: .now) / .milliseconds(1))
            let after = try #require(fabric.processes)
            #expect(after.anchor == before.anchor)
            #expect(after.manager != before.manager)
            // Long enough to count as having worked.
            pauseThread(milliseconds: 1100)
        }
        print("\(owner): after kill -9 the manager answered again in \(times.map { $0.rounded() }) ms")
        // The bar of an optimised build is 200 ms; this may be a debug build on a busy machine.
        #expect(times.allSatisfy { $0 < 3000 })
    }

    @Test(arguments: FabricFixture.availableOwners.filter { $0 != .rootOnHost })
    func `ends with its anchor, and starts again from what that leaves`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        try fabric.up()
        let processes = try #require(fabric.processes)
        ProcessSignal.send(9, to: processes.anchor)
        #expect(
            eventually { (try? Descriptor.open("/proc/\(processes.manager)/ns/net", 0)) == nil },
            "the manager lived on")
        try fabric.up()
        #expect(try fabric.forge("status").status.code == 0)
    }

    @Test(
        .enabled(if: IDMaps.canBecome(uid: stranger, gid: stranger), "there is nobody else"),
        arguments: FabricFixture.availableOwners)
    func `serves its owner and root, and nobody else`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        try fabric.up()
        // Past the file modes, which keep strangers out already.
        for path in [fabric.directory, fabric.paths.runtimeDirectory, fabric.paths.socket] {
            #expect(try ProcessPlan(["chmod", "0777", path]).run(timeoutSeconds: 5).status.code == 0)
        }
        #expect(try Self.answers(fabric, asUser: nil))
        #expect(try Self.answers(fabric, asUser: 0))
        #expect(try Self.answers(fabric, asUser: Self.stranger) == false)
    }

    @Test(arguments: FabricFixture.availableOwners)
    func `says in one line why it cannot start`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        func failure(_ extra: [String], _ arguments: [String] = []) throws -> String {
            let up =
                ["\(fabric.programs)/forge", "up"] + (owner == .rootOnHost ? ["--host"] : []) + arguments
            let result = try fabric.plan(up, environment: extra).run(timeoutSeconds: 30)
            #expect(result.status.code == 125)
            #expect(result.errors.hasPrefix("forge: "))
            #expect(result.errors.split(separator: "\n").count == 1, "\(result.errors)")
            return result.errors
        }
        #expect(try failure(["FORGE_STATE_DIR=/proc/nowhere"]).contains("/proc/nowhere"))
        let long = fabric.directory + "/" + String(repeating: "x", count: 100)
        #expect(try failure(["FORGE_RUNTIME_DIR=\(long)"]).contains("longer than 107 bytes"))
        if owner == .userWithSubordinates {
            let message = try failure(["PATH=\(fabric.programs)"])
            #expect(message.contains("newuidmap is not installed"))
            #expect(message.contains("uidmap (Debian, Ubuntu)"))
            #expect(message.contains("--no-subids"))
        }
        if owner == .userAlone {
            let host = try fabric.forge("up", "--host")
            #expect(host.status.code == 125)
            #expect(host.errors.contains("--host needs CAP_NET_ADMIN"))
        }
    }

    @Test(.enabled(if: FabricFixture.missing(.userAlone) == nil))
    func `names the setting that forbids namespaces`() throws {
        let fabric = try FabricFixture(.userAlone)
        for setting in ["max_user_namespaces", "max_net_namespaces"] {
            // Within a user namespace the limit is that namespace's own.
            let script = "echo 0 > /proc/sys/user/\(setting) && exec \(fabric.programs)/forge up"
            let result = try fabric.run(["unshare", "--user", "--map-root-user", "sh", "-c", script])
            #expect(result.status.code == 125)
            #expect(result.errors.contains("sysctl user.\(setting) is 0"), "\(result.errors)")
        }
    }

    @Test(.enabled(if: FabricFixture.missing(.userWithSubordinates) == nil))
    func `maps the own id alone with --no-subids`() throws {
        let fabric = try FabricFixture(.userWithSubordinates)
        #expect(try fabric.forge("up", "--no-subids").status.code == 0)
        let map = try fabric.forge("unshare", "--", "cat", "/proc/self/uid_map").output
        #expect(map.split(separator: "\n").count == 1)
        #expect(try fabric.forge("down").status.code == 0)
        try fabric.up()
        let full = try fabric.forge("unshare", "--", "cat", "/proc/self/uid_map").output
        #expect(full.split(separator: "\n").count > 1)
    }

    // MARK: -

    private static func waitForAnswer(_ fabric: FabricFixture) throws {
        let socket = try UnixSocket.connect(to: fabric.paths.socket)
        try socket.write(HTTP2Greeting.client)
        _ = try LabSockets.receive(socket, timeoutSeconds: 10)
    }

    /// Whether the API greets a user who connects; nil is the owner.
    private static func answers(_ fabric: FabricFixture, asUser uid: UInt32?) throws -> Bool {
        let script = """
            import socket, sys
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(10)
            s.connect(sys.argv[1])
            try:
                s.sendall(bytes.fromhex(sys.argv[2]))
                sys.exit(0 if s.recv(9) else 3)
            except (BrokenPipeError, ConnectionResetError):
                sys.exit(3)
            """
        let greeting = HTTP2Greeting.client.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }
            .joined()
        let command = ["python3", "-c", script, fabric.paths.socket, greeting]
        var plan = uid == nil ? fabric.plan(command) : ProcessPlan(command)
        if let uid, uid != 0 { plan.add(.user(uid: uid, gid: uid)) }
        let result = try plan.run(timeoutSeconds: 20)
        #expect([0, 3].contains(result.status.code), "\(result.errors)")
        return result.status.code == 0
    }
}

/// What an HTTP/2 client says first: RFC 9113, sections 3.4 and 6.5.
enum HTTP2Greeting {
    static let client = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + [0, 0, 0, 4, 0, 0, 0, 0, 0]
}

/// Asks again and again until it is so, at most some seconds.
func eventually(seconds: Double = 5, _ condition: () throws -> Bool) rethrows -> Bool {
    let deadline = Deadline(seconds: seconds)
    while !deadline.hasPassed {
        if try condition() { return true }
        pauseThread(milliseconds: 10)
    }
    return try condition()
}
