import LabSupport
import Namespaces
import Sys
import Testing

/// What the command line changes on endpoints that are there.
@Suite(.enabled(if: Lab.isAvailable(), "needs a lab")) struct LiveChangeCommandTests {
    private static let policy = """
        policy: pings
        endpoints: all
        ingress: [{from: [{labels: {app: friend}}], ports: [icmp]}]
        egress: [{ports: [icmp]}]

        """

    /// `a` 10.77.0.10, a friend, and `b` 10.77.0.11.
    private func pair(_ fabric: FabricFixture) throws -> Containers {
        try fabric.up(network: "shop")
        _ = try fabric.write("p.yaml", Self.policy)
        try fabric.succeed("network ls")
        let containers = try Containers(fabric, 2)
        for (index, (name, label)) in [("a", "app=friend"), ("b", "app=other")].enumerated() {
            try fabric.succeed(
                "attach --network shop --container c\(index) --pid \(containers.pids[index]) --name \(name) "
                    + "--ip 10.77.0.1\(index) --label \(label)")
        }
        try fabric.succeed("policy apply -f p.yaml")
        return containers
    }

    private func ping(_ containers: borrowing Containers) throws -> Bool {
        try containers.run(0, "ping", "-c1", "-W0.3", "10.77.0.11").status.code == 0
    }

    @Test(arguments: owners)
    func `an endpoint is quarantined for a time, released, and not twice`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        let containers = try pair(fabric)
        #expect(try ping(containers))
        #expect(try fabric.succeed("quarantine b --for 1h30m") == "shop/b quarantined\n")
        #expect(try !ping(containers))
        #expect(try fabric.succeed("endpoint ls").contains("quarantined 1h"))
        #expect(try fabric.succeed("policy explain a b icmp").hasPrefix("denied: quarantine (b)\n"))
        #expect(try fabric.succeed("release b") == "b released\n")
        try fabric.refuse("release b", "endpoint \"b\": is not quarantined")
        #expect(try ping(containers))
        try fabric.succeed("quarantine b --allow a:icmp")
        #expect(try ping(containers))
        #expect(try fabric.succeed("endpoint inspect b").contains("\"a:icmp\""))
        try fabric.succeed("quarantine b --for 300ms")
        #expect(try eventually(seconds: 3) { try self.ping(containers) })
    }

    @Test(arguments: owners)
    func `labels are set and removed as kubectl writes them`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        let containers = try pair(fabric)
        #expect(try fabric.succeed("endpoint label a app- tier=x") == "shop/a tier=x\n")
        #expect(try !ping(containers))
        #expect(try fabric.succeed("endpoint label a app=friend tier-") == "shop/a app=friend\n")
        #expect(try ping(containers))
        #expect(try fabric.succeed("network label shop env=prod") == "shop env=prod\n")
        #expect(try fabric.succeed("network inspect shop").contains("\"env\""))
    }

    @Test(arguments: owners)
    func `a dry run says what would change, and changes nothing`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        let containers = try pair(fabric)
        _ = try fabric.write("q.yaml", Self.policy.replacing("ingress: [{from", with: "ingressDeny: [{from"))
        let report = try fabric.succeed("policy apply --dry-run -f q.yaml")
        #expect(report.hasPrefix("pings updated (dry run)\n"))
        let lines = report.split(separator: "\n").map {
            $0.split(separator: " ", omittingEmptySubsequences: true)
        }
        #expect(lines.contains { $0.prefix(4) == ["lose", "shop/a", "shop/b", "icmp"] })
        #expect(try ping(containers))
        #expect(
            try fabric.succeed("policy apply --dry-run -f q.yaml --format json").contains("\"VERDICT_DENY\""))
        try fabric.succeed("policy apply -f q.yaml")
        #expect(try !ping(containers))
    }

    @Test(arguments: anyOwner)
    func `bad words are refused, each by its field`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        let containers = try pair(fabric)
        for (line, message) in [
            ("quarantine nobody", "no such endpoint: \"nobody\""),
            ("quarantine b --for 3x", "for \"3x\": expected a time such as 30s, 10m or 2h"),
            ("quarantine b --for ''", "for \"\": expected a time such as 30s, 10m or 2h"),
            ("quarantine b --for 0s", "for \"0s\": expected a time such as 30s, 10m or 2h"),
            (
                "quarantine b --allow 10.0.0.0/33",
                "allow \"10.0.0.0/33\": expected an address, a block or an endpoint, with :port/protocol if wanted"
            ),
            (
                "quarantine b --allow a:99999",
                "allow \"a:99999\": expected ports from 1 to 65535 such as 80/tcp or 8000-8100/udp"
            ),
            (
                "endpoint label b app=-x",
                "label.app \"-x\": must be empty, or 1 to 63 letters, digits, '-', '_' and '.' with neither end a sign"
            ),
            ("endpoint label b app", "label \"app\": expected key=value"),
            ("endpoint label b app=x app-", "label \"app\": is set and removed at once"),
            ("network label nowhere a=b", "no such network: \"nowhere\""),
        ] { try fabric.refuse(line, message) }
        #expect(try ping(containers))
    }
}
