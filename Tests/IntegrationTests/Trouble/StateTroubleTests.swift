import LabSupport
import Namespaces
import Sys
import Testing

@Suite(.enabled(if: Lab.isAvailable(), "needs a lab")) struct StateTroubleTests {
    @Test(arguments: owners)
    func `a full disk is told, and nothing is half made or half removed`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        let disk = try SmallDisk(fabric)
        try fabric.up(network: "shop")
        let containers = try Containers(fabric, 2)
        try fabric.succeed("attach --network shop --container c0 --pid \(containers.pids[0])")
        try disk.fill()
        let full =
            "state database \"\(fabric.paths.stateDirectory)/fabric.db\": the disk is full "
            + "(database or disk is full)"
        // What the log has room for is written still.
        var room = 0
        while room < 200, try fabric.forge(line: "network create n\(room)").status.code == 0 { room += 1 }
        let networks = try fabric.succeed("network ls -q")
        let links = try fabric.inside("ip", "-o", "link").output
        let rules = try fabric.inside("nft", "list", "ruleset").output
        _ = try fabric.write("p.yaml", "policy: all-in\nendpoints: all\ningress: [{}]\n")
        for line in [
            "network create more", "network rm shop --force", "detach --container c0",
            "attach --network shop --container c1 --pid \(containers.pids[1])", "run --network shop -- true",
            "policy apply -f ../p.yaml",
        ] {
            try fabric.refuse(line.replacing("../", with: ""), full)
        }
        #expect(try fabric.succeed("network ls -q") == networks)
        #expect(try fabric.succeed("endpoint ls -q").split(separator: "\n").count == 1)
        #expect(try fabric.succeed("policy ls -q") == "")
        #expect(try fabric.inside("ip", "-o", "link").output == links)
        #expect(try fabric.inside("nft", "list", "ruleset").output == rules)
        #expect(try containers.interfaces(0) == ["lo", "eth0"])
        #expect(try containers.interfaces(1) == ["lo"])

        try disk.empty()
        try fabric.succeed("attach --network shop --container c1 --pid \(containers.pids[1])")
        #expect(try fabric.succeed("detach --container c0") == "c0\n")
        #expect(try fabric.succeed("network rm shop --force") == "shop\n")
        #expect(try fabric.tracesOfEndpoints() == "")
    }

    @Test(arguments: owners)
    func `a fabric does not start on a full disk, and does when there is room`(
        owner: FabricFixture.Owner
    ) throws {
        let fabric = try FabricFixture(owner)
        let disk = try SmallDisk(fabric)
        try disk.fill()
        let up = owner == .rootOnHost ? "up --host" : "up"
        let refused = try fabric.forge(line: up)
        #expect(refused.status.code == 125)
        #expect(refused.errors.contains("disk is full") || refused.errors.contains("No space left on device"))
        #expect(refused.errors.split(separator: "\n").count == 1, "\(refused.errors)")
        #expect(try fabric.forge("down").output == "no fabric is running\n")
        try disk.empty()
        #expect(try fabric.succeed(up) == "fabric started\n")
    }

    @Test(arguments: owners)
    func `a database of a newer version or a damaged one is left as it is`(
        owner: FabricFixture.Owner
    ) throws {
        let fabric = try FabricFixture(owner)
        let up = owner == .rootOnHost ? "up --host" : "up"
        try fabric.up(network: "shop")
        try fabric.succeed("down")
        let database = "\(fabric.paths.stateDirectory)/fabric.db"
        func change(_ sql: String) throws {
            let script =
                "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()"
            let result = try fabric.run(["python3", "-c", script, database, sql])
            try #require(result.status.code == 0, "\(result.errors)")
        }
        try change("INSERT INTO grdb_migrations VALUES ('v99')")
        try fabric.refuse(
            up,
            "state database \"\(database)\": was written by a newer version; upgrade, or move it away to begin anew "
                + "(it has changes that this version does not know)")
        try change("DELETE FROM grdb_migrations WHERE identifier = 'v99'")

        let damage = try fabric.run([
            "sh", "-c", "cp \(database) kept && head -c 8192 /dev/zero > \(database)",
        ])
        #expect(damage.status.code == 0, "\(damage.errors)")
        let refused = try fabric.forge(line: up)
        #expect(refused.status.code == 125)
        #expect(
            refused.errors.hasPrefix(
                "forge: state database \"\(database)\": is damaged; move it away to begin anew ("),
            "\(refused.errors)")
        #expect(refused.errors.split(separator: "\n").count == 1)

        #expect(try fabric.run(["cp", "kept", database]).status.code == 0)
        #expect(try fabric.succeed(up) == "fabric started\n")
        #expect(try fabric.succeed("network ls").contains("shop"))
    }

    @Test(.enabled(if: FabricFixture.missing(.userAlone) == nil))
    func `namespaces that are turned off are named with their switch`() throws {
        let fabric = try FabricFixture(.userAlone)
        for (kind, name) in [("user", "user"), ("net", "network")] {
            // Limits of a user namespace count for those made in it: nothing of the machine is changed.
            let script =
                "echo 0 > /proc/sys/user/max_\(kind)_namespaces && exec forge run --network shop -- true"
            let result = try fabric.run(["unshare", "-Ur", "sh", "-c", script])
            #expect(result.status.code == 125)
            #expect(
                result.errors.hasPrefix(
                    "forge: \(name) namespaces are turned off here: sysctl user.max_\(kind)_namespaces is 0"),
                "\(result.errors)")
            #expect(result.errors.split(separator: "\n").count == 1)
        }
    }

    @Test(arguments: owners)
    func `a fabric that was killed is told to be down, and starts again`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        let down = "no fabric is up (nobody answers at \(fabric.paths.socket)); start one with: forge up"
        try fabric.refuse("status", down)
        try fabric.up(network: "shop")
        let processes = try #require(fabric.processes)
        ProcessSignal.send(9, to: processes.anchor)
        #expect(eventually { (try? Descriptor.open("/proc/\(processes.manager)/ns/net", 0)) == nil })
        for line in ["status", "endpoint ls", "stats", "exec box -- true", "detach --container c"] {
            try fabric.refuse(line, down)
        }
        try fabric.up()
        #expect(try fabric.succeed("network ls").contains("shop"))
        try fabric.succeed("down")
        try fabric.refuse("status", down)
    }
}

/// A small disk of its own for a fabric's state.
private struct SmallDisk: ~Copyable {
    let path: String
    private let fabric: FabricFixture

    init(_ fabric: FabricFixture) throws {
        self.fabric = fabric
        path = fabric.paths.stateDirectory
        let script =
            "mkdir $1 && mount -t tmpfs -o size=400k tmpfs $1 && chown --reference=$2 $1 && chmod 700 $1"
        let result = try ProcessPlan(["sh", "-c", script, "sh", path, fabric.directory]).run(
            timeoutSeconds: 5)
        try #require(result.status.code == 0, "\(result.errors)")
    }

    deinit { _ = try? ProcessPlan(["umount", "-l", path]).run(timeoutSeconds: 5) }

    func fill() throws { _ = try fabric.run(["sh", "-c", "head -c 4M /dev/zero > \(path)/fill"]) }
    func empty() throws { #expect(try fabric.run(["rm", "\(path)/fill"]).status.code == 0) }
}
