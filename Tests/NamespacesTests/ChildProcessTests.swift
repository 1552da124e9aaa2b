import LabSupport
import Namespaces
import Sys
import Testing

@Suite struct ChildProcessTests {
    @Test func `runs a program and gives its output, errors and exit code`() throws {
        let result = try ProcessPlan(["sh", "-c", "echo out; echo err >&2; exit 7"]).run(timeoutSeconds: 10)
        #expect(result.output == "out\n")
        #expect(result.errors == "err\n")
        #expect(result.status == ExitStatus(code: 7))
        #expect(!result.timedOut)
    }

    @Test func `tells a death by signal as shells do`() throws {
        let result = try ProcessPlan(["sh", "-c", "kill -9 $$"]).run(timeoutSeconds: 10)
        #expect(result.status == ExitStatus(code: 137, signal: 9))
    }

    @Test func `ends a program that takes too long`() throws {
        let result = try ProcessPlan(["sleep", "60"]).run(timeoutSeconds: 0.2)
        #expect(result.timedOut)
        #expect(result.status.signal == 9)
    }

    @Test func `says that a program does not exist or may not be run`() throws {
        let missing = try #require(throws: NamespaceError.self) {
            try ProcessPlan(["no-such-program"]).run(timeoutSeconds: 1)
        }
        #expect(missing.cause?.errno == .noEntry)
        let forbidden = try #require(throws: NamespaceError.self) {
            try ProcessPlan(["/etc/passwd"]).run(timeoutSeconds: 1)
        }
        #expect(forbidden.cause?.errno == .access)
    }

    @Test func `gives the program the environment and the descriptors of the plan, and no others`() throws {
        let secret = try Descriptor.open("/etc/passwd", 0)
        let inherited = secret.rawValue
        var plan = ProcessPlan(["sh", "-c", "echo $COLOUR $HOME; ls /proc/self/fd | tr '\\n' ' '"])
        plan.environment = ["COLOUR=blue", "PATH=/usr/bin:/bin"]
        let result = try plan.run(timeoutSeconds: 10)
        // ls has the directory open as well.
        #expect(result.output == "blue\n0 1 2 3 ", "descriptor \(inherited) was open in the parent")
    }

    @Test func `waits at a pause until it is told to go on`() throws {
        var plan = ProcessPlan(["true"])
        plan.add(.pause)
        var child = try plan.start()
        try child.waitUntilPaused()
        #expect(try child.poll() == nil)
        try child.resume()
        try child.waitUntilRunning()
        #expect(try child.wait().code == 0)
    }

    @Test func `names the step that failed, and does not run the program`() throws {
        var plan = ProcessPlan(["true"])
        plan.add(.changeDirectory("/no/such/place"))
        let error = try #require(throws: NamespaceError.self) { try plan.run(timeoutSeconds: 5) }
        #expect("\(error)" == "change directory to /no/such/place: No such file or directory")
    }

    @Test func `goes on after a failed step that is optional, and tells`() throws {
        var plan = ProcessPlan(["true"])
        plan.add(.changeDirectory("/no/such/place"), optional: true)
        var child = try plan.start()
        try child.waitUntilRunning()
        #expect(child.skipped.count == 1)
        #expect(try child.wait().code == 0)
    }

    @Test func `ends a child that nobody waits for any more`() throws {
        let pid: Int32
        do {
            let child = try ProcessPlan(["sleep", "60"]).start()
            pid = child.pid
        }
        #expect(throws: SystemError.self) { try readFile("/proc/\(pid)/status") }
    }

    @Test func `leaves no descriptor open`() throws {
        func count() throws -> Int {
            try ProcessPlan(["sh", "-c", "ls /proc/$PPID/fd | wc -l"]).run(timeoutSeconds: 10).output
                .split(separator: "\n").first.flatMap { Int($0.filter(\.isNumber)) } ?? -1
        }
        // Other tests of this process open and close at the same time: many children, few descriptors.
        let before = try count()
        for _ in 0..<50 { _ = try ProcessPlan(["true"]).run(timeoutSeconds: 10) }
        #expect(try count() - before < 40)
    }
}
