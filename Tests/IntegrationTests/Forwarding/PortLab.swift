import Forwarding
import ForwardingSupport
import LabSupport
import Model
import Namespaces
import Netlink
import NetworkManager
import Sys
import Testing
import Wire

/// A host with a client outside, and a fabric beside it that shares nothing with the host but descriptors.
///
/// ```
/// outside ── veth ── host          fabric (the lab's own namespace) ── web
///  192.0.2.77         192.0.2.1, .2      manager, forwarder's sockets
/// ```
final class PortLab {
    let manager: NetworkManager
    let network: Network
    let web: ManagedContainer
    let server: Assignment
    let host: LabNamespace
    let outside: LabNamespace
    let harness: ForwarderHarness
    private let routing: PortRouting
    private var nextID: UInt32 = 1

    static let clients: [IPFamily: String] = [.v4: "192.0.2.77", .v6: "2001:db8:1::77"]
    static let hosts: [IPFamily: String] = [.v4: "192.0.2.1", .v6: "2001:db8:1::1"]

    /// With policy that lets everybody in to web, at ports 80 to 89.
    static func with(
        limits: ForwardLimits = ForwardLimits(), _ body: (PortLab) async throws -> Void
    ) async throws {
        try await withManager { manager in
            let network = try await manager.createNetwork(NetworkRequest(name: "shop", isolation: .none))
            let web = try ManagedContainer()
            let server = try await manager.assign(
                containerID: "c-web", network: "shop", namespace: .path(web.path), name: "web")
            let lab = try PortLab(manager, network, web, server, limits)
            try await lab.allow(PolicyRule(ports: [.init(.tcp, 80...89), .init(.udp, 80...89)]))
            do { try await body(lab) } catch {
                try lab.end()
                throw error
            }
            try lab.end()
        }
    }

    private init(
        _ manager: NetworkManager, _ network: Network, _ web: ManagedContainer, _ server: Assignment,
        _ limits: ForwardLimits
    ) throws {
        (self.manager, self.network, self.web, self.server) = (manager, network, web, server)
        host = try LabNamespace()
        outside = try LabNamespace()
        routing = PortRouting(own: network.subnets)
        try routing.applyHere()
        harness = try ForwarderHarness(limits: limits)
        // Of a manager that was replaced before its last part nothing is kept.
        try harness.send(.own([try CIDR("0.0.0.0/0"), try CIDR("::/0")], isLast: false))
        try harness.send(.beginResync)
        for (part, isLast) in network.subnets.parts(of: 1) { try harness.send(.own(part, isLast: isLast)) }
        let peer = try host.run(
            "ip", "link", "add", "up0", "type", "veth", "peer", "name", "eth0", "netns", outside.path)
        try #require(peer.status.code == 0, "\(peer.errors)")
        try addresses(host, "up0", ["192.0.2.1/24", "192.0.2.2/24", "2001:db8:1::1/64"])
        try addresses(outside, "eth0", ["192.0.2.77/24", "192.0.2.78/24", "2001:db8:1::77/64"])
    }

    private func addresses(_ namespace: borrowing LabNamespace, _ link: String, _ addresses: [String]) throws
    {
        for address in addresses {
            let flags = address.contains(":") ? ["nodad"] : []
            let result = try namespace.plan(["ip", "address", "add", address, "dev", link] + flags).run(
                timeoutSeconds: 10)
            try #require(result.status.code == 0, "\(result.errors)")
        }
        let result = try namespace.run("ip", "link", "set", link, "up")
        try #require(result.status.code == 0, "\(result.errors)")
    }

    private func end() throws {
        harness.stop()
        try routing.removeHere()
    }

    func allow(_ rule: PolicyRule) async throws {
        try await manager.apply([
            FirewallPolicy(
                name: "published", selector: EndpointSelector(), ingress: [rule], egress: [PolicyRule()])
        ])
    }

    func address(_ family: IPFamily) throws -> String {
        try #require(server.addresses.first { $0.family == family }).description
    }

    func gateway(_ family: IPFamily) throws -> String {
        try #require(network.gateway(family)).description
    }

    /// Publishes a port on all of the host's addresses.
    @discardableResult
    func publish(_ transport: ForwardTransport, _ hostPort: UInt16, to port: UInt16) throws -> UInt32 {
        let listener = try host.inside {
            try LabSockets.bind(transport == .tcp ? .tcp : .udp, "::", port: hostPort)
        }
        let id = nextID
        nextID += 1
        try harness.publish(
            ForwardedPort(
                id: id, transport: transport, targets: server.addresses, port: port,
                standIns: IPFamily.allCases.compactMap { network.gateway($0) }), listener)
        if transport == .udp {
            // So that the first datagram does not come before there is a socket for it.
            _ = try harness.expect { if case .wantSockets(_, .udp, _) = $0 { true } else { false } }
            _ = try harness.counters(id)
        }
        return id
    }

    func listen(_ transport: LabSockets.Transport, _ family: IPFamily, port: UInt16) throws -> Descriptor {
        let address = try address(family)
        return try web.namespace.inside { try LabSockets.bind(transport, address, port: port) }
    }

    /// A client outside.
    func connect(
        _ transport: LabSockets.Transport, _ family: IPFamily, port: UInt16, timeoutSeconds: Double = 5
    ) throws -> Descriptor {
        let address = try #require(PortLab.hosts[family])
        return try outside.inside {
            try LabSockets.connect(transport, address, port: port, timeoutSeconds: timeoutSeconds)
        }
    }
}

extension PortRouting {
    /// In the calling thread's namespace.
    func applyHere() throws {
        var netfilter = try NetlinkSocket<NetfilterProtocol>()
        var route = try NetlinkSocket<RouteProtocol>()
        try apply(netfilter: &netfilter, route: &route)
    }

    func removeHere() throws {
        var netfilter = try NetlinkSocket<NetfilterProtocol>()
        var route = try NetlinkSocket<RouteProtocol>()
        try remove(netfilter: &netfilter, route: &route)
    }
}
