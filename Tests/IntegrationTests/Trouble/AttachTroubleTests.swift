import LabSupport
import Namespaces
import Sys
import Testing

@Suite(.enabled(if: Lab.isAvailable(), "needs a lab")) struct AttachTroubleTests {
    /// What is wrong with any container, in a network `shop` of 10.77.0.0/24. PID is one that could be
    /// attached.
    static let refusals = [
        Refusal("--network nope --container c --pid PID", "no such network: \"nope\""),
        Refusal("--network '' --container c --pid PID", "network \"\": is required"),
        Refusal(
            "--network shop --container '' --pid PID",
            "container id \"\": must be 1 to 128 printable ASCII characters without spaces"),
        Refusal("--network shop --container c", "give either --netns or --pid"),
        Refusal("--network shop --container c --pid PID --netns /x", "give either --netns or --pid"),
        Refusal("--network shop --container c --pid 0", "pid \"0\": must be the id of a process"),
        Refusal("--network shop --container c --pid 4194305", "pid \"4194305\": there is no such process"),
        Refusal("--network shop --container c --netns ''", "netns \"\": must be an absolute path"),
        Refusal("--network shop --container c --netns ns", "netns \"ns\": must be an absolute path"),
        Refusal("--network shop --container c --netns /none", "netns \"/none\": does not exist"),
        Refusal("--network shop --container c --netns /etc", "netns \"/etc\": is not a network namespace"),
        Refusal(
            "--network shop --container c --netns /etc/passwd",
            "netns \"/etc/passwd\": is not a network namespace"),
        Refusal(
            "--network shop --container c --netns /dev/zero",
            "netns \"/dev/zero\": is not a network namespace"),
        Refusal(
            "--network shop --container c --netns /proc/PID/ns/uts",
            "netns \"/proc/PID/ns/uts\": is not a network namespace"),
        Refusal(
            "--network shop --container c --pid PID --name Web",
            "name \"Web\": must be a DNS label: 1 to 63 of a-z, 0-9 and '-', not '-' at either end"),
        Refusal(
            "--network shop --container c --pid PID --name ''",
            "name \"\": is empty; leave the option out to mean none"),
        Refusal(
            "--network shop --container c --pid PID --ip 10.78.0.2",
            "ip \"10.78.0.2\": is outside the network's subnet 10.77.0.0/24"),
        Refusal(
            "--network shop --container c --pid PID --ip 10.77.0.0",
            "ip \"10.77.0.0\": is the subnet's own address of 10.77.0.0/24"),
        Refusal(
            "--network shop --container c --pid PID --ip 10.77.0.1",
            "ip \"10.77.0.1\": is the gateway's address of 10.77.0.0/24"),
        Refusal(
            "--network shop --container c --pid PID --ip 10.77.0.255",
            "ip \"10.77.0.255\": is the broadcast address of 10.77.0.0/24"),
        Refusal(
            "--network shop --container c --pid PID --ip 10.77.0.2 --ip 10.77.0.3",
            "ip \"10.77.0.3\": a second IPv4 address beside 10.77.0.2"),
        Refusal(
            "--network shop --container c --pid PID --ip here",
            "ip \"here\": neither an IPv4 nor an IPv6 address"),
        Refusal(
            "--network shop --container c --pid PID --mac 01:00:5e:00:00:01",
            "mac \"01:00:5e:00:00:01\": is a multicast address"),
        Refusal(
            "--network shop --container c --pid PID --mac mine",
            "mac \"mine\": expected six hexadecimal bytes such as 02:00:00:00:00:01"),
        Refusal(
            "--network shop --container c --pid PID --ifname sixteen-bytes-xx",
            "ifname \"sixteen-bytes-xx\": must be 1 to 15 bytes"),
        Refusal(
            "--network shop --container c --pid PID --ifname eth/0",
            "ifname \"eth/0\": must be printable ASCII without spaces, '/', ':' and '%'"),
        Refusal(
            "--network shop --container c --pid PID --ifname lo", "ifname \"lo\": is the loopback interface"),
        Refusal(
            "--network shop --container c --pid PID --ifname ''",
            "ifname \"\": is empty; leave the option out to mean none"),
    ]

    @Test(arguments: anyOwner)
    func `bad attachments are refused in one line, and nothing of them is made`(
        owner: FabricFixture.Owner
    ) throws {
        let fabric = try FabricFixture(owner)
        try fabric.up(network: "shop")
        let containers = try Containers(fabric, 1)
        let pid = "\(containers.pids[0])"
        for refusal in Self.refusals {
            let line = (["attach"] + refusal.arguments).map { $0.isEmpty ? "''" : $0 }.joined(separator: " ")
            try fabric.refuse(
                line.replacing("PID", with: pid), refusal.message.replacing("PID", with: pid))
        }
        #expect(try fabric.succeed("endpoint ls -q") == "")
        #expect(try containers.interfaces(0) == ["lo"])
        #expect(try fabric.tracesOfEndpoints() == "")
    }

    @Test(arguments: owners)
    func `namespaces of the fabric and of others are refused`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        try fabric.up(network: "shop")
        let manager = try #require(fabric.processes).manager
        let own = "its network namespace is the fabric's own, which cannot be attached to itself"
        let others = """
            belongs to another user, or to the host: what makes namespaces to attach is started with forge unshare
            """
        switch owner {
        case .rootOnHost:
            try fabric.refuse(
                "attach --network shop --container c --pid \(manager)", "pid \"\(manager)\": \(own)")
        case .userAlone, .userWithSubordinates:
            // A process of the host's, one of the same user's that the fabric did not make, and another
            // user's.
            for pid in [LabSockets.ownPID, try #require(fabric.processes).anchor] {
                try fabric.refuse(
                    "attach --network shop --container c --pid \(pid)",
                    "pid \"\(pid)\": its network namespace \(others)")
            }
            let foreign = try LabNamespace()
            try fabric.refuse(
                "attach --network shop --container c --netns \(foreign.path)",
                "netns \"\(foreign.path)\": \(others)")
            let refused = try fabric.forge(line: "attach --network shop --container c --pid \(manager)")
            #expect(refused.status.code == 125)
            #expect([others, own].contains { refused.errors.hasSuffix("\($0)\n") }, "\(refused.errors)")
        }
        #expect(try fabric.succeed("endpoint ls -q") == "")
        #expect(try fabric.tracesOfEndpoints() == "")
    }

    @Test(arguments: owners)
    func `the same request again changes nothing, another one is refused`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        try fabric.up(network: "shop")
        let containers = try Containers(fabric, 3)
        let (one, two, three) = (containers.pids[0], containers.pids[1], containers.pids[2])
        let request = "attach --network shop --container c1 --label app=web --name web"
        let addresses = try fabric.succeed("\(request) --pid \(one)")
        let address = try #require(addresses.split(separator: "\n").first)
        let before = try fabric.succeed("endpoint inspect web")
        let links = try containers.run(0, "ip", "-o", "addr").output
        #expect(try fabric.succeed("\(request) --pid \(one)") == addresses)
        #expect(try fabric.succeed("\(request) --netns /proc/\(one)/ns/net --ip \(address)") == addresses)
        #expect(
            try fabric.succeed("attach --network shop --container c1 --label app=web --pid \(one)")
                == addresses)

        for (change, message) in [
            (
                "\(request) --pid \(two)",
                "network namespace /proc/\(one)/ns/net, not /proc/\(two)/ns/net"
            ),
            ("\(request) --pid \(one) --label x=y", "labels {app=web}, not {app=web, x=y}"),
            ("attach --network shop --container c1 --pid \(one)", "labels {app=web}, not {}"),
            ("\(request) --pid \(one) --ip 10.77.0.77", "ip \(address), not 10.77.0.77"),
            ("\(request) --pid \(one) --ifname eth7", "ifname eth0, not eth7"),
            (
                "attach --network shop --container c1 --label app=web --pid \(one) --name shop",
                "name web, not shop"
            ),
        ] {
            try fabric.refuse(change, "container \"c1\" is attached with \(message)")
        }
        let mac = "02:00:00:00:00:01"
        try fabric.succeed("attach --network shop --container c2 --pid \(two) --ip 10.77.0.9 --mac \(mac)")
        for (options, message) in [
            ("--name web", "name \"web\" is taken in network shop"),
            ("--ip 10.77.0.9", "ip \"10.77.0.9\" is taken"),
            ("--mac \(mac)", "mac \"\(mac)\" is taken in network shop"),
        ] {
            try fabric.refuse("attach --network shop --container c3 --pid \(three) \(options)", message)
        }
        // A second interface of that name there cannot be.
        try fabric.succeed("network create other")
        try fabric.refuse(
            "attach --network other --container c1 --pid \(one)",
            "ifname \"eth0\": the container has such an interface already")
        #expect(try fabric.succeed("endpoint inspect web") == before)
        #expect(try containers.run(0, "ip", "-o", "addr").output == links)
        #expect(try containers.interfaces(2) == ["lo"])
        #expect(try fabric.succeed("endpoint ls -q").split(separator: "\n").count == 2)
    }

    @Test(arguments: anyOwner)
    func `a full subnet says so, and has room again after a release`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        try fabric.up(network: "tiny", subnet: "10.77.0.0/30")
        let containers = try Containers(fabric, 2)
        try fabric.succeed("attach --network tiny --container c1 --pid \(containers.pids[0])")
        let second = "attach --network tiny --container c2 --pid \(containers.pids[1])"
        try fabric.refuse(second, "subnet \"10.77.0.0/30\": is full: its one address is taken")
        #expect(try containers.interfaces(1) == ["lo"])
        #expect(try fabric.succeed("detach --container c1") == "c1\n")
        try fabric.refuse("detach --container c1", "container \"c1\": is not attached")
        try fabric.refuse(
            "detach --container c2 --network ''", "network \"\": is empty; leave the option out to mean none")
        #expect(try fabric.succeed(second).hasPrefix("10.77.0.2\n"))
    }

    @Test(arguments: owners)
    func `a container that is started anew under its id is attached at once`(
        owner: FabricFixture.Owner
    ) throws {
        let fabric = try FabricFixture(owner)
        try fabric.up(network: "shop")
        let containers = try Containers(fabric, 3)
        let first = try fabric.succeed("attach --network shop --container c --pid \(containers.pids[0])")
        for index in 1...2 {
            containers.end(index - 1)
            #expect(
                try fabric.succeed("attach --network shop --container c --pid \(containers.pids[index])")
                    == first)
            #expect(try containers.interfaces(index) == ["lo", "eth0"])
        }
        #expect(try fabric.succeed("endpoint ls -q").split(separator: "\n").count == 1)
    }

    @Test(arguments: owners)
    func `a namespace that a path leads to is attached, and released when the path is gone`(
        owner: FabricFixture.Owner
    ) throws {
        let fabric = try FabricFixture(owner)
        try fabric.up(network: "shop")
        let script = """
            touch net && unshare --net=$PWD/net true && forge attach --network shop --container p --netns $PWD/net \
            && forge endpoint ls -q | wc -l
            """
        let result = try fabric.forge("unshare", "--", "sh", "-c", script)
        #expect(result.output.hasPrefix("10.77.0."), "\(result.errors)")
        #expect(result.output.hasSuffix("\n1\n"))
        // Gone, though nobody tells.
        let gone = try fabric.forge("unshare", "--", "sh", "-c", "umount $PWD/net && rm net")
        #expect(gone.status.code == 0, "\(gone.errors)")
        #expect(try eventually(seconds: 3) { try fabric.succeed("endpoint ls -q") == "" })
    }

    @Test(arguments: owners)
    func `exec enters the namespace that was attached and no other that its path leads to`(
        owner: FabricFixture.Owner
    ) throws {
        let fabric = try FabricFixture(owner)
        try fabric.up(network: "shop")
        func inFabric(_ script: String) throws {
            let result = try fabric.forge("unshare", "--", "sh", "-ec", script)
            #expect(result.status.code == 0, "\(result.errors)")
        }
        try inFabric(
            """
            touch net && unshare --net=$PWD/net true
            forge attach --network shop --container p --netns $PWD/net
            """)
        #expect(try fabric.forge("exec", "p", "--", "true").status.code == 0)
        try withCleanup { cleanup in
            cleanup.add { try? inFabric("kill $(cat holder); umount $PWD/net") }
            // A process keeps what was attached, so that the endpoint stays.
            try inFabric(
                """
                nsenter --net=$PWD/net sleep 100 >/dev/null 2>&1 & echo $! >holder
                until [ $(readlink /proc/$!/ns/net) != $(readlink /proc/self/ns/net) ]; do sleep 0.02; done
                umount $PWD/net && unshare --net=$PWD/net true
                """)
            let other = try fabric.forge("exec", "p", "--", "touch", "entered")
            #expect(other.status.code == 125)
            #expect(
                other.errors
                    == "forge: cannot prepare the command: the network namespace that was attached as "
                    + "\(fabric.directory)/net is gone\n")
            #expect(try fabric.forge("unshare", "--", "test", "-e", "entered").status.code == 1)
            #expect(try fabric.succeed("endpoint ls -q") != "")
        }
    }
}
