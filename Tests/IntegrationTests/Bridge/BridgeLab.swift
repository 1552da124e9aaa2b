import Bridge
import Model
import Namespaces
import Netlink
import Sys
import Testing
import Wire

/// A namespace that stands for the fabric, with one network, and containers beside it. All goes with the
/// value.
final class BridgeLab {
    let home: HomeNamespace
    let fabric: NetworkNamespace
    var plane: BridgePlane
    let network: Network
    private(set) var bridge: UInt32 = 0

    static let both = ["10.77.0.0/24", "fd00:77::/64"]

    init(_ subnets: [String] = both, mtu: Int = 1500, name: String = "lab") throws {
        home = try HomeNamespace()
        fabric = try home.makeNamespace()
        plane = try home.inside(fabric.descriptor) { try BridgePlane() }
        network = Self.network(try subnets.map { try CIDR($0) }, mtu: mtu, name: name)
        bridge = try ensure().index
    }

    static func network(_ subnets: [CIDR], mtu: Int = 1500, name: String = "lab") -> Network {
        let id = name.utf8.map { String($0, radix: 16) }.joined()
        return Network(
            id: id + String(repeating: "0", count: 64 - id.count), name: name, subnets: subnets,
            isolation: .peerOnly, defaultVerdict: .allow, mtu: mtu, labels: [:])
    }

    /// In the fabric's namespace, which is where /proc/sys is looked at.
    @discardableResult
    func ensure(_ other: Network? = nil) throws -> EnsuredBridge {
        try home.inside(fabric.descriptor) { try plane.ensureBridge(other ?? network) }
    }

    func newPlane() throws -> BridgePlane {
        try home.inside(fabric.descriptor) { try BridgePlane() }
    }

    func inFabric<R: ~Copyable>(_ body: () throws -> R) throws -> R {
        try home.inside(fabric.descriptor, body)
    }

    /// A container with a network namespace of its own and nothing in it.
    func container() throws -> Container { try Container(home) }

    /// The endpoint number `number` of the network: it has the address with that number in each subnet.
    func endpoint(_ number: Int, of other: Network? = nil, interface: String = "eth0", segment: Int = 0)
        throws -> Endpoint
    {
        let network = other ?? network
        let digits = String(number, radix: 16)
        let prefix = String(repeating: "0", count: 8 - digits.count) + digits + network.id.prefix(5)
        return Endpoint(
            id: prefix + String(repeating: "e", count: 64 - prefix.count), containerID: "container-\(number)",
            networkID: network.id, name: "e\(number)", labels: [:],
            addresses: try network.subnets.map { try #require($0.address(at: UInt128(number))) },
            mac: MACAddress(bits: 0x0250_0000_0000 + UInt64(number)), segment: segment,
            interfaceName: interface,
            namespace: NamespaceReference(path: "", device: 0, inode: 0))
    }

    @discardableResult
    func attach(
        _ endpoint: Endpoint, to container: Container, network other: Network? = nil,
        bridge index: UInt32? = nil
    ) throws -> AttachedLink {
        var socket = try container.routeSocket()
        return try plane.attach(
            endpoint, network: other ?? network, bridge: index ?? bridge,
            namespace: container.namespace.descriptor, container: &socket)
    }

    /// A socket of the test's own in the fabric, to see and to meddle with.
    func routeSocket() throws -> NetlinkSocket<RouteProtocol> {
        try home.inside(fabric.descriptor) { try NetlinkSocket<RouteProtocol>() }
    }

    /// Changes or reads something in the fabric behind the plane's back.
    func meddle<R>(_ body: (inout NetlinkSocket<RouteProtocol>) throws -> R) throws -> R {
        var socket = try routeSocket()
        return try body(&socket)
    }
}

/// A network namespace that stands for a container's.
final class Container {
    private let home: HomeNamespace
    let namespace: NetworkNamespace

    init(_ home: HomeNamespace) throws {
        self.home = home
        namespace = try home.makeNamespace()
    }

    func routeSocket() throws -> NetlinkSocket<RouteProtocol> {
        try home.inside(namespace.descriptor) { try NetlinkSocket<RouteProtocol>() }
    }

    func inside<R: ~Copyable>(_ body: () throws -> R) throws -> R {
        try home.inside(namespace.descriptor, body)
    }

    func link(_ name: String = "eth0") throws -> Link {
        var socket = try routeSocket()
        return try Link(#require(try socket.perform(.getLink(.name(name))).first))
    }

    func addresses() throws -> [InterfaceAddress] {
        var socket = try routeSocket()
        return try socket.dump(.listAddresses()).compactMap { try InterfaceAddress($0) }
    }

    func routes(_ family: IPFamily) throws -> [Route] {
        var socket = try routeSocket()
        return try socket.dump(.listRoutes(family)).compactMap { try Route($0) }
    }

    /// Default routes, the preferred one first.
    func defaultRoutes(_ family: IPFamily) throws -> [Route] {
        try routes(family).filter { $0.destination == nil && $0.gateway != nil }.sorted {
            $0.metric < $1.metric
        }
    }

    func neighbours() throws -> [Neighbour] {
        var socket = try routeSocket()
        return try socket.dump(.listNeighbours(.neighbours)).compactMap { try Neighbour($0) }
    }
}

extension BridgeLab {
    /// The fabric's links, as the test sees them.
    func links() throws -> [Link] { try meddle { try $0.dump(.listLinks()).map { try Link($0) } } }

    func neighbours(_ table: Neighbour.Table) throws -> Set<Neighbour> {
        try meddle { Set(try $0.dump(.listNeighbours(table)).compactMap { try Neighbour($0) }) }
    }

    /// What bridges know of where addresses are.
    func entries() throws -> Set<Neighbour> { try neighbours(.neighbours) }

    /// Routes to a single address, by which bridges other than the first are found.
    func hostRoutes() throws -> [Route] {
        try IPFamily.allCases.flatMap { family in
            try meddle { try $0.dump(.listRoutes(family)).compactMap { try Route($0) } }
                .filter { $0.kind == .unicast && $0.destination?.prefixLength == family.width }
        }
    }

    func addresses(on link: UInt32) throws -> [InterfaceAddress] {
        try meddle {
            try $0.dump(.listAddresses(link: link)).compactMap { try InterfaceAddress($0) }.filter {
                $0.link == link
            }
        }
    }

    /// A value under /proc/sys, of the fabric.
    func setting(_ path: String) throws -> String {
        try home.inside(fabric.descriptor) { try readFile("/proc/sys/" + path).filter { $0 != "\n" } }
    }
}
