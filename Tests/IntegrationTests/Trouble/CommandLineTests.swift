import LabSupport
import Namespaces
import Sys
import Testing

@Suite(.enabled(if: Lab.isAvailable(), "needs a lab")) struct CommandLineTests {
    @Test(arguments: owners)
    func `listings come as tables, as JSON and as names, and ids may be shortened`(
        owner: FabricFixture.Owner
    ) throws {
        let fabric = try FabricFixture(owner)
        try fabric.up()
        let id = try fabric.succeed(
            "network create shop --subnet 10.77.0.0/24 --subnet fd77::/64 --label tier=front --isolation none "
                + "--default allow --mtu 1400 --nat --dns --dns-upstream 192.0.2.53:5353 --dns-refusal refused"
        ).dropLast()
        #expect(id.utf8.count == 64)
        let lines = try fabric.succeed("network ls").split(separator: "\n")
        #expect(lines.first?.hasPrefix("NETWORK ID     NAME   SUBNETS") == true)
        #expect(
            lines.last.map { $0.split(separator: " ") } == [
                id.prefix(12), "shop", "10.77.0.0/24,fd77::/64", "none", "allow", "yes", "yes", "1400",
                "tier=front",
            ])
        #expect(try fabric.succeed("network ls -q") == "\(id.prefix(12))\n")
        let json = try fabric.succeed("network ls --format json")
        for field in [
            "\"id\": \"\(id)\"", "\"defaultVerdict\": \"DEFAULT_VERDICT_ALLOW\"", "\"mtu\": 1400",
            "\"isolation\": \"ISOLATION_LEVEL_NONE\"", "\"nat\": true",
            "\"refusal\": \"DNS_REFUSAL_REFUSED\"", "\"192.0.2.53:5353\"",
        ] {
            #expect(json.contains(field))
        }
        for name in ["shop", String(id), String(id.prefix(5))] {
            #expect(try fabric.succeed("network inspect \(name)") == json)
        }
        let containers = try Containers(fabric, 2)
        var ids: [String] = []
        for (index, pid) in containers.pids.enumerated() {
            let id = try fabric.succeed(
                "attach --network \(id.prefix(5)) --container box\(index) --pid \(pid) -q")
            ids.append(String(id.dropLast()))
        }
        for name in ["box1", "shop/box1", ids[1], String(ids[1].prefix(8))] {
            #expect(try fabric.succeed("endpoint inspect \(name)").contains("\"id\": \"\(ids[1])\""))
        }
        try fabric.succeed("network create other --subnet 10.78.0.0/24")
        try fabric.succeed(
            "attach --network other --container box1 --pid \(containers.pids[1]) --ifname net1")
        let ambiguous = try fabric.forge(line: "endpoint inspect box1")
        #expect(ambiguous.status.code == 125)
        #expect(ambiguous.errors == "forge: endpoint \"box1\" is ambiguous: other/box1, shop/box1\n")
        #expect(try fabric.succeed("endpoint ls -q --network other").split(separator: "\n").count == 1)
        try fabric.succeed("detach --container box1 --network other")
        #expect(
            Set(try fabric.succeed("endpoint ls -q").split(separator: "\n").map(String.init))
                == Set(ids.map { String($0.prefix(12)) }))
        #expect(try fabric.succeed("stats -q").split(separator: "\n").count == 2)
        let status = try fabric.succeed("status --format json")
        #expect(status.contains("\"vnetCount\": 2") && status.contains("\"endpointCount\": 2"))
        #expect(try fabric.succeed("status -q") == "")
        try fabric.refuse(
            "endpoint ls --format yaml",
            "The value 'yaml' is invalid for '--format <format>'. Please provide one of 'table' and 'json'.")
    }

    @Test(arguments: anyOwner)
    func `who may open next to no files is told so`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        let reason = "as one of 16 files at a time (see ulimit -n): Too many open files\n"
        // Fewer do not suffice for a program to be loaded.
        for limit in 4...18 {
            let limited = ["prlimit", "--nofile=\(limit)", "--"]
            let forge = try fabric.run(limited + ["\(fabric.programs)/forge", "status"])
            #expect(forge.status.code == 125 && forge.errors == "forge: eventfd \(reason)", "\(limit)")
            let forged = try fabric.run(limited + ["\(fabric.programs)/forged", "--host"])
            #expect(forged.status.code == 1 && forged.errors == "forged: eventfd \(reason)", "\(limit)")
        }
    }

    @Test(arguments: anyOwner)
    func `statistics are shown again and again until somebody has enough`(
        owner: FabricFixture.Owner
    ) throws {
        let fabric = try FabricFixture(owner)
        try fabric.up(network: "shop")
        let containers = try Containers(fabric, 1)
        try fabric.succeed("attach --network shop --container c --pid \(containers.pids[0])")
        for (options, title) in [("", "NAME"), (" --format json", "[{\"endpointId\"")] {
            let words = try Pipe()
            var plan = fabric.plan(
                ["\(fabric.programs)/forge"]
                    + Refusal("stats c --watch --interval 0.1\(options)", "").arguments)
            plan.descriptors = [0, words.writer.rawValue, 2]
            var child = try plan.start()
            let reader = words.keepReader()
            var text = ""
            let enough = try eventually {
                guard try waitReadable([reader.rawValue], milliseconds: 1000)[0] else { return false }
                text += String(decoding: try reader.read(upTo: 4096), as: UTF8.self)
                return text.split(separator: "\n").count { $0.hasPrefix(title) } >= 3
            }
            #expect(enough, "\(text)")
            child.kill(2)
            #expect(try child.wait().code == 130)
        }
        try fabric.refuse("stats nope", "no such endpoint: \"nope\"")
        try fabric.refuse("stats --watch --interval 0", "--interval \"0.0\": must be 0.1 to 3600")
    }

    @Test(arguments: owners.filter { $0 != .rootOnHost })
    func `run and network start the fabric by themselves, below the XDG directories`(
        owner: FabricFixture.Owner
    ) throws {
        let fabric = try FabricFixture(owner)
        let directories = [
            "env", "-u", "FORGE_RUNTIME_DIR", "-u", "FORGE_STATE_DIR",
            "XDG_RUNTIME_DIR=\(fabric.directory)/x",
            "XDG_STATE_HOME=\(fabric.directory)/s",
        ]
        func forge(_ words: String...) throws -> ProgramResult {
            try fabric.run(directories + ["\(fabric.programs)/forge"] + words)
        }
        try withCleanup { cleanup in
            cleanup.add { _ = try? forge("down") }
            let first = try forge("run", "--network", "shop", "--", "true")
            #expect(first.status.code == 125)
            #expect(first.errors == "forge: no such network: \"shop\"\n")
            #expect(try forge("down").output == "fabric stopped\n")
            #expect(try forge("network", "create", "shop").status.code == 0)
            #expect(try forge("down").output == "fabric stopped\n")
            #expect(try forge("run", "--network", "shop", "--", "sh", "-c", "exit 7").status.code == 7)
            let status = try forge("status").output
            #expect(status.contains("socket     \(fabric.directory)/x/forge/forge.sock\n"), "\(status)")
            #expect(status.contains("state      \(fabric.directory)/s/forge\n"), "\(status)")
            // Root in there, yet not in root's fabric.
            let within = try forge("unshare", "--", "sh", "-c", "id -u; forge network ls")
            #expect(within.output.hasPrefix("0\n"), "\(within.errors)")
            #expect(within.output.contains("shop"), "\(within.errors)")
        }
    }

    @Test(arguments: owners)
    func `many who start the fabric at once get one`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        let up = owner == .rootOnHost ? "forge up --host" : "forge up"
        let script = "for i in 1 2 3 4; do \(up) & done; wait"
        let result = try fabric.run(["sh", "-c", script])
        #expect(result.errors == "")
        let lines = result.output.split(separator: "\n").sorted()
        #expect(lines == ["fabric is running", "fabric is running", "fabric is running", "fabric started"])
    }
}
