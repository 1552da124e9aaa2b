import Firewall
import LabSupport
import Model
import Namespaces
import Testing

/// The kernel takes every ruleset that policies can be made into, and holds what it was told.
@Suite(.enabled(if: Lab.isAvailable())) struct RulesetTests {
    @Test func `the kernel accepts the rules of a hundred random worlds, and every change of them`() throws {
        let home = try HomeNamespace()
        let fabric = try home.makeNamespace()
        var firewall = try home.inside(fabric.descriptor) { try FirewallPlane() }
        try firewall.start(networks: [], endpoints: [], policies: [])
        for seed in 2000..<2100 as Range<UInt64> {
            var world = RandomWorld(seed: seed, policies: 8)
            for network in world.networks { try firewall.addNetwork(network) }
            for member in world.members { try firewall.setEndpoint(member.endpoint) }
            try firewall.setPolicies(world.policies, removing: [])
            for step in 0..<5 {
                try firewall.setPolicies([world.policy("policy\(step)")], removing: ["policy\(step + 5)"])
                world.members[step] = world.endpoint(step)
                try firewall.setEndpoint(world.members[step].endpoint)
            }
            let wasAmiss = try firewall.reconcile()
            #expect(!wasAmiss, "seed \(seed): the kernel holds what it should")
            try firewall.setPolicies([], removing: firewall.compiler.policyNames)
            for member in world.members { try firewall.removeEndpoint(id: member.endpoint.id) }
            for network in world.networks { try firewall.removeNetwork(id: network.id) }
        }
        #expect(firewall.compiler.rows.isEmpty)
    }
}
