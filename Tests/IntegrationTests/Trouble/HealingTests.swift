import LabSupport
import Namespaces
import Sys
import Testing

/// The bar is a second; this may be a debug build on a busy machine.
private let patience = 3.0

@Suite(.enabled(if: Lab.isAvailable(), "needs a lab")) struct HealingTests {
    /// Two endpoints that may ping one another, `a` 10.77.0.10 and `b` 10.77.0.11.
    private func pair(_ fabric: FabricFixture) throws -> Containers {
        try fabric.up(network: "shop")
        _ = try fabric.write(
            "p.yaml", "policy: pings\nendpoints: all\ningress: [{ports: [icmp]}]\negress: [{ports: [icmp]}]\n"
        )
        try fabric.succeed("policy apply -f p.yaml")
        let containers = try Containers(fabric, 2)
        for (index, name) in ["a", "b"].enumerated() {
            try fabric.succeed(
                "attach --network shop --container c\(index) --pid \(containers.pids[index]) --name \(name) "
                    + "--ip 10.77.0.1\(index)")
        }
        return containers
    }

    private static func ping(_ containers: borrowing Containers) throws -> Bool {
        try containers.run(0, "ping", "-c1", "-W0.2", "10.77.0.11").status.code == 0
    }

    @Test(arguments: owners)
    func `what somebody takes from the kernel is there again soon`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        let containers = try pair(fabric)
        #expect(try Self.ping(containers))
        let inspected = try fabric.succeed("endpoint inspect a")
        let link = try #require(
            inspected.split(separator: "\n").first { $0.contains("hostInterfaceName") }?
                .split(separator: "\"").last { $0.hasPrefix("fv") }.map(String.init))
        let bridge = try #require(
            try fabric.succeed("network inspect shop").split(separator: "\n").first {
                $0.contains("\"bridge\"")
            }?
            .split(separator: "\"").last { $0.hasPrefix("fb") }.map(String.init))
        for damage in [
            ["ip", "link", "del", link],
            ["ip", "link", "del", bridge],
            ["ip", "link", "set", link, "nomaster"],
            ["ip", "link", "set", link, "down"],
            ["ip", "link", "set", bridge, "down"],
            ["ip", "addr", "del", "10.77.0.1/24", "dev", bridge],
        ] {
            let rules = try fabric.rules
            let manager = try #require(fabric.processes).manager
            let done = try ProcessPlan(["nsenter", "-n", "-t", "\(manager)"] + damage).run(timeoutSeconds: 5)
            #expect(done.status.code == 0, "\(damage) \(done.errors)")
            let start = ContinuousClock.now
            #expect(
                try eventually(seconds: patience) { try fabric.rules == rules },
                "after \(damage) the rules are not as before: \(fabric.log)")
            #expect(
                try eventually(seconds: patience) { try Self.ping(containers) },
                "after \(damage) no ping comes through: \(fabric.log)")
            print("\(owner): healed \(damage) after \(start.duration(to: .now))")
        }
        #expect(try fabric.succeed("endpoint inspect a") == inspected)
        #expect(try fabric.succeed("endpoint ls -q").split(separator: "\n").count == 2)
    }

    @Test(arguments: owners)
    func `rules that somebody flushes stay as they are, or are there again soon`(owner: FabricFixture.Owner)
        throws
    {
        let fabric = try FabricFixture(owner)
        let containers = try pair(fabric)
        let rules = try fabric.rules
        // Linux 6.9 and later.
        let isOwned = rules.contains { $0.contains("flags owner") }
        for attack in [
            "flush ruleset", "delete table bridge forge", "flush chain inet forge forward",
            "flush map inet forge identity4",
        ] {
            let manager = try #require(fabric.processes).manager
            let done = try ProcessPlan(
                ["nsenter", "-n", "-t", "\(manager)", "nft"] + attack.split(separator: " ").map(String.init)
            ).run(timeoutSeconds: 5)
            // nft passes over tables that have an owner when it flushes all.
            let isRefused = isOwned && attack != "flush ruleset"
            #expect(done.status.code == (isRefused ? 1 : 0), "\(attack) \(done.errors)")
            if isOwned { #expect(try fabric.rules == rules, "after \(attack)") }
            #expect(
                try eventually(seconds: patience) { try fabric.rules == rules },
                "after \(attack) the rules are not as before: \(fabric.log)")
            #expect(
                try eventually(seconds: patience) { try Self.ping(containers) },
                "after \(attack) no ping comes through: \(fabric.log)")
        }
    }

    @Test(arguments: owners)
    func `a container that vanishes is released`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        let containers = try pair(fabric)
        containers.end(0)
        #expect(
            try eventually(seconds: patience) {
                try fabric.forge(line: "endpoint inspect a").status.code == 125
            })
        #expect(try fabric.succeed("endpoint ls").split(separator: "\n").count == 2)
        containers.end(1)
        #expect(try eventually(seconds: patience) { try fabric.tracesOfEndpoints() == "" })
        #expect(try fabric.succeed("endpoint ls -q") == "")
        // All that it had is free again.
        let next = try Containers(fabric, 1)
        try fabric.succeed(
            "attach --network shop --container new --pid \(next.pids[0]) --name a --ip 10.77.0.10")
    }
}

extension FabricFixture {
    /// The ruleset without what changes by itself.
    fileprivate var rules: [Substring] {
        get throws {
            try inside("nft", "-s", "list", "ruleset").output.split(separator: "\n").sorted()
        }
    }
}
