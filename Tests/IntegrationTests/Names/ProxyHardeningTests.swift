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

    @Test func `there is a proxy where nobody cannot be had`() throws {
        let fabric = try FabricFixture(.rootOnHost)
        // As in a container of a rootless runtime: root, and the only user there is.
        let result = try fabric.run([
            "unshare", "--user", "--map-root-user", "--net", "--", "sh", "-ec",
            """
            forge up --host >&2
            trap 'forge down >&2' EXIT
            forge network create shop --dns >&2
            for i in $(seq 200); do forge status | grep -q ^proxy && break; sleep 0.05; done
            forge status
            """,
        ])
        #expect(result.output.contains("\nproxy "), "\(result.output)\(result.errors)\(fabric.log)")
    }

    /// Sends queries without end, so many with each call: more than one are given to the kernel as one piece, which it
    /// cuts (UDP_SEGMENT of udp(7)).
    private static let flood = """
        import os, socket, sys
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.connect(("10.77.0.1", 53))
        count, name = int(sys.argv[1]), bytes.fromhex(sys.argv[2])
        query = b"\\1\\2\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0" + name + b"\\0\\1\\0\\1"
        if count > 1: s.setsockopt(17, 103, len(query))
        os.write(1, b"begun\\n")
        while True:
            try: s.send(query * count)
            except OSError as error:
                # EAGAIN, ENOBUFS, ECONNREFUSED
                if error.errno not in (11, 105, 111): raise
        """

    /// Asks for a name a hundred times, and says how often it was told.
    private static let asker = """
        import socket, struct, time
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.connect(("10.77.0.1", 53))
        s.settimeout(0.15)
        told = 0
        for number in range(100):
            query = struct.pack(">H", number) + b"\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\2e0\\0\\0\\1\\0\\1"
            s.send(query)
            try:
                while s.recv(512)[:2] != query[:2]: pass
                told += 1
            except OSError: pass
            time.sleep(0.002)
        print(told)
        """

    /// - Parameter name: of 1 byte, so that 64 queries are no longer than one may be, and of 31.
    @Test(arguments: ["00", "1d" + String(repeating: "61", count: 29) + "00"])
    func `a flood that the kernel cuts into queries takes no more from others than one sent one by one`(
        name: String
    ) throws {
        let fabric = try FabricFixture(try #require(anyOwner.first))
        let containers = try lab(fabric)
        let asker = try fabric.write("asker.py", Self.asker)
        let flood = try fabric.write("flood.py", Self.flood)
        func told() throws -> Int {
            let output = try containers.plan(0, ["python3", asker]).run(timeoutSeconds: 60).output
            return try #require(Int(output.dropLast()))
        }
        #expect(try told() >= 99)
        func toldDuringFlood(_ count: Int) throws -> Int {
            let words = try Pipe()
            var plan = containers.plan(1, ["python3", flood, "\(count)", name])
            plan.descriptors = [0, words.writer.rawValue, 2]
            let child = try plan.start()
            let reader = words.keepReader()
            let begun = String(decoding: try reader.read(upTo: 100), as: UTF8.self)
            try #require(begun == "begun\n", "\(begun)")
            let told = try told()
            // It goes on still: the end of its words would be its own.
            #expect(try !waitReadable([reader.rawValue], milliseconds: 0)[0])
            withExtendedLifetime(child.pid) {}
            return told
        }
        // In turns, since others work on the machine.
        var (single, pieces) = (0, 0)
        for _ in 0..<2 {
            single += try toldDuringFlood(1)
            pieces += try toldDuringFlood(64)
        }
        #expect(pieces >= single - 70, "of 200: \(pieces) and \(single)")
    }
}
