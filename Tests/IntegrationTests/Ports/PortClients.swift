import ForwardingSupport
import LabSupport
import Namespaces
import Sys
import Testing

/// A fabric with a server and its neighbour, on a host that a client outside can reach.
///
/// ```
/// outside ── veth ── host ······ fabric ── web    10.77.0.10
///  192.0.2.77, .78    192.0.2.1            other  10.77.0.11
/// ```
final class PublishedLab {
    let fabric: FabricFixture
    let outside: LabNamespace
    private let containers: Containers
    private let home: HomeNamespace

    static let clients: [String: String] = ["192.0.2.1": "192.0.2.77", "2001:db8:1::1": "2001:db8:1::77"]
    /// The host's addresses, and what the server's is there.
    static let hosts = ["192.0.2.1": "10.77.0.10", "2001:db8:1::1": "fd77::10"]

    /// 192.0.2.77, 2001:db8:1::77, the gateway and the other endpoint may come in at ports 80 to 89.
    static let policy = """
        policy: published
        endpoints: {labels: {app: web}}
        ingress:
          - from: [{cidr: 192.0.2.77/32}, {cidr: "2001:db8:1::77/128"}, {cidr: 10.77.0.1/32}]
            ports: [80-89/tcp, 80-89/udp]
          - from: [{labels: {app: other}}]
        ---
        policy: neighbour
        endpoints: {labels: {app: other}}
        egress: [{to: [{labels: {app: web}}]}]

        """

    init(_ owner: FabricFixture.Owner) throws {
        fabric = try FabricFixture(owner)
        outside = try LabNamespace()
        home = try HomeNamespace()
        let peer = try fabric.host.run(
            "ip", "link", "add", "up0", "type", "veth", "peer", "name", "eth0", "netns", outside.path)
        try #require(peer.status.code == 0, "\(peer.errors)")
        try Self.setUp(fabric.host, "up0", ["192.0.2.1/24", "2001:db8:1::1/64"])
        try Self.setUp(outside, "eth0", ["192.0.2.77/24", "192.0.2.78/24", "2001:db8:1::77/64"])
        try fabric.up()
        try fabric.succeed("network create shop --subnet 10.77.0.0/24 --subnet fd77::/64")
        containers = try Containers(fabric, 2)
        try attach("web", "--label app=web")
        try attach("other", "--label app=other")
        let file = try fabric.write("p.yaml", Self.policy)
        try fabric.succeed("policy apply -f \(file)")
    }

    private static func setUp(_ namespace: borrowing LabNamespace, _ link: String, _ addresses: [String])
        throws
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

    /// `web` or `other`.
    func attach(_ name: String, _ more: String = "") throws {
        let index = name == "web" ? 0 : 1
        try fabric.succeed(
            "attach --network shop --container c-\(name) --pid \(pid(of: name)) --name \(name) "
                + "--ip 10.77.0.1\(index) --ip fd77::1\(index) \(more)")
    }

    /// Attaches `web` with more options, which must be refused.
    func refuseAttach(_ more: String, _ message: String) throws {
        try fabric.refuse(
            "attach --network shop --container c-web --pid \(pid(of: "web")) --name web \(more)", message)
    }

    /// A server's socket in `web`.
    func listen(
        _ transport: LabSockets.Transport, _ port: UInt16, at address: String = "10.77.0.10"
    ) throws -> Server {
        let container = try NetworkNamespace.open(path: "/proc/\(pid(of: "web"))/ns/net")
        return Server(
            try home.inside(container.descriptor) { try LabSockets.bind(transport, address, port: port) })
    }

    /// A socket that can be handed about.
    final class Server {
        let socket: Descriptor
        init(_ socket: consuming Descriptor) { self.socket = socket }
    }

    /// A client outside.
    func connect(
        _ transport: LabSockets.Transport, _ port: UInt16, to host: String = "192.0.2.1",
        timeoutSeconds: Double = 5
    ) throws -> Descriptor {
        try outside.inside {
            try LabSockets.connect(transport, host, port: port, timeoutSeconds: timeoutSeconds)
        }
    }

    /// Clients come from this address from now on.
    func moveClients(to address: String) throws {
        let result = try outside.run(
            "ip", "route", "replace", "192.0.2.0/24", "dev", "eth0", "src", address)
        try #require(result.status.code == 0, "\(result.errors)")
    }

    /// A socket of a container's that is connected to an address.
    func connect(from name: String, to address: String, _ port: UInt16) throws -> Descriptor {
        let container = try NetworkNamespace.open(path: "/proc/\(pid(of: name))/ns/net")
        return try home.inside(container.descriptor) {
            try LabSockets.connect(.tcp, address, port: port, timeoutSeconds: 2)
        }
    }

    /// The namespace of whatever endpoint; it lives as long as the descriptor.
    func namespace(of endpoint: String) throws -> Descriptor {
        let text = try fabric.succeed("endpoint inspect \(endpoint)")
        let path = text.split(separator: "\"").first { $0.hasPrefix("/proc/") }
        return try Descriptor.open(String(try #require(path)), 0)
    }

    func pid(of name: String) -> Int32 { containers.pids[name == "web" ? 0 : 1] }

    func end(_ name: String) { containers.end(name == "web" ? 0 : 1) }

    /// Whether a connection to a port of the host's is accepted, by whomever.
    func isOpen(_ port: UInt16) -> Bool {
        do {
            _ = try connect(.tcp, port, timeoutSeconds: 1)
            return true
        } catch { return false }
    }

    /// Whether a client comes through to a server, and the server's word back.
    func passes(_ port: UInt16, _ server: Server) -> Bool {
        do {
            let client = try connect(.tcp, port, timeoutSeconds: 1)
            let accepted = try PlainSockets.accept(server.socket, milliseconds: 1000)
            try LabSockets.send(accepted.socket, "hello")
            return try LabSockets.receive(client, timeoutSeconds: 1) == "hello"
        } catch { return false }
    }

    /// Whether the forwarder takes connections to a port of the host's, wherever they lead.
    func isForwarded(_ port: UInt16) -> Bool {
        do {
            _ = try fabric.host.inside { try LabSockets.connect(.tcp, "127.0.0.1", port: port) }
            return true
        } catch { return false }
    }
}
