import ForwardingSupport
import LabSupport
import Namespaces
import Sys
import Testing

/// Published ports from the command line to the application, for every kind of owner.
@Suite(.enabled(if: Lab.isAvailable(), "needs a lab")) struct PortTests {
    /// What comes next.
    private func expect(
        _ socket: borrowing Descriptor, _ text: String, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let received = try LabSockets.receive(socket)
        #expect(received == text, sourceLocation: sourceLocation)
    }

    @Test(arguments: owners)
    func `the application sees the client's own address and port`(owner: FabricFixture.Owner) throws {
        let lab = try PublishedLab(owner)
        #expect(try lab.fabric.succeed("port add web 8080:80 8080:80/udp") == "*:8080/tcp\n*:8080/udp\n")
        for (host, address) in PublishedLab.hosts {
            let server = try lab.listen(.tcp, 80, at: address)
            let datagrams = try lab.listen(.udp, 80, at: address)
            let client = try lab.connect(.tcp, 8080, to: host)
            let accepted = try PlainSockets.accept(server.socket)
            let peer = try PlainSockets.local(client)
            #expect(accepted.peer == peer, "to \(host)")
            #expect(peer.hasPrefix(try #require(PublishedLab.clients[host]) + " "))
            try LabSockets.send(client, "there")
            try expect(accepted.socket, "there")
            try LabSockets.send(accepted.socket, "back")
            try expect(client, "back")

            let sender = try lab.connect(.udp, 8080, to: host)
            try LabSockets.send(sender, "there")
            let datagram = try PlainSockets.receive(datagrams.socket)
            #expect(datagram.text == "there")
            let origin = try PlainSockets.local(sender)
            #expect(datagram.peer == origin)
            try LabSockets.send(sender, "echo")
            try LabSockets.echoDatagram(datagrams.socket)
            try expect(sender, "echo")
        }
    }

    @Test(arguments: owners)
    func `who comes in by a published port is for policy to say`(owner: FabricFixture.Owner) throws {
        let lab = try PublishedLab(owner)
        let server = try lab.listen(.tcp, 80)
        try lab.fabric.succeed("port add web 8080:80")
        let client = try lab.connect(.tcp, 8080)
        let accepted = try PlainSockets.accept(server.socket)
        try LabSockets.send(client, "before")
        try expect(accepted.socket, "before")
        #expect(try lab.fabric.succeed("policy explain 192.0.2.77 web 80/tcp").contains("allow"))

        try lab.moveClients(to: "192.0.2.78")
        #expect(!lab.passes(8080, server))
        try lab.moveClients(to: "192.0.2.77")
        #expect(lab.passes(8080, server))
        // What is allowed as before goes on when policies change, and ends when they say so.
        try lab.fabric.succeed("policy rm neighbour")
        try LabSockets.send(client, "between")
        try expect(accepted.socket, "between")
        try lab.fabric.succeed("policy rm published")
        try LabSockets.send(client, "after")
        let heard = try? LabSockets.receive(accepted.socket, timeoutSeconds: 0.3)
        #expect(heard == nil)
        #expect(!lab.passes(8080, server))
    }

    @Test(arguments: owners)
    func `what cannot be published whole is not published at all`(owner: FabricFixture.Owner) throws {
        let lab = try PublishedLab(owner)
        let fabric = lab.fabric
        let taken = try fabric.host.inside { try LabSockets.bind(.tcp, "192.0.2.1", port: 8081) }
        let number = taken.rawValue
        #expect(number >= 0)
        try fabric.refuse("port add web 8080:80 8081:81", "port \"8081/tcp\": is taken on the host")
        try fabric.refuse(
            "port add web 8080:80 8080:81",
            "published port \"8080:81\": is in conflict with 8080:80/tcp")
        try fabric.refuse(
            "port add web 192.0.2.99:8080:80",
            "port \"192.0.2.99:8080:80/tcp\": the host has no address 192.0.2.99")
        if owner != .rootOnHost {
            try fabric.refuse(
                "port add web 8080:80 99:80",
                "port \"99/tcp\": below 1024 needs root, or net.ipv4.ip_unprivileged_port_start set to 99")
        }
        try fabric.refuse(
            "port add web 8080/sctp", "published port \"8080/sctp\": the protocol must be tcp or udp")
        #expect(try fabric.succeed("port ls -q") == "")
        #expect(!lab.isOpen(8080))

        try fabric.succeed("port add other 8080:80")
        try fabric.refuse(
            "port add web 127.0.0.1:8080:80",
            "port \"127.0.0.1:8080:80/tcp\" is in conflict with 8080:80/tcp of shop/other")
        try fabric.refuse("port rm web 8080:80", "no such published port: \"8080:80/tcp\"")
        try fabric.succeed("detach --container c-web")
        try lab.refuseAttach("-p 8090:80 -p 8081:81", "port \"8081/tcp\": is taken on the host")
        try fabric.refuse("endpoint inspect web", "no such endpoint: \"web\"")
        #expect(try fabric.succeed("port ls -q") == "*:8080/tcp\n")
        #expect(!lab.isOpen(8090))
    }

    @Test(arguments: owners)
    func `ports come and go while the endpoint lives, and end with it`(owner: FabricFixture.Owner) throws {
        let lab = try PublishedLab(owner)
        let fabric = lab.fabric
        let server = try lab.listen(.tcp, 80)
        try fabric.succeed("detach --container c-web")
        try lab.attach("web", "--label app=web -p 8080:80 -p 192.0.2.1:8100-8101:80-81/udp")
        // With --host nobody knows more of them than their number.
        let none = owner == .rootOnHost ? "-        -        -          -" : "0        0        0B         0B"
        #expect(
            try fabric.succeed("port ls") == """
                ENDPOINT   NETWORK   HOST                 PORT     CONNECTIONS   ACTIVE   FAILED   RX BYTES   TX BYTES
                web        shop      *:8080/tcp           80/tcp   0             \(none)
                web        shop      192.0.2.1:8100/udp   80/udp   0             \(none)
                web        shop      192.0.2.1:8101/udp   81/udp   0             \(none)

                """)
        #expect(try fabric.succeed("endpoint inspect web").contains("\"hostPort\": 8101"))
        #expect(try fabric.succeed("port ls other --format json") == "[]\n")
        #expect(lab.passes(8080, server))
        try fabric.succeed("port add web 8082:80")
        // Again, which changes nothing.
        try fabric.succeed("port add web 8082:80 8080:80")
        #expect(lab.passes(8082, server))

        let client = try lab.connect(.tcp, 8082)
        let accepted = try PlainSockets.accept(server.socket)
        let other = try lab.connect(.tcp, 8080)
        let stays = try PlainSockets.accept(server.socket)
        try fabric.succeed("port rm web 8082:80")
        // The host's port is free at once.
        do {
            let again = try fabric.host.inside { try LabSockets.bind(.tcp, "0.0.0.0", port: 8082) }
            let number = again.rawValue
            #expect(number >= 0)
        }
        try? LabSockets.send(client, "after")
        let heard = (try? LabSockets.receive(accepted.socket, timeoutSeconds: 0.3)) ?? ""
        #expect(heard == "")
        #expect(!lab.passes(8082, server))
        // The other way in goes on.
        try LabSockets.send(other, "still")
        try expect(stays.socket, "still")
        #expect(lab.passes(8080, server))

        try fabric.succeed("detach --container c-web")
        #expect(try fabric.succeed("port ls -q") == "")
        #expect(!lab.isOpen(8080))
        try lab.attach("web", "--label app=web -p 8080:80")
        #expect(lab.passes(8080, server))
    }

    @Test(arguments: owners)
    func `a port ends with its container, and with its network`(owner: FabricFixture.Owner) throws {
        let lab = try PublishedLab(owner)
        let fabric = lab.fabric
        try fabric.succeed("port add web 8080:80")
        try fabric.succeed("port add other 8081:80")
        #expect(lab.isForwarded(8080) && lab.isForwarded(8081))
        lab.end("web")
        #expect(eventually(seconds: 10) { !lab.isForwarded(8080) })
        #expect(try fabric.succeed("port ls -q") == "*:8081/tcp\n")
        try fabric.succeed("network rm shop --force")
        #expect(try fabric.succeed("port ls -q") == "")
        #expect(!lab.isForwarded(8081))
    }

    @Test(arguments: owners)
    func `a command has its ports from the start, and they end with it`(owner: FabricFixture.Owner) throws {
        let lab = try PublishedLab(owner)
        let words = ["run", "--network", "shop", "--name", "runner", "-p", "8080:80", "-p", "8080:80/udp"]
        var command = try lab.fabric.plan(["\(lab.fabric.programs)/forge"] + words + ["--", "sleep", "600"])
            .start()
        #expect(eventually(seconds: 10) { lab.isForwarded(8080) })
        #expect(try lab.fabric.succeed("port ls runner -q") == "*:8080/tcp\n*:8080/udp\n")
        // A second one cannot have them, and is not attached.
        try lab.fabric.refuse(
            "run --network shop --name second -p 8081:80 -p 8080:80 -- true",
            "port \"8080:80/tcp\" is published by shop/runner")
        try lab.fabric.refuse("endpoint inspect second", "no such endpoint: \"second\"")
        #expect(!lab.isForwarded(8081))
        command.kill(15)
        _ = try command.wait()
        #expect(try lab.fabric.succeed("port ls -q") == "")
        #expect(!lab.isForwarded(8080))
    }

    @Test(arguments: owners)
    func `what comes by a port is counted`(owner: FabricFixture.Owner) throws {
        let lab = try PublishedLab(owner)
        let server = try lab.listen(.tcp, 80)
        let datagrams = try lab.listen(.udp, 80)
        try lab.fabric.succeed("port add web 8080:80 8080:80/udp 8081:81")
        // The fields of a port's line behind its name.
        func counted(_ port: String) throws -> String {
            let line = try lab.fabric.succeed("port ls web").split(separator: "\n").first {
                $0.contains("*:\(port) ")
            }
            return (line ?? "").split(separator: " ").dropFirst(4).joined(separator: " ")
        }
        let more = owner == .rootOnHost
        do {
            let client = try lab.connect(.tcp, 8080)
            let accepted = try PlainSockets.accept(server.socket)
            try LabSockets.send(client, "there")
            try expect(accepted.socket, "there")
            try LabSockets.send(accepted.socket, "back")
            try expect(client, "back")
            #expect(try counted("8080/tcp") == (more ? "1 - - - -" : "1 1 0 5B 4B"))
        }
        #expect(try eventually { try counted("8080/tcp") == (more ? "1 - - - -" : "1 0 0 5B 4B") })
        let sender = try lab.connect(.udp, 8080)
        for _ in 0..<2 {
            try LabSockets.send(sender, "hello")
            try LabSockets.echoDatagram(datagrams.socket)
            try expect(sender, "hello")
        }
        #expect(try counted("8080/udp") == (more ? "1 - - - -" : "1 1 0 10B 10B"))
        // Nobody is there.
        _ = try? lab.connect(.tcp, 8081, timeoutSeconds: 1)
        #expect(try eventually { try counted("8081/tcp") == (more ? "1 - - - -" : "1 0 1 0B 0B") })

        // The host's own come by the forwarder, whoever's fabric it is.
        let own = try lab.fabric.host.inside { try LabSockets.connect(.tcp, "127.0.0.1", port: 8080) }
        _ = try PlainSockets.accept(server.socket)
        let number = own.rawValue
        #expect(try number >= 0 && counted("8080/tcp").hasPrefix("2 "))
        let json = try lab.fabric.succeed("port ls web --format json")
        for part in [
            "\"hostPort\": 8081", "\"traffic\": {", "\"connections\": 2",
        ] + (more ? [] : ["\"rxBytes\": 5", "\"failed\": 1", "\"seenAsGateway\": 1"]) {
            #expect(json.contains(part), "\(part) in \(json)")
        }
        #expect(try lab.fabric.succeed("stats web --format json").contains("\"connections\": 2"))
        guard !more else { return }
        let killed = try #require(lab.fabric.processes).manager
        ProcessSignal.send(9, to: killed)
        #expect(eventually(seconds: 10) { lab.fabric.processes.map { $0.manager != killed } ?? false })
        #expect(
            try eventually { try counted("8080/udp") == "1 1 0 10B 10B" }, "the proxy counts, and goes on")
    }

    @Test(arguments: owners)
    func `a command that is started again and again has its ports each time`(owner: FabricFixture.Owner)
        throws
    {
        let lab = try PublishedLab(owner)
        // No other port is published, and no network has names: the proxy comes and goes as well.
        let line = "run --network shop --name again --ip 10.77.0.20 -p 8080:80 -p 8080:80/udp -- true"
        for round in 0..<50 {
            let result = try lab.fabric.forge(line: line)
            try #require(result.status.code == 0 && result.errors == "", "round \(round): \(result.errors)")
        }
        #expect(try lab.fabric.succeed("port ls -q") == "")
        let free = try lab.fabric.host.inside { try LabSockets.bind(.tcp, "0.0.0.0", port: 8080) }
        #expect(free.rawValue >= 0)
    }

    @Test(arguments: owners)
    func `a command whose forge was killed leaves its name, its address and its ports to the next`(
        owner: FabricFixture.Owner
    ) throws {
        let lab = try PublishedLab(owner)
        let line = "run --network shop --name again --ip 10.77.0.20 -p 8080:80 -p 8080:80/udp -- sleep 600"
        func start() throws -> ChildProcess {
            try lab.fabric.plan(
                ["\(lab.fabric.programs)/forge"] + line.split(separator: " ").map(String.init)
            )
            .start()
        }
        var first = try start()
        #expect(eventually(seconds: 20) { lab.isForwarded(8080) })
        var held: HeldNamespace? = try HeldNamespace(lab.namespace(of: "again"))
        first.kill(9)
        _ = try first.wait()
        let holder = "endpoint inspect again"
        let before = try lab.fabric.succeed(holder)
        var second = try start()
        pauseThread(milliseconds: 500)
        #expect(try second.poll() == nil && lab.fabric.succeed(holder) == before, "it waits")
        held = nil
        #expect(held == nil)
        #expect(try eventually(seconds: 20) { try lab.fabric.forge(line: holder).output != before })
        #expect(eventually(seconds: 20) { lab.isForwarded(8080) })
        #expect(try lab.fabric.succeed("port ls again -q") == "*:8080/tcp\n*:8080/udp\n")
        second.kill(15)
        _ = try second.wait()
    }

    @Test(arguments: owners)
    func `a container that is started anew has the ports that it had`(owner: FabricFixture.Owner) throws {
        let lab = try PublishedLab(owner)
        let containers = try Containers(lab.fabric, 11)
        var held: [HeldNamespace] = []
        for index in 0..<10 {
            try lab.fabric.succeed(
                "attach --network shop --container c-same --name same --pid \(containers.pids[index]) "
                    + "-p 8080:80 -p 8080:80/udp")
            #expect(try lab.fabric.succeed("port ls same -q") == "*:8080/tcp\n*:8080/udp\n")
            #expect(lab.isForwarded(8080))
            held.append(HeldNamespace(try Descriptor.open("/proc/\(containers.pids[index])/ns/net", 0)))
            containers.end(index)
        }
        // Another container's ports are not to be had, whether it lives or nobody knows.
        let taken = "port \"8080:80/tcp\" is published by shop/same"
        try lab.fabric.refuse("port add other 8080:80", taken)
        held = []
        try lab.fabric.succeed("port add other 8080:80")
        try lab.fabric.refuse("port add web 8080:80", taken.replacing("same", with: "other"))
    }

    @Test(arguments: owners)
    func `a container that is started anew waits for nobody but others, and for no request that is refused`(
        owner: FabricFixture.Owner
    ) throws {
        let lab = try PublishedLab(owner)
        let containers = try Containers(lab.fabric, 3)
        let same = "attach --network shop --container c-same --name same --ip 10.77.0.99"
        try lab.fabric.succeed("\(same) --pid \(containers.pids[0])")
        let held = HeldNamespace(try Descriptor.open("/proc/\(containers.pids[0])/ns/net", 0))
        containers.end(0)
        func took(_ attach: () throws -> Void) rethrows -> Duration { try ContinuousClock().measure(attach) }
        // Whoever waits does so for five seconds, since the old namespace is held all the while.
        let refused = try took {
            let other = "attach --network shop --container c-other --name same --pid \(containers.pids[1])"
            let result = try lab.fabric.forge(line: other + " --label =x")
            #expect(result.status.code == 125 && result.errors.contains("label"), "\(result.errors)")
        }
        #expect(refused < .seconds(4))
        let restarted = try took { try lab.fabric.succeed("\(same) --pid \(containers.pids[2])") }
        #expect(restarted < .seconds(4))
        withExtendedLifetime(held) {}
    }

    @Test(arguments: owners)
    func `a client on the host itself is seen as the gateway, or with the host's address`(
        owner: FabricFixture.Owner
    ) throws {
        let lab = try PublishedLab(owner)
        let server = try lab.listen(.tcp, 80)
        try lab.fabric.succeed("port add web 8080:80")
        let client = try lab.fabric.host.inside {
            try LabSockets.connect(.tcp, "127.0.0.1", port: 8080)
        }
        let accepted = try PlainSockets.accept(server.socket)
        #expect(accepted.peer.hasPrefix("10.77.0.1 "))
        try LabSockets.send(accepted.socket, "hello")
        try expect(client, "hello")
    }

    @Test(arguments: owners.filter { $0 == .rootOnHost })
    func `a neighbour that policy lets in comes in by the host's address, and so does the endpoint itself`(
        owner: FabricFixture.Owner
    ) throws {
        let lab = try PublishedLab(owner)
        // With it the kernel's bridge would pass on what is translated, between ports that are isolated.
        let off = "for f in /proc/sys/net/bridge/bridge-nf-call-ip*; do test ! -e $f || echo 0 > $f; done"
        let result = try lab.fabric.host.run("sh", "-c", off)
        try #require(result.status.code == 0, "\(result.errors)")
        let server = try lab.listen(.tcp, 80)
        try lab.fabric.succeed("port add web 8080:80")
        let client = try lab.connect(from: "other", to: "192.0.2.1", 8080)
        let accepted = try PlainSockets.accept(server.socket)
        let peer = try PlainSockets.local(client)
        #expect(accepted.peer == peer)
        try LabSockets.send(client, "there")
        try expect(accepted.socket, "there")

        let policy = """
            policy: itself
            endpoints: {labels: {app: web}}
            ingress: [{from: [{labels: {app: web}}]}]
            egress: [{to: [{labels: {app: web}}]}]

            """
        let file = try lab.fabric.write("itself.yaml", policy)
        try lab.fabric.succeed("policy apply -f \(file)")
        let own = try lab.connect(from: "web", to: "192.0.2.1", 8080)
        let acceptedOwn = try PlainSockets.accept(server.socket)
        #expect(acceptedOwn.peer.hasPrefix("10.77.0.1 "))
        try LabSockets.send(own, "myself")
        try expect(acceptedOwn.socket, "myself")
        try lab.fabric.succeed("policy rm neighbour")
        #expect(throws: SystemError.self) {
            _ = try lab.connect(from: "other", to: "192.0.2.1", 8080)
        }
    }

    @Test(arguments: owners.filter { $0 != .rootOnHost })
    func `connections go on and come in while the manager is killed and started again`(
        owner: FabricFixture.Owner
    ) throws {
        let lab = try PublishedLab(owner)
        let server = try lab.listen(.tcp, 80)
        try lab.fabric.succeed("port add web 8080:80")
        let client = try lab.connect(.tcp, 8080)
        let accepted = try PlainSockets.accept(server.socket)
        let killed = try #require(lab.fabric.processes).manager
        ProcessSignal.send(9, to: killed)
        for _ in 0..<20 { #expect(lab.passes(8080, server)) }
        #expect(eventually(seconds: 10) { lab.fabric.processes.map { $0.manager != killed } ?? false })
        #expect(try lab.fabric.succeed("port ls -q") == "*:8080/tcp\n")
        try LabSockets.send(client, "still")
        try expect(accepted.socket, "still")
        #expect(lab.passes(8080, server))
        // The new manager can end what the old one began.
        try lab.fabric.succeed("port rm web 8080:80")
        #expect(!lab.isOpen(8080))
        try lab.fabric.succeed("port add web 8080:80")
        #expect(lab.passes(8080, server))
    }

    @Test(arguments: owners)
    func `a proxy that ends is started again, and forwards what is published`(
        owner: FabricFixture.Owner
    ) throws {
        let lab = try PublishedLab(owner)
        let server = try lab.listen(.tcp, 80)
        try lab.fabric.succeed("port add web 8080:80")
        func passesFromHost() -> Bool {
            do {
                let client = try lab.fabric.host.inside {
                    try LabSockets.connect(.tcp, "127.0.0.1", port: 8080)
                }
                let accepted = try PlainSockets.accept(server.socket, milliseconds: 1000)
                try LabSockets.send(accepted.socket, "hello")
                return try LabSockets.receive(client, timeoutSeconds: 1) == "hello"
            } catch { return false }
        }
        #expect(passesFromHost())
        ProcessSignal.send(9, to: try lab.fabric.proxy())
        #expect(eventually(seconds: 10) { passesFromHost() })
        #expect(lab.passes(8080, server))
    }
}

/// As long as somebody has a namespace, the kernel does not take it apart.
private final class HeldNamespace {
    private let descriptor: Descriptor
    init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }
}
