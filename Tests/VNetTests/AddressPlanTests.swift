import Model
import Testing
import VNet
import Wire

@Suite struct `Address plan` {
    private func make(_ name: String, _ subnets: [String] = [], existing: [Network] = [], mtu: Int? = nil)
        throws -> Network
    {
        let request = NetworkRequest(name: name, subnets: try subnets.map { try CIDR($0) }, mtu: mtu)
        return try AddressPlan.network(for: request, existing: existing)
    }

    @Test func `gives a network an id and subnets that follow from its name`() throws {
        let shop = try make("shop")
        #expect(shop.id == SHA256.hex(Array("network\0shop".utf8)))
        #expect(try make("shop") == shop)
        #expect(shop.subnets.map(\.family) == [.v4, .v6])
        #expect(try CIDR("10.0.0.0/8").contains(shop.subnets[0]) && shop.subnets[0].prefixLength == 24)
        #expect(try CIDR("fd00::/8").contains(shop.subnets[1]) && shop.subnets[1].prefixLength == 64)
        #expect(shop.mtu == 1500)
        #expect(shop.bridgeName.utf8.count == 14)
    }

    @Test func `keeps 500 networks apart`() throws {
        var networks: [Network] = []
        for number in 0..<500 { networks.append(try make("net-\(number)", existing: networks)) }
        #expect(Set(networks.flatMap(\.subnets)).count == 1_000)
    }

    @Test func `moves a chosen subnet past those that are taken, until none is left`() throws {
        let shop = try make("shop")
        let other = try #require(AddressPlan.defaultSubnet(.v4, networkID: shop.id, taken: [shop.subnets[0]]))
        #expect(!other.overlaps(shop.subnets[0]))
        let blocks = try ["10.0.0.0/9", "10.128.0.0/10", "10.192.0.0/11", "10.224.0.0/12"].map {
            try CIDR($0)
        }
        let squeezed = try #require(AddressPlan.defaultSubnet(.v4, networkID: shop.id, taken: blocks))
        #expect(try CIDR("10.240.0.0/12").contains(squeezed))
        #expect(AddressPlan.defaultSubnet(.v4, networkID: shop.id, taken: [try CIDR("0.0.0.0/0")]) == nil)
        #expect(AddressPlan.defaultSubnet(.v6, networkID: shop.id, taken: [try CIDR("fc00::/7")]) == nil)
        #expect(
            AddressPlan.defaultSubnet(.v4, networkID: shop.id, taken: blocks + [try CIDR("10.240.0.0/12")])
                == nil)
        // One single /24 free, wherever the hash begins.
        let allButOne = try (0..<256).flatMap { high in
            high == 77
                ? try (0..<256).filter { $0 != 5 }.map { try CIDR("10.77.\($0).0/24") }
                : [try CIDR("10.\(high).0.0/16")]
        }
        #expect(
            AddressPlan.defaultSubnet(.v4, networkID: shop.id, taken: allButOne)?.description
                == "10.77.5.0/24")
    }

    @Test func `keeps the subnets that were asked for, IPv4 first, and chooses the missing family`() throws {
        let both = try make("a", ["fd12::/64", "10.9.0.0/16"])
        #expect(both.subnets.map(\.description) == ["10.9.0.0/16", "fd12::/64"])
        #expect(try make("b", ["10.9.0.0/16"]).subnets.map(\.family) == [.v4, .v6])
        #expect(try make("c", ["fd12::/64"]).subnets.map(\.family) == [.v4, .v6])
    }

    @Test(arguments: [
        (["10.0.0.0/7"], "subnet \"10.0.0.0/7\": the prefix of an IPv4 subnet must be 8 to 30 bits"),
        (["10.0.0.0/31"], "subnet \"10.0.0.0/31\": the prefix of an IPv4 subnet must be 8 to 30 bits"),
        (["fd00::/47"], "subnet \"fd00::/47\": the prefix of an IPv6 subnet must be 48 to 126 bits"),
        (["fd00::/127"], "subnet \"fd00::/127\": the prefix of an IPv6 subnet must be 48 to 126 bits"),
        (["10.1.0.0/16", "10.1.2.0/24"], "subnet \"10.1.2.0/24\": overlaps 10.1.0.0/16 of the same network"),
        (
            ["10.1.0.0/16", "10.2.0.0/16"],
            "subnet \"10.2.0.0/16\": is one IPv4 subnet too many beside 10.1.0.0/16 of the same network"
        ),
        (["127.0.0.0/24"], "subnet \"127.0.0.0/24\": contains loopback addresses (127.0.0.0/8)"),
        (["fe80::/64"], "subnet \"fe80::/64\": contains link-local addresses (fe80::/10)"),
        (
            ["224.1.0.0/16"],
            "subnet \"224.1.0.0/16\": contains multicast and reserved addresses (224.0.0.0/3)"
        ),
        (["10.77.5.0/24"], "subnet \"10.77.5.0/24\": overlaps 10.77.0.0/16 of network other"),
    ])
    func `refuses subnets that cannot be, with the reason`(_ subnets: [String], _ message: String) throws {
        let other = try make("other", ["10.77.0.0/16"])
        let error = #expect(throws: ModelError.self) { try make("net", subnets, existing: [other]) }
        #expect(error?.description == message)
    }

    @Test(arguments: [
        (67, false), (68, false), (1279, false), (1280, true), (65_535, true), (65_536, false), (-1, false),
    ])
    func `takes an MTU that IPv6 and the kernel take`(_ mtu: Int, _ fits: Bool) throws {
        #expect(((try? make("net", mtu: mtu)) != nil) == fits)
    }

    @Test func `refuses a second network of the same name`() throws {
        let error = #expect(throws: ModelError.self) { try make("shop", existing: [make("shop")]) }
        #expect(error?.description == "network \"shop\" exists already")
    }
}

@Suite struct `Identifiers` {
    @Test func `differ wherever their parts do`() {
        let ids = ["a", "b"].flatMap { network in
            ["1", "2"].map { Identifier.endpoint(networkID: network, containerID: $0) }
        }
        #expect(Set(ids).count == 4)
        #expect(ids.allSatisfy { $0.utf8.count == 64 })
        #expect(
            Identifier.endpoint(networkID: "a", containerID: "bc")
                != Identifier.endpoint(networkID: "ab", containerID: "c"))
    }

    @Test func `make link addresses that a station may have`() {
        let macs = (0..<1_000).map { Identifier.mac(endpointID: "e\($0)") }
        #expect(Set(macs).count == 1_000)
        #expect(macs.allSatisfy { $0.isLocallyAdministered && !$0.isMulticast })
        #expect(Identifier.mac(endpointID: "e", attempt: 1) != Identifier.mac(endpointID: "e"))
    }
}
