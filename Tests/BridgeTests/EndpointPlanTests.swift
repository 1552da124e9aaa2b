import Model
import Netlink
import Testing
import Wire

@testable import Bridge

struct EndpointPlanTests {
    private let network: Network
    private let endpoint: Endpoint

    init() throws {
        network = Self.network(try [CIDR("10.1.0.0/16"), CIDR("fd00:1::/64")])
        endpoint = try Self.endpoint("10.1.0.9", "fd00:1::9")
    }

    private static func network(_ subnets: [CIDR], mtu: Int = 1400, id: String = "ab") -> Network {
        Network(
            id: id + String(repeating: "0", count: 62), name: "net", subnets: subnets, isolation: .peerOnly,
            defaultVerdict: .deny, mtu: mtu, labels: [:])
    }

    private static func endpoint(_ addresses: String...) throws -> Endpoint {
        Endpoint(
            id: String(repeating: "c", count: 64), containerID: "box", networkID: "", name: "web",
            labels: [:],
            addresses: try addresses.map(IPAddress.init), mac: try MACAddress("02:00:00:00:00:09"),
            interfaceName: "eth0", namespace: NamespaceReference(path: "", device: 0, inode: 0))
    }

    @Test func `the pair is made, marked and isolated, and only then brought up`() throws {
        let plan = try EndpointPlan(endpoint, network: network, bridge: 3, kernelHasIPv6: true)
        #expect(
            plan.create(index: 70000, peerIndex: 5000, namespace: 9)
                == .addLink(
                    LinkSpec(
                        name: "fvccccccccccccc", index: 70000, mtu: 1400, group: 0x666f_7267, master: 3,
                        queues: 1,
                        kind: .veth(
                            peer: VethPeer(
                                name: "eth0", index: 5000, mac: endpoint.mac, mtu: 1400, namespace: 9)))))
        let marks = LinkChange(
            alias: "forge:" + endpoint.id, addressGeneration: AddressGeneration.none, port: EndpointPlan.port)
        #expect(
            plan.mark(index: 70000) == [
                .changeLink(.index(70000), marks), .changeLink(.index(70000), LinkChange(isUp: true)),
            ])
        #expect(EndpointPlan.port.isolated == true && EndpointPlan.port.unicastFlood == false)
    }

    @Test func `the container gets addresses without duplicate detection, after its link is up`() throws {
        let plan = try EndpointPlan(endpoint, network: network, bridge: 3, kernelHasIPv6: true)
        #expect(
            plan.container(index: 5).map(\.subject) == [
                "change link 1", "change link 5", "change link 5", "add address 10.1.0.9/16",
                "add address fd00:1::9/64", "replace route fd00:1::9/128", "add address fe80::ff:fe00:9/64",
                "add neighbour 10.1.0.1",
                "add neighbour fd00:1::1",
            ])
        #expect(
            plan.routes(index: 5).map { Request.addRoute($0).subject } == [
                "add route 10.1.0.0/16 via 10.1.0.1", "add route default via 10.1.0.1",
                "add route fd00:1::/64 via fd00:1::1", "add route default via fd00:1::1",
            ])
    }

    @Test func `the bridge learns of the endpoint after its carrier was asked for`() throws {
        let plan = try EndpointPlan(endpoint, network: network, bridge: 3, kernelHasIPv6: true)
        #expect(
            plan.finish(index: 70000).map(\.subject) == [
                "read link 70000", "read link 3", "add station 02:00:00:00:00:09", "add neighbour 10.1.0.9",
                "add neighbour fd00:1::9",
            ])
    }

    @Test func `a network without IPv6, or a kernel without it, is never told of it`() throws {
        let plain = try EndpointPlan(
            Self.endpoint("10.1.0.9"), network: Self.network([CIDR("10.1.0.0/16")], mtu: 600), bridge: 3,
            kernelHasIPv6: true)
        #expect(!plain.hasIPv6)
        let requests = plain.mark(index: 2) + plain.container(index: 2)
        #expect(
            !requests.contains(.changeLink(.index(2), LinkChange(addressGeneration: AddressGeneration.none))))
        #expect(!requests.contains { $0.subject.contains("fe80") })
        #expect(
            Setting.all(for: network, bridge: "b", hasIPv6: false).allSatisfy { !$0.path.contains("ipv6") })
    }

    @Test func `an address is placed in the subnet that holds it, and refused if none does`() throws {
        let wide = Self.network(try [CIDR("10.1.0.0/16"), CIDR("10.2.0.0/24")])
        let plan = try EndpointPlan(Self.endpoint("10.2.0.7"), network: wide, bridge: 3, kernelHasIPv6: true)
        #expect(
            try plan.places == [
                .init(address: IPAddress("10.2.0.7"), prefixLength: 24, gateway: IPAddress("10.2.0.1"))
            ])
        let error = #expect(throws: BridgeError.self) {
            try EndpointPlan(Self.endpoint("10.3.0.7"), network: wide, bridge: 3, kernelHasIPv6: true)
        }
        #expect(error?.code == .addressOutside && error?.description.contains("10.3.0.7") == true)
    }

    @Test func `a bridge's MAC is a station's, locally administered, and a function of the id alone`() {
        let other = Self.network(network.subnets, id: "ac")
        #expect(
            network.gatewayMAC == Self.network([], mtu: 9000).gatewayMAC
                && network.gatewayMAC != other.gatewayMAC)
        #expect(network.gatewayMAC.isLocallyAdministered && !network.gatewayMAC.isMulticast)
    }

    @Test func `only links with group, kind and alias of the owner are ours`() throws {
        func link(_ kind: String, group: UInt32, alias: String) throws -> Link {
            var writer = ByteWriter()
            Request(.newLink, [], subject: "") { payload in
                payload.header { $0.zeros(16) }
                payload.attribute(20, string: alias)
                payload.attribute(27, group)
                payload.nested(18) { $0.attribute(1, string: kind) }
            }.encode(into: &writer, sequence: 0, port: 0)
            return try Link(#require(try Message.parse(writer.bytes[...]).first))
        }
        let ours = Ownership.group
        #expect(try Ownership.holds(link("veth", group: ours, alias: "forge:x"), id: "x", kind: "veth"))
        #expect(try Ownership.holds(link("veth", group: ours, alias: ""), id: "x", kind: "veth"))
        #expect(try !Ownership.holds(link("veth", group: ours, alias: "forge:y"), id: "x", kind: "veth"))
        #expect(try !Ownership.holds(link("veth", group: 0, alias: "forge:x"), id: "x", kind: "veth"))
        #expect(try !Ownership.holds(link("bridge", group: ours, alias: "forge:x"), id: "x", kind: "veth"))
        #expect(try FabricLink(link("veth", group: 0, alias: "forge:x")) == nil)
        #expect(try FabricLink(link("veth", group: ours, alias: "forge:x"))?.owner == "x")
    }

    @Test func `a bridge without IPv6 subnets has IPv6 turned off`() throws {
        let settings = Setting.all(for: Self.network([try CIDR("10.1.0.0/16")]), bridge: "b", hasIPv6: true)
        #expect(settings.contains(Setting(path: "net/ipv6/conf/b/disable_ipv6", value: 1)))
        #expect(settings.contains(Setting(path: "net/ipv4/conf/b/proxy_arp_pvlan", value: 1)))
        #expect(!settings.contains { $0.path == "net/ipv6/conf/all/forwarding" })
    }
}
