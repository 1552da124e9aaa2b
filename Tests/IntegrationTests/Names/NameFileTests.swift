import LabSupport
import Model
import Namespaces
import Sys
import Testing

/// The `resolv.conf` and `hosts` of endpoints: kept for container runtimes, and what `forge exec` shows.
@Suite(.enabled(if: Lab.isAvailable(), "needs a lab")) struct NameFileTests {
    private static let resolver = """
        # Written by forge.
        nameserver 10.77.0.1
        nameserver fd77::1
        search shop.forge.internal

        """
    private static let hosts = """
        127.0.0.1	localhost
        ::1	localhost ip6-localhost ip6-loopback
        10.77.0.10	web.shop web
        fd77::10	web.shop web

        """
    private static let attach = "attach --network shop --ip 10.77.0.10 --ip fd77::10 --name web"

    /// A fabric with a network of names.
    private func fabric(_ owner: FabricFixture.Owner) throws -> FabricFixture {
        let fabric = try FabricFixture(owner)
        try fabric.up()
        try fabric.succeed("network create shop --subnet 10.77.0.0/24 --subnet fd77::/64 --dns")
        return fabric
    }

    private func value(_ key: String, in json: String) -> String? {
        json.split(separator: "\"\(key)\": \"").dropFirst().first.map { String($0.prefix { $0 != "\"" }) }
    }

    /// The files of an endpoint that was attached with `--format json`.
    private func files(_ json: String) throws -> EndpointFiles {
        let path = try #require(value("resolvConfPath", in: json), "\(json)")
        let files = EndpointFiles(directory: path.split(separator: "/").dropLast().map { "/" + $0 }.joined())
        #expect(value("hostsPath", in: json) == files.hosts)
        return files
    }

    private func stat(_ format: String, _ path: String) throws -> String {
        try ProcessPlan(["stat", "-c", format, path]).run(timeoutSeconds: 5).output
    }

    @Test(arguments: owners)
    func `an attach names files that a container can be shown, which go with the endpoint`(
        owner: FabricFixture.Owner
    ) throws {
        let fabric = try fabric(owner)
        let containers = try Containers(fabric, 2)
        let line = "\(Self.attach) --container c0 --pid \(containers.pids[0]) --format json"
        let files = try files(try fabric.succeed(line))
        #expect(try readFile(files.resolvConf) == Self.resolver)
        #expect(try readFile(files.hosts) == Self.hosts)
        #expect(entries(of: files.directory).sorted() == ["hosts", "resolv.conf"])
        let uid = try fabric.run(["id", "-u"]).output.filter(\.isNumber)
        // Shown to any user of a container; found by the owner alone.
        for path in [files.hosts, files.resolvConf] { #expect(try stat("%a %u", path) == "644 \(uid)\n") }
        #expect(try stat("%a %u", files.directory) == "700 \(uid)\n")
        #expect(try fabric.succeed("endpoint inspect web").contains("\"\(files.resolvConf)\""))
        // Again, which changes nothing.
        let inode = try stat("%i", files.resolvConf)
        try fabric.succeed(line)
        #expect(try stat("%i", files.resolvConf) == inode)

        try fabric.succeed("network create plain --subnet 10.78.0.0/24")
        let plain = try fabric.succeed(
            "attach --network plain --container c1 --pid \(containers.pids[1]) --format json")
        #expect(!plain.contains("resolvConfPath") && !plain.contains("hostsPath"))
        #expect(entries(of: fabric.paths.endpointFiles).count == 1)

        try fabric.succeed("detach --container c0")
        #expect(entries(of: fabric.paths.endpointFiles) == [])
        try fabric.succeed(line)
        containers.end(0)
        #expect(eventually(seconds: 10) { entries(of: fabric.paths.endpointFiles) == [] })
        try fabric.succeed("down")
        #expect(!entries(of: fabric.paths.runtimeDirectory).contains("endpoints"))
    }

    @Test(arguments: owners)
    func `files outlive the manager, and the next one mends what was done to them`(
        owner: FabricFixture.Owner
    ) throws {
        let fabric = try fabric(owner)
        let containers = try Containers(fabric, 2)
        let kept = try files(
            try fabric.succeed("\(Self.attach) --container c0 --pid \(containers.pids[0]) --format json"))
        let harmed = try files(
            try fabric.succeed(
                "attach --network shop --container c1 --pid \(containers.pids[1]) --name other --format json")
        )
        let inode = try stat("%i", kept.resolvConf)
        let stranger = "\(fabric.paths.endpointFiles)/stranger"
        let script =
            "rm \(harmed.hosts); echo evil > \(harmed.resolvConf); mkdir \(stranger); touch \(stranger)/x"
        #expect(try fabric.run(["sh", "-c", script]).status.code == 0)

        let killed = try #require(fabric.processes).manager
        ProcessSignal.send(9, to: killed)
        #expect(try readFile(kept.resolvConf) == Self.resolver)
        if owner == .rootOnHost {
            #expect(eventually(seconds: 10) { fabric.processes == nil })
            try fabric.up()
        }
        #expect(eventually(seconds: 10) { fabric.processes.map { $0.manager != killed } ?? false })
        try fabric.succeed("endpoint ls")
        #expect(try stat("%i", kept.resolvConf) == inode)
        #expect(try readFile(harmed.resolvConf) == Self.resolver)
        #expect(try readFile(harmed.hosts).contains("other.shop other\n"))
        #expect(entries(of: fabric.paths.endpointFiles).count == 2)
    }

    @Test(arguments: owners)
    func `an endpoint whose files cannot be written is not attached`(owner: FabricFixture.Owner) throws {
        let fabric = try fabric(owner)
        let containers = try Containers(fabric, 1)
        let place = try fabric.write("run/endpoints", "in the way")
        let line = "\(Self.attach) --container c0 --pid \(containers.pids[0])"
        let refused = try fabric.forge(line: line)
        #expect(refused.status.code == 125 && refused.errors.contains("\(place)/"), "\(refused.errors)")
        #expect(try fabric.succeed("endpoint ls -q") == "")
        #expect(try fabric.tracesOfEndpoints() == "")
        #expect(try fabric.run(["rm", place]).status.code == 0)
        try fabric.succeed(line)
    }

    // MARK: exec

    /// What a command sees, and that names are answered where it is.
    private func expectNames(_ fabric: FabricFixture, sourceLocation: SourceLocation = #_sourceLocation)
        throws
    {
        let files = try fabric.forge("exec", "web", "--", "cat", "/etc/resolv.conf", "/etc/hosts")
        #expect(
            files.output == Self.resolver + Self.hosts, "\(files.errors)", sourceLocation: sourceLocation)
        let name = "web.shop.forge.internal"
        let asked = try fabric.forge("exec", "web", "--", "getent", "ahostsv4", name)
        #expect(asked.output.hasPrefix("10.77.0.10 "), "\(asked.errors)", sourceLocation: sourceLocation)
        // Nothing is left of it, and nobody else has seen it.
        #expect(entries(of: fabric.paths.commandFiles) == [], sourceLocation: sourceLocation)
        #expect(try !readFile("/etc/hosts").contains("web.shop"), sourceLocation: sourceLocation)
    }

    @Test(arguments: owners)
    func `exec has the endpoint's names where a process without mounts of its own was attached`(
        owner: FabricFixture.Owner
    ) throws {
        let fabric = try fabric(owner)
        let containers = try Containers(fabric, 1)
        try fabric.succeed("\(Self.attach) --container c0 --pid \(containers.pids[0])")
        try expectNames(fabric)
        let place = try fabric.forge("exec", "web", "--", "sh", "-c", "pwd; readlink /proc/self/ns/net")
        let network = try ProcessPlan(["readlink", "/proc/\(containers.pids[0])/ns/net"]).run(
            timeoutSeconds: 5)
        #expect(place.output == "\(fabric.directory)\n\(network.output)")
    }

    @Test(arguments: owners)
    func `exec has the endpoint's names where a path was attached, which the fabric alone may see`(
        owner: FabricFixture.Owner
    ) throws {
        let fabric = try fabric(owner)
        let path = try fabric.write("ns", "")
        let made = try fabric.forge("unshare", "--", "unshare", "--net=\(path)", "true")
        try #require(made.status.code == 0, "\(made.errors)")
        defer { if owner == .rootOnHost { _ = try? fabric.run(["umount", path]) } }
        try fabric.succeed("\(Self.attach) --container c0 --netns \(path)")
        try expectNames(fabric)
        // Without a server of names the C library does not wait for one.
        try fabric.succeed("detach --container c0")
        try fabric.succeed("network create plain --subnet 10.78.0.0/24")
        try fabric.succeed("attach --network plain --container c0 --netns \(path) --name web")
        let plain = try fabric.forge("exec", "web", "--", "cat", "/etc/resolv.conf")
        #expect(plain.output == "# Written by forge. This network has no name server.\n", "\(plain.errors)")
    }

    @Test(arguments: owners)
    func `exec sees a container's own files, among them those that its runtime has mounted`(
        owner: FabricFixture.Owner
    ) throws {
        let fabric = try fabric(owner)
        let own = try fabric.write("own", "# the container's\n")
        let words = try Pipe()
        let script = "mount --bind \(own) /etc/resolv.conf; echo $$; exec sleep 600"
        var plan = fabric.plan(
            ["\(fabric.programs)/forge", "unshare", "--", "unshare", "-n", "-m", "sh", "-c", script])
        plan.descriptors = [0, words.writer.rawValue, 2]
        let runtime = try plan.start()
        let line = String(decoding: try words.keepReader().read(upTo: 100), as: UTF8.self)
        let pid = try #require(Int32(line.filter(\.isNumber)), "pid \(runtime.pid) said \(line)")
        let files = try files(
            try fabric.succeed("\(Self.attach) --container c0 --pid \(pid) --format json"))
        let show = ["exec", "web", "--", "cat", "/etc/resolv.conf"]
        func shown() throws -> String { try fabric.run(["\(fabric.programs)/forge"] + show).output }
        #expect(try shown() == "# the container's\n")

        // As a runtime does.
        let mount = [
            "nsenter", "-m", "-t", "\(pid)", "mount", "--bind", files.resolvConf, "/etc/resolv.conf",
        ]
        let mounted = try ProcessPlan(mount).run(timeoutSeconds: 5)
        try #require(mounted.status.code == 0, "\(mounted.errors)")
        #expect(try shown() == Self.resolver)
        let name = ["nsenter", "-m", "-n", "-t", "\(pid)", "getent", "ahostsv4", "web.shop.forge.internal"]
        #expect(try ProcessPlan(name).run(timeoutSeconds: 10).output.hasPrefix("10.77.0.10 "))
        // What is mounted stays what it is when the endpoint is gone.
        try fabric.succeed("detach --container c0")
        let after = try ProcessPlan(["nsenter", "-m", "-t", "\(pid)", "cat", "/etc/resolv.conf"]).run(
            timeoutSeconds: 5)
        #expect(after.output == Self.resolver)
        _ = runtime.pid
    }
}
