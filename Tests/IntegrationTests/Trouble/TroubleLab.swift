import LabSupport
import Namespaces
import Sys
import Testing

/// A command line of `forge` and what it must say on standard error.
struct Refusal: CustomTestStringConvertible {
    let arguments: [String]
    let message: String

    init(_ line: String, _ message: String) {
        arguments = line.split(separator: " ").map { $0 == "''" ? "" : String($0) }
        self.message = message
    }

    var testDescription: String { arguments.joined(separator: " ") }
}

extension FabricFixture {
    /// Runs `forge` with words that are separated by single spaces; '' is an empty one.
    func forge(line: String) throws -> ProgramResult {
        try run(["\(programs)/forge"] + Refusal(line, "").arguments)
    }

    /// Runs `forge`, which must do it.
    @discardableResult
    func succeed(_ line: String, sourceLocation: SourceLocation = #_sourceLocation) throws -> String {
        let result = try forge(line: line)
        #expect(
            result.status.code == 0 && result.errors.isEmpty, "\(line): \(result.errors)\(log)",
            sourceLocation: sourceLocation)
        return result.output
    }

    /// Runs `forge`, which must say no: exit code 125 and exactly this on one line.
    func refuse(_ refusal: Refusal, sourceLocation: SourceLocation = #_sourceLocation) throws {
        let result = try run(["\(programs)/forge"] + refusal.arguments)
        let words = refusal.arguments.joined(separator: " ")
        #expect(result.status.code == 125, "\(words)", sourceLocation: sourceLocation)
        #expect(result.errors == "forge: \(refusal.message)\n", "\(words)", sourceLocation: sourceLocation)
    }

    func refuse(_ line: String, _ message: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
        try refuse(Refusal(line, message), sourceLocation: sourceLocation)
    }

    func up(network: String, subnet: String = "10.77.0.0/24") throws {
        try up()
        try succeed("network create \(network) --subnet \(subnet)")
    }

    /// Runs a program in the fabric's own network namespace, as root there.
    @discardableResult
    func inside(_ arguments: String...) throws -> ProgramResult {
        let manager = try #require(processes).manager
        return try ProcessPlan(["nsenter", "-n", "-t", "\(manager)"] + arguments).run(timeoutSeconds: 10)
    }

    /// What the kernel holds of endpoints: links and addresses that policy knows.
    func tracesOfEndpoints() throws -> String {
        let links = try inside("ip", "-o", "link").output.split(separator: "\n").filter {
            $0.contains(": fv")
        }
        let map = try inside("nft", "list", "map", "inet", "forge", "identity4").output
        return links.joined() + (map.contains("elements") ? map : "")
    }

    /// The process id of the fabric's one proxy.
    func proxy() throws -> Int32 {
        let all = try ProcessPlan(["pgrep", "-x", "forged-proxy"]).run(timeoutSeconds: 5).output
        let manager = try #require(processes).manager
        func namespace(_ pid: Int32) throws -> String {
            try ProcessPlan(["readlink", "/proc/\(pid)/ns/net"]).run(timeoutSeconds: 5).output
        }
        let own = try namespace(manager)
        let proxies = try all.split(whereSeparator: \.isWhitespace).compactMap { Int32($0) }.filter {
            try namespace($0) == own
        }
        #expect(proxies.count == 1)
        return try #require(proxies.first)
    }

    /// Writes a file of the owner's.
    func write(_ name: String, _ text: String) throws -> String {
        let path = "\(directory)/\(name)"
        try Descriptor.open(path, 0o1101, mode: 0o644).write(Array(text.utf8))
        return path
    }
}

/// Containers as a runtime of the fabric's owner makes them: network namespaces, in each a process that
/// sleeps.
struct Containers: ~Copyable {
    let pids: [Int32]
    private let runtime: ChildProcess

    /// Starts the runtime within the fabric's user namespace.
    init(_ fabric: FabricFixture, _ count: Int) throws {
        let words = try Pipe()
        let one = "unshare -n sh -c 'echo $$; exec sleep 600'"
        let all = Array(repeating: "\(one) &", count: count).joined(separator: " ")
        var plan = fabric.plan(["\(fabric.programs)/forge", "unshare", "--", "sh", "-c", "\(all) wait"])
        plan.descriptors = [0, words.writer.rawValue, 2]
        let runtime = try plan.start()
        let pids = try Self.read(words.keepReader(), count)
        try #require(pids.count == count, "the containers did not start: \(fabric.log)")
        self.runtime = runtime
        self.pids = pids
    }

    /// The first numbers that are said, each on a line.
    private static func read(_ reader: borrowing Descriptor, _ count: Int) throws -> [Int32] {
        var text: [UInt8] = []
        while text.count(where: { $0 == UInt8(ascii: "\n") }) < count {
            guard try waitReadable([reader.rawValue], milliseconds: 10_000)[0] else { break }
            let part = try reader.read(upTo: 4096)
            if part.isEmpty { break }
            text += part
        }
        return String(decoding: text, as: UTF8.self).split(separator: "\n").compactMap { Int32($0) }
    }

    deinit { for pid in pids { ProcessSignal.send(9, to: pid) } }

    /// Runs a program in a container's network.
    @discardableResult
    func run(_ index: Int, _ arguments: String...) throws -> ProgramResult {
        try plan(index, arguments).run(timeoutSeconds: 10)
    }

    /// A program in a container's network, to be started.
    func plan(_ index: Int, _ arguments: [String]) -> ProcessPlan {
        ProcessPlan(["nsenter", "-n", "-t", "\(pids[index])"] + arguments)
    }

    /// Names of the interfaces in a container.
    func interfaces(_ index: Int) throws -> [String] {
        try run(index, "ip", "-o", "link").output.split(separator: "\n").map { line in
            String(line.split(separator: " ")[1].prefix { $0 != "@" && $0 != ":" })
        }
    }

    func end(_ index: Int) { ProcessSignal.send(9, to: pids[index]) }
}

/// Owners whose fabrics differ in what they may do, of those that can be tested here.
let owners = FabricFixture.availableOwners

/// One of them, for what does not depend on it: preferably the one that may do least.
let anyOwner = owners.suffix(1)
