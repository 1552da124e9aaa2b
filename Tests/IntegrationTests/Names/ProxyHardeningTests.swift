import LabSupport
import Namespaces
import Sys
import Testing

/// What containers and strangers can do to the proxy of a real fabric, and what it could do for them.
@Suite(.serialized, .enabled(if: Lab.isAvailable(), "needs a lab")) struct ProxyHardeningTests {
    /// Endpoints `e0` (10.77.0.10) and `e1` (10.77.0.11), each of which may ask for its own name.
    private func lab(_ fabric: FabricFixture) throws -> Containers {
        try fabric.up()
        try fabric.succeed("network create shop --subnet 10.77.0.0/24 --dns")
        let containers = try Containers(fabric, 2)
        for index in 0..<2 {
            try fabric.succeed(
                "attach --network shop --container c\(index) --pid \(containers.pids[index]) --name e\(index) "
                    + "--ip 10.77.0.1\(index)")
        }
        return containers
    }

    /// Fields of proc_pid_status(5), by name.
    private func status(_ path: String) throws -> [String: String] {
        let lines = try readFile(path + "/status").split(separator: "\n").map { line in
            line.split(separator: ":", maxSplits: 1).map { $0.trimmingPrefix { $0 == "\t" } }
        }
        return Dictionary(
            lines.filter { $0.count == 2 }.map { (String($0[0]), String($0[1])) }, uniquingKeysWith: { $1 })
    }

    @Test(arguments: owners)
    func `no thread of the proxy has more of the system than it needs`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        let containers = try lab(fabric)
        let answer = try containers.run(0, "dig", "@10.77.0.1", "+tries=1", "+time=5", "+short", "e0")
        #expect(answer.output == "10.77.0.10\n", "\(fabric.log)")
        let proxy = "/proc/\(try fabric.proxy())"
        let listed = try ProcessPlan(["ls", proxy + "/task"]).run(timeoutSeconds: 5).output
        let threads = listed.split(separator: "\n")
        // The two that serve, and the one that waits for the end.
        #expect(threads.count == 3)
        for thread in threads {
            let fields = try status(proxy + "/task/\(thread)")
            // SECCOMP_MODE_FILTER
            #expect(fields["Seccomp"] == "2" && fields["NoNewPrivs"] == "1", "\(fields)")
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                #expect(fields[set] == "0000000000000000")
            }
        }
        let limits = try readFile(proxy + "/limits").split(separator: "\n")
        for name in ["Max core file size", "Max processes"] {
            let line = try #require(limits.first { $0.hasPrefix(name) })
            #expect(line.dropFirst(name.count).split(separator: " ").prefix(2) == ["0", "0"], "\(line)")
        }
    }
}
