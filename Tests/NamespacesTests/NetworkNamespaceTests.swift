import LabSupport
import Namespaces
import Sys
import Testing

@Suite(.enabled(if: Lab.isAvailable(), "needs a lab")) struct NetworkNamespaceTests {
    @Test func `makes a network namespace, works in it and comes back`() throws {
        let home = try HomeNamespace()
        let start = try NetworkNamespace.current().identity
        let made = try home.makeNamespace()
        #expect(made.identity != start)
        let inside = try home.inside(made.descriptor) { try NetworkNamespace.current().identity }
        #expect(inside == made.identity)
        #expect(try NetworkNamespace.current().identity == start)
        #expect(try home.inside(made.descriptor) { 42 } == 42)
    }

    @Test func `comes back after an error too`() throws {
        struct Trouble: Error {}
        let home = try HomeNamespace()
        let made = try home.makeNamespace()
        #expect(throws: Trouble.self) { try home.inside(made.descriptor) { throw Trouble() } }
        let another = try home.makeNamespace()
        #expect(another.identity != made.identity)
        let file = try Descriptor.open("/dev/null", 0)
        #expect(throws: NamespaceError.self) { try home.inside(file) { 1 } }
        #expect(
            try home.inside(made.descriptor) { try NetworkNamespace.current().identity } == made.identity)
    }

    @Test func `sockets opened inside stay inside`() throws {
        let lab = try LabNamespace()
        let server = try lab.inside { try LabSockets.bind(.tcp, "127.0.0.1", port: 0) }
        let port = try LabSockets.port(of: server)
        #expect(throws: SystemError.self) { _ = try LabSockets.connect(.tcp, "127.0.0.1", port: port) }
        let client = try lab.inside { try LabSockets.connect(.tcp, "127.0.0.1", port: port) }
        let connection = try LabSockets.accept(server)
        try LabSockets.send(client, "hello")
        #expect(try LabSockets.receive(connection) == "hello")
        #expect(try lab.inside { try LabSockets.connect(.udp, "::1", port: 9) }.rawValue >= 0)
    }

    @Test func `many threads go in and out at once`() async throws {
        let home = try HomeNamespace()
        let first = try LabNamespace()
        let second = try LabNamespace()
        let paths = [first.path, second.path]
        let identities = [first.namespace.identity, second.namespace.identity]
        await withTaskGroup(of: Bool.self) { group in
            for index in 0..<200 {
                group.addTask {
                    guard let namespace = try? NetworkNamespace.open(path: paths[index % 2]) else {
                        return false
                    }
                    return
                        (try? home.inside(namespace.descriptor) { try NetworkNamespace.current().identity })
                        == identities[index % 2]
                }
            }
            for await right in group { #expect(right) }
        }
        _ = (first.path, second.path)
    }

    @Test func `opens a namespace by path and by process`() throws {
        let lab = try LabNamespace()
        #expect(try NetworkNamespace.open(path: lab.path).identity == lab.namespace.identity)
        var plan = lab.plan(["sleep", "60"])
        plan.add(.pause)
        var child = try plan.start()
        try child.waitUntilPaused()
        #expect(try NetworkNamespace.open(pid: child.pid).identity == lab.namespace.identity)
    }

    @Test(arguments: [
        "/etc/passwd", "/", "/dev/null", "/proc/self/ns/mnt", "/proc/self/ns/user", "/no/such/file",
    ])
    func `refuses a path that is not a network namespace`(path: String) throws {
        let error = try #require(throws: NamespaceError.self) { _ = try NetworkNamespace.open(path: path) }
        #expect(error.code == .notANetworkNamespace)
        #expect("\(error)".contains(path))
    }

    @Test func `refuses the namespace that this process is in`() throws {
        let error = try #require(throws: NamespaceError.self) {
            _ = try NetworkNamespace.open(path: "/proc/self/ns/net")
        }
        #expect(error.code == .own)
    }

    @Test func `says that a process has ended`() throws {
        let child = try ProcessPlan(["true"]).run(timeoutSeconds: 5)
        #expect(child.status.code == 0)
        // A number that no process can have.
        for pid in [Int32.max, 0, -4] {
            let error = try #require(throws: NamespaceError.self) { _ = try NetworkNamespace.open(pid: pid) }
            #expect(error.code == .gone)
            #expect("\(error)".contains("\(pid)"))
        }
    }
}
