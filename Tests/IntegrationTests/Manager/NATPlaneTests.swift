import LabSupport
import Model
import NAT
import Namespaces
import Netlink
import Sys
import Testing
import Wire

/// The kernel's table follows the networks, and is mended.
@Suite(.serialized, .enabled(if: Lab.isAvailable())) struct NATPlaneTests {
    private func network(_ name: String, _ subnets: [String], nat: Bool = true) throws -> Network {
        Network(
            id: name, name: name, subnets: try subnets.map { try CIDR($0) }, isolation: .peerOnly,
            defaultVerdict: .deny, mtu: 1500, labels: [:], nat: nat)
    }

    private func ruleset(_ network: borrowing LabNamespace) throws -> String {
        try network.run("nft", "list", "ruleset").output
    }

    @Test(arguments: [true, false])
    func `the table comes with the first network that may be left and goes with the last`(_ owned: Bool)
        throws
    {
        let namespace = try LabNamespace()
        var plane = try namespace.inside { try NATPlane(ownsTable: owned, bridgeGroup: 7) }
        try plane.start([try network("plain", ["10.9.0.0/24"], nat: false)])
        #expect(try ruleset(namespace) == "")
        try plane.addNetwork(try network("plain2", ["10.8.0.0/24"], nat: false))
        #expect(try ruleset(namespace) == "")
        #expect(try !plane.reconcile())

        try plane.addNetwork(try network("a", ["10.1.0.0/24", "fd00:1::/64"]))
        var text = try ruleset(namespace)
        for part in [
            "table inet forge_nat", "type nat hook postrouting", "masquerade", "10.1.0.0/24", "fd00:1::/64",
        ] {
            #expect(text.contains(part), "\(part) in \(text)")
        }
        #expect(try !plane.reconcile(), "the kernel holds what it should")
        // Beside the first, so that one's end is the other's beginning.
        try plane.addNetwork(try network("b", ["10.1.1.0/24"]))
        #expect(try !plane.reconcile())
        try plane.removeNetwork(id: "a")
        text = try ruleset(namespace)
        #expect(text.contains("10.1.1.0/24") && !text.contains("10.1.0.0/24"), "\(text)")
        #expect(try !plane.reconcile())
        try plane.removeNetwork(id: "b")
        #expect(try ruleset(namespace) == "")
        #expect(try !plane.reconcile())
    }

    @Test(arguments: [true, false])
    func `the table is there while a port is translated`(_ owned: Bool) throws {
        let namespace = try LabNamespace()
        var plane = try namespace.inside { try NATPlane(ownsTable: owned, bridgeGroup: 7) }
        try plane.start([])
        #expect(try ruleset(namespace) == "")
        let addresses = [try IPAddress("10.1.0.2"), try IPAddress("fd00::2")]
        func translations(_ texts: String...) throws -> [NATPublication] {
            try PublishedPort.parse(texts).flatMap { NATPublication.all($0, to: addresses) }
        }
        try plane.publish(try translations("8080:80", "192.0.2.1:53/udp"), to: "a")
        let text = try ruleset(namespace)
        // Connections of each are counted.
        let count = "counter packets 0 bytes 0"
        for part in [
            "type nat hook prerouting priority dstnat", "fib daddr type local",
            "tcp . 8080 \(count) : 10.1.0.2 . 80", "tcp . 8080 \(count) : fd00::2 . 80",
            "192.0.2.1 . udp . 53 \(count) : 10.1.0.2 . 53", "10.1.0.2 . 10.1.0.2",
        ] {
            #expect(text.contains(part), "\(part) in \(text)")
        }
        #expect(try !plane.reconcile(), "the kernel holds what it should")
        // Another place for the same port, in one step.
        try plane.publish(try translations("8080:81", "[2001:db8::1]:53:54/udp"), to: "a")
        #expect(try !plane.reconcile())
        let changed = try ruleset(namespace)
        #expect(
            changed.contains("tcp . 8080 \(count) : 10.1.0.2 . 81") && !changed.contains("192.0.2.1"),
            "\(changed)")
        #expect(try plane.connections().values.reduce(0, +) == 0)
        try plane.publish([], to: "a")
        #expect(try ruleset(namespace) == "")
        try plane.publish([], to: "b")
        #expect(try !plane.reconcile())
    }

    @Test func `what somebody did to a table that is not ours alone is mended`() throws {
        let namespace = try LabNamespace()
        var plane = try namespace.inside { try NATPlane(ownsTable: false, bridgeGroup: 7) }
        try plane.start([try network("a", ["10.1.0.0/24", "fd00:1::/64"])])
        let before = try ruleset(namespace)
        for damage in [
            ["flush", "ruleset"], ["flush", "chain", "inet", "forge_nat", "postrouting"],
            ["delete", "element", "inet", "forge_nat", "sources4", "{ 10.1.0.0/24 }"],
            ["add", "rule", "inet", "forge_nat", "postrouting", "accept"],
        ] {
            let result = try namespace.plan(["nft"] + damage).run(timeoutSeconds: 10)
            try #require(result.status.code == 0, "\(result.errors)")
            #expect(try ruleset(namespace) != before)
            #expect(try plane.reconcile())
            #expect(try ruleset(namespace) == before)
            #expect(try !plane.reconcile())
        }
    }

    @Test func `a table of ours alone withstands a flush, and the next manager takes it over as it is`()
        throws
    {
        let namespace = try LabNamespace()
        let networks = [try network("a", ["10.1.0.0/24"])]
        var first = try namespace.inside { try NATPlane(ownsTable: true, bridgeGroup: 7) }
        try first.start(networks)
        let before = try ruleset(namespace)
        _ = try namespace.run("nft", "flush", "ruleset")
        #expect(try ruleset(namespace) == before)
        var second = try namespace.inside { try NATPlane(ownsTable: true, bridgeGroup: 7) }
        #expect(throws: NATError.self, "the first has it") { try second.start(networks) }
        try namespace.inside { first.disown() }
        var third = try namespace.inside { try NATPlane(ownsTable: true, bridgeGroup: 7) }
        try third.start(networks)
        #expect(try !third.reconcile())
        #expect(try ruleset(namespace) == before)
        try third.destroy()
        #expect(try ruleset(namespace) == "")
    }
}
