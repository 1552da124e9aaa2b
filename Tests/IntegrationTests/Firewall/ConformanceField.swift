import Bridge
import ConformanceSupport
import Firewall
import LabSupport
import Model
import Namespaces
import Netlink
import Sys
import Wire

/// A fabric whose networks, endpoints and policies follow a conformance case, step by step, and which never
/// starts afresh: what a step changes is a difference of elements, as it is for a manager.
///
/// Containers, links and sockets are made once for each pod and serve all cases of a file. Pods of the host's
/// network are addresses of a namespace behind the uplink.
final class ConformanceField {
    private let home: HomeNamespace
    private let fabric: NetworkNamespace
    private var firewall: FirewallPlane
    private var plane: BridgePlane
    private var tracking: NetlinkSocket<NetfilterProtocol>
    private var bridges: [String: UInt32] = [:]
    private var hosts: [IPAddress: Host] = [:]
    private var internet: Host
    private var nextToken: UInt32 = 1

    // What is in force.
    private var networks: [String: Network] = [:]
    private var endpoints: [String: Endpoint] = [:]
    private var policies: [String: FirewallPolicy] = [:]

    /// A container, or the internet.
    private final class Host {
        let namespace: NetworkNamespace
        var datagrams: [TransportAddress: TokenSink] = [:]
        var connections: [TransportAddress: OpenPort] = [:]
        var associations: [IPAddress: SCTPSink] = [:]
        init(_ namespace: consuming NetworkNamespace) { self.namespace = namespace }
    }

    private struct TransportAddress: Hashable {
        let address: IPAddress
        let port: UInt16
    }

    init() throws {
        home = try HomeNamespace()
        fabric = try home.makeNamespace()
        firewall = try home.inside(fabric.descriptor) { try FirewallPlane() }
        plane = try home.inside(fabric.descriptor) { try BridgePlane() }
        tracking = try home.inside(fabric.descriptor) { try NetlinkSocket<NetfilterProtocol>() }
        try firewall.start(networks: [], endpoints: [], policies: [])
        internet = Host(try home.makeNamespace())
        let path = "/proc/\(LabSockets.ownPID)/fd/\(internet.namespace.descriptor.rawValue)"
        try ip(fabric, "link add uplink type veth peer name eth0 netns \(path)")
        try ip(fabric, "addr add 192.0.2.1/24 dev uplink")
        try ip(fabric, "addr add 2001:db8:fe::1/64 dev uplink nodad")
        try ip(fabric, "link set uplink up")
        try ip(internet.namespace, "addr add 192.0.2.2/24 dev eth0")
        try ip(internet.namespace, "addr add 2001:db8:fe::2/64 dev eth0 nodad")
        try ip(internet.namespace, "link set eth0 up")
        try ip(internet.namespace, "route add 10.0.0.0/8 via 192.0.2.1")
        try ip(internet.namespace, "route add fd00::/8 via 2001:db8:fe::1")
    }

    private func ip(_ namespace: borrowing NetworkNamespace, _ line: String) throws {
        var plan = ProcessPlan(["ip"] + line.split(separator: " ").map(String.init))
        plan.add(.join(namespace.descriptor.rawValue, .network))
        let result = try plan.run(timeoutSeconds: 10)
        guard result.status.code == 0 else {
            throw SystemError("ip", .invalid, "\(line): \(result.errors)")
        }
    }

    // MARK: What is in force

    /// Brings into force what differs between the world and what is.
    func follow(_ world: ConformanceWorld) throws {
        let wanted = Dictionary(uniqueKeysWithValues: world.policies.values.map { ($0.name, $0) })
        let gone = policies.keys.filter { wanted[$0] == nil }
        let changed = wanted.values.filter { policies[$0.name] != $0 }
        if !gone.isEmpty || !changed.isEmpty { try firewall.setPolicies(changed, removing: gone) }
        policies = wanted

        let members = world.members
        let present = Set(members.map(\.endpoint.id))
        for id in endpoints.keys where !present.contains(id) {
            try firewall.removeEndpoint(id: id)
            endpoints[id] = nil
        }
        let known = Dictionary(uniqueKeysWithValues: world.networks.map { ($0.id, $0) })
        for id in networks.keys where known[id] == nil {
            try firewall.removeNetwork(id: id)
            networks[id] = nil
        }
        for (id, network) in known where networks[id] != network {
            try firewall.addNetwork(network)
            if bridges[id] == nil {
                bridges[id] = try home.inside(fabric.descriptor) { try plane.ensureBridge(network) }.index
            }
            networks[id] = network
        }
        for member in members where endpoints[member.endpoint.id] != member.endpoint {
            try firewall.setEndpoint(member.endpoint)
            try attach(member)
            endpoints[member.endpoint.id] = member.endpoint
        }
        for address in world.outside where hosts[address] == nil {
            let length = address.family.width
            let gateway = address.family == .v4 ? "192.0.2.2" : "2001:db8:fe::2"
            let flags = address.family == .v4 ? "" : " nodad"
            try ip(internet.namespace, "addr add \(address)/\(length) dev eth0\(flags)")
            try ip(fabric, "route add \(address)/\(length) via \(gateway)")
            hosts[address] = internet
        }
    }

    /// The pod's container, with its link, the first time that there is such a pod.
    private func attach(_ member: NetworkMember) throws {
        guard let address = member.endpoint.addresses.first, hosts[address] == nil,
            let bridge = bridges[member.network.id]
        else { return }
        let host = Host(try home.makeNamespace())
        var inside = try home.inside(host.namespace.descriptor) { try NetlinkSocket<RouteProtocol>() }
        _ = try plane.attach(
            member.endpoint, network: member.network, bridge: bridge, namespace: host.namespace.descriptor,
            container: &inside)
        hosts[address] = host
    }

    /// Whether the kernel holds what it should.
    func isAsItShouldBe() throws -> Bool { try !firewall.reconcile() }

    /// What the compiler's rows say of a flow.
    func judge(_ flow: Flow) -> Outcome {
        let numbers = flow.transport.numbers(flow.source.address.family)
        return firewall.compiler.judge(
            from: flow.source.address, to: flow.destination.address, l4proto: numbers.l4proto,
            port: numbers.port)
    }

    // MARK: Packets

    /// Sends the first packet of every flow at once and says which got through.
    ///
    /// Waits until all that should have come has come, and then a moment more for what should not. What comes
    /// later still bears a token that is not of the next round, and is reported there.
    func probe(_ questions: [ConformanceWorld.Question]) throws -> Set<Int> {
        // Nothing that was allowed before may speak for what begins now.
        try tracking.flushConntrack()
        let first = nextToken
        nextToken += UInt32(questions.count)
        for question in questions { try listen(question.flow) }

        var probes: [Probe?] = Array(repeating: nil, count: questions.count)
        let bySource = Dictionary(grouping: questions.indices) { questions[$0].flow.source.address }
        for (source, indices) in bySource {
            guard let host = hosts[source] else { continue }
            try home.inside(host.namespace.descriptor) {
                for index in indices {
                    let flow = questions[index].flow
                    probes[index] = try Probe(
                        kind(flow.transport), from: source.description,
                        to: flow.destination.address.description, token: first + UInt32(index))
                }
            }
        }
        var passed: Set<Int> = []
        let wanted = Set(questions.indices.filter { questions[$0].isAllowed })
        let deadline = ContinuousClock.now + .seconds(3)
        var grace = 2
        while grace > 0, ContinuousClock.now < deadline {
            for token in try collect() {
                guard token >= first, token < nextToken else {
                    throw SystemError("probe", .invalid, "packet \(token) came after its round")
                }
                passed.insert(Int(token - first))
            }
            for (index, probe) in probes.enumerated() where !passed.contains(index) {
                if probe?.isAnswered ?? false { passed.insert(index) }
            }
            if wanted.isSubset(of: passed) { grace -= 1 }
            if grace > 0 { _ = try waitReadable([], milliseconds: 10) }
        }
        return passed
    }

    private func kind(_ transport: FlowTransport) -> Probe.Kind {
        switch transport {
        case .tcp(let port): .tcp(port)
        case .udp(let port): .udp(port)
        case .sctp(let port): .sctp(port)
        case .icmp, .other: .ping
        }
    }

    /// Opens what the flow is for, unless it is open.
    private func listen(_ flow: Flow) throws {
        let address = flow.destination.address
        guard let host = hosts[address] else { return }
        let port = flow.transport.numbers(address.family).port
        let place = TransportAddress(address: address, port: port)
        try home.inside(host.namespace.descriptor) {
            switch flow.transport {
            case .tcp where host.connections[place] == nil:
                host.connections[place] = try OpenPort(address.description, port: port)
            case .udp where host.datagrams[place] == nil:
                host.datagrams[place] = try TokenSink(address.description, port: port)
            case .sctp where host.associations[address] == nil:
                host.associations[address] = try SCTPSink(address.description)
            default: break
            }
        }
    }

    private func collect() throws -> Set<UInt32> {
        var tokens: Set<UInt32> = []
        for host in Array(hosts.values) + [internet] {
            for sink in host.datagrams.values { tokens.formUnion(try sink.drain()) }
            for sink in host.associations.values { tokens.formUnion(try sink.drain()) }
            for port in host.connections.values { try port.drain() }
        }
        return tokens
    }
}
