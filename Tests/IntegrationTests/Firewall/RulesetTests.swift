import Firewall
import LabSupport
import Model
import Namespaces
import Testing
import Wire

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

    @Test func `policies that come to more than the kernel's sets should hold leave the old rules in force`()
        throws
    {
        let network = try PrivateNetwork()
        var plane = try network.inside { try FirewallPlane(rowLimit: 200) }
        let world = RandomWorld(seed: 1, policies: 0)
        let open = FirewallPolicy(name: "open", selector: EndpointSelector(), ingress: [PolicyRule()])
        let small = FirewallPolicy(name: "large", selector: EndpointSelector(), egress: [PolicyRule()])
        try plane.start(
            networks: world.networks, endpoints: world.members.map(\.endpoint), policies: [open, small])
        let before = plane.compiler.rows
        let blocks = try (0..<200).map { PolicyPeer.cidr(try CIDR("198.18.0.\($0)/32"), except: []) }
        let large = FirewallPolicy(
            name: "large", selector: EndpointSelector(),
            ingress: blocks.enumerated().map {
                PolicyRule(peers: [$1], ports: [PortMatch(.tcp, UInt16($0 + 1)...UInt16($0 + 1))])
            })
        #expect { try plane.setPolicies([large], removing: ["open"]) } throws: { error in
            (error as? FirewallError)?.code == .tooLarge && "\(error)".contains("200 at most")
        }
        #expect(plane.compiler.rows == before)
        #expect(try !plane.reconcile())
        try plane.setPolicies([], removing: ["open", "large"])
        #expect(try !plane.reconcile())
    }
}
