import Firewall
import LabSupport
import Model
import Netlink
import Testing

/// Some rulesets that the kernel takes crash nft; ours must be one that people can look at.
@Suite(.enabled(if: PrivateNetwork.isAllowed, "needs root, or a user namespace of one's own (unshare -Urnm)"))
struct RulesetListingTests {
    @Test func `nft lists the firewall's whole ruleset, as text and as JSON`() throws {
        let network = try PrivateNetwork()
        var firewall = try network.inside { try FirewallPlane() }
        let world = RandomWorld(seed: 7, policies: 12)
        let some = TrafficLimit(connections: 5, packets: 7, bandwidth: Bandwidth(kilobits: 16))
        let limits = FirewallPolicy(
            name: "limits", selector: EndpointSelector(), limits: EndpointLimits(ingress: some, egress: some),
            ingress: [PolicyRule(limit: some)], egress: [PolicyRule(limit: some)])
        try firewall.start(
            networks: world.networks, endpoints: world.members.map(\.endpoint),
            policies: world.policies + [limits])
        let listing = try network.listing()
        for text in [
            "table inet forge", "table bridge forge", "map ports", "counter", "limit rate over 7/second",
            "limit rate over 2000 bytes/second",
        ] {
            #expect(listing.contains(text), "\(text)\n\(listing)")
        }
        // Every chain and set of ours is there by name.
        var socket = try network.netfilterSocket()
        for table in [KernelLayout.policyTable, KernelLayout.spoofingTable] {
            for chain in try socket.listChains(table) { #expect(listing.contains("chain \(chain.name) {")) }
            for set in try socket.listSets(table) {
                #expect(listing.contains("set \(set.name) {") || listing.contains("map \(set.name) {"))
            }
        }
        try firewall.destroy()
        #expect(try network.listing().isEmpty)
    }

    @Test func `what an earlier manager has left becomes what there should be`() throws {
        let network = try PrivateNetwork()
        for seed in 0..<40 as Range<UInt64> {
            do {
                var earlier = try network.inside { try FirewallPlane() }
                let world = RandomWorld(seed: seed)
                try earlier.start(
                    networks: world.networks, endpoints: world.members.map(\.endpoint),
                    policies: world.policies)
            }
            var plane = try network.inside { try FirewallPlane() }
            let world = RandomWorld(seed: seed + 1000)
            try plane.start(
                networks: world.networks, endpoints: world.members.map(\.endpoint), policies: world.policies)
            #expect(try !plane.reconcile(), "seed \(seed)")
        }
    }
}
