import Bridge
import Firewall
import LabSupport
import Model
import Namespaces
import Netlink
import Sys
import Testing
import Wire

/// Real packets through real rules: what the kernel lets pass is what the pure evaluation says.
@Suite(.serialized, .enabled(if: Lab.isAvailable())) struct PacketTests {
    @Test func `packets pass exactly where the evaluation of generated policies lets them`() throws {
        let field = try PacketField(RandomWorld(seed: 1000))
        var judged = (allowed: 0, denied: 0)
        var exits = 0
        for seed in 1000..<1012 as Range<UInt64> {
            var world = RandomWorld(seed: seed)
            if seed % 2 == 1 { world.isolateExits([.peerOnly, .full, .meshOnly][Int(seed % 3)]) }
            try field.enter(world)
            var flows: [Flow] = []
            while flows.count < 250 {
                let flow = world.flow()
                // The kernel that tests run on may have no SCTP.
                if case .other = flow.transport { continue }
                if case .sctp = flow.transport { continue }
                if flow.source.member?.endpoint.id == flow.destination.member?.endpoint.id { continue }
                flows.append(flow)
            }
            let expected = flows.map { PolicyEvaluator.evaluate(policies: world.policies, flow: $0) }
            let passed = try field.probe(flows, expecting: expected.map(\.isAllowed))
            for (index, flow) in flows.enumerated() {
                #expect(
                    passed.contains(index) == expected[index].isAllowed,
                    "seed \(seed): \(flow.source.address) to \(flow.destination.address) \(flow.transport): \(expected[index])"
                )
                if let source = flow.source.member?.network, flow.destination.member == nil, source.nat,
                    source.isolation != .none, expected[index].isAllowed
                {
                    exits += 1
                }
                if expected[index].isAllowed { judged.allowed += 1 } else { judged.denied += 1 }
            }
            #expect(try !field.reconcile(), "the kernel holds what it should")
        }
        // Worlds in which nothing passes, or everything, would prove nothing.
        #expect(judged.allowed > 200)
        #expect(judged.denied > 200)
        #expect(exits > 20, "out of networks that are closed otherwise")
        print("packets: \(judged), \(exits) out of networks that are closed otherwise")
    }
}

/// A fabric with nine containers, and an internet beside it, all listening on every port that policies speak
/// of.
final class PacketField {
    private let home: HomeNamespace
    private let fabric: NetworkNamespace
    private var firewall: FirewallPlane
    private var world: RandomWorld
    private var hosts: [Host] = []

    private final class Host {
        let namespace: NetworkNamespace
        var sinks: [TokenSink] = []
        var ports: [OpenPort] = []
        init(_ namespace: consuming NetworkNamespace) { self.namespace = namespace }
    }

    /// Builds bridges and links for the world's networks and endpoints; policies come with `enter`.
    init(_ world: RandomWorld) throws {
        self.world = world
        home = try HomeNamespace()
        fabric = try home.makeNamespace()
        firewall = try home.inside(fabric.descriptor) { try FirewallPlane() }
        try firewall.start(networks: world.networks, endpoints: [], policies: [])
        var plane = try home.inside(fabric.descriptor) { try BridgePlane() }
        for network in world.networks {
            let index = try home.inside(fabric.descriptor) { try plane.ensureBridge(network) }.index
            for member in world.members where member.network.id == network.id {
                try firewall.setEndpoint(member.endpoint)
                let host = Host(try home.makeNamespace())
                var inside = try home.inside(host.namespace.descriptor) {
                    try NetlinkSocket<RouteProtocol>()
                }
                _ = try plane.attach(
                    member.endpoint, network: network, bridge: index, namespace: host.namespace.descriptor,
                    container: &inside)
                try listen(host, member.endpoint.addresses.map(\.description))
                hosts.append(host)
            }
        }
        try addInternet()
    }

    /// A namespace behind a link of the fabric's own, with addresses that no endpoint has.
    private func addInternet() throws {
        let host = Host(try home.makeNamespace())
        func ip(_ namespace: borrowing NetworkNamespace, _ line: String) throws {
            var plan = ProcessPlan(["ip"] + line.split(separator: " ").map(String.init))
            plan.add(.join(namespace.descriptor.rawValue, .network))
            let result = try plan.run(timeoutSeconds: 10)
            guard result.status.code == 0 else {
                throw SystemError("ip", .invalid, "\(line): \(result.errors)")
            }
        }
        let path = "/proc/\(LabSockets.ownPID)/fd/\(host.namespace.descriptor.rawValue)"
        try ip(fabric, "link add uplink type veth peer name eth0 netns \(path)")
        try ip(fabric, "addr add 192.0.2.1/24 dev uplink")
        try ip(fabric, "addr add 2001:db8:fe::1/64 dev uplink nodad")
        try ip(fabric, "link set uplink up")
        try ip(host.namespace, "addr add 192.0.2.2/24 dev eth0")
        try ip(host.namespace, "addr add 2001:db8:fe::2/64 dev eth0 nodad")
        for address in RandomWorld.outside.map(\.description) {
            try ip(
                host.namespace, "addr add \(address)/\(address.contains(":") ? "128 nodad" : "32") dev eth0")
        }
        try ip(host.namespace, "link set eth0 up")
        try ip(host.namespace, "route add 10.0.0.0/8 via 192.0.2.1")
        try ip(host.namespace, "route add fd00::/8 via 2001:db8:fe::1")
        try ip(fabric, "route add default via 192.0.2.2")
        try ip(fabric, "route add default via 2001:db8:fe::2")
        try listen(host, RandomWorld.outside.map(\.description))
        hosts.append(host)
    }

    private func listen(_ host: Host, _ addresses: [String]) throws {
        try home.inside(host.namespace.descriptor) {
            try writeFile("/proc/sys/net/ipv4/ping_group_range", "0 0")
            try LabSockets.bringLoopbackUp()
            for address in addresses {
                for port in RandomWorld.ports {
                    host.sinks.append(try TokenSink(address, port: port))
                    host.ports.append(try OpenPort(address, port: port))
                }
            }
        }
    }

    /// Puts another world's labels, isolation and policies in force on the same links.
    func enter(_ next: RandomWorld) throws {
        try firewall.setPolicies([], removing: world.policies.map(\.name))
        for member in world.members { try firewall.removeEndpoint(id: member.endpoint.id) }
        for network in world.networks { try firewall.removeNetwork(id: network.id) }
        for network in next.networks { try firewall.addNetwork(network) }
        for member in next.members { try firewall.setEndpoint(member.endpoint) }
        try firewall.setPolicies(next.policies, removing: [])
        world = next
    }

    func reconcile() throws -> Bool { try firewall.reconcile() }

    /// Sends the first packet of every flow and says which got through.
    ///
    /// Waits until all that should have come has come, and then a moment more for what should not.
    func probe(_ flows: [Flow], expecting: [Bool]) throws -> Set<Int> {
        var probes: [Probe?] = []
        for (index, flow) in flows.enumerated() {
            let kind: Probe.Kind =
                switch flow.transport {
                case .tcp(let port): .tcp(port)
                case .udp(let port): .udp(port)
                case .icmp, .other, .sctp: .ping
                }
            probes.append(
                try home.inside(host(of: flow.source).namespace.descriptor) {
                    try Probe(
                        kind, from: flow.source.address.description, to: flow.destination.address.description,
                        token: UInt32(index))
                })
        }
        var passed: Set<Int> = []
        let wanted = Set(expecting.indices.filter { expecting[$0] })
        let deadline = ContinuousClock.now + .seconds(3)
        var grace = 4
        while grace > 0, ContinuousClock.now < deadline {
            if wanted.isSubset(of: passed) { grace -= 1 }
            _ = try waitReadable([], milliseconds: 25)
            for (index, probe) in probes.enumerated() where probe?.isAnswered ?? false {
                passed.insert(index)
            }
            for host in hosts {
                for sink in host.sinks { passed.formUnion(try sink.drain().map(Int.init)) }
                for port in host.ports { try port.drain() }
            }
        }
        return passed
    }

    private func host(of side: FlowSide) -> Host {
        guard let member = side.member,
            let index = sorted.firstIndex(where: { $0.endpoint.id == member.endpoint.id })
        else { return hosts[hosts.count - 1] }
        return hosts[index]
    }

    /// Members in the order in which their hosts were made.
    private var sorted: [NetworkMember] {
        world.networks.flatMap { network in world.members.filter { $0.network.id == network.id } }
    }
}
