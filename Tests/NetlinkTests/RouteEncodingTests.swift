import Netlink
import Testing
import Wire

/// Bytes as linux/rtnetlink.h and its companions lay them out, written by hand for a little-endian host.
struct RouteEncodingTests {
    /// Spaces only help to read.
    private func bytes(_ hex: String...) -> [UInt8] {
        let digits = hex.joined().filter { $0 != " " }
        return stride(from: 0, to: digits.count, by: 2).compactMap { offset in
            UInt8(digits.dropFirst(offset).prefix(2), radix: 16)
        }
    }

    @Test func `a veth pair names its peer's namespace, MAC, MTU and index inside the peer's own header`()
        throws
    {
        let request = Request.addLink(
            LinkSpec(
                name: "fv0", index: 7, mtu: 1500, group: 5, master: 3, queues: 1,
                kind: .veth(
                    peer: VethPeer(
                        name: "eth0", index: 9, mac: try MACAddress("02:00:00:00:00:01"), mtu: 1400,
                        namespace: 11))))
        #expect(request.type == .newLink && request.flags == [.create, .exclusive])
        #expect(
            request.payload
                == bytes(
                    "00000000 07000000 00000000 00000000",  // ifinfomsg: index 7, no flags, no mask
                    "0800 0300 66763000",  // IFLA_IFNAME "fv0"
                    "0800 0400 dc050000",  // IFLA_MTU
                    "0800 1b00 05000000",  // IFLA_GROUP
                    "0800 0a00 03000000",  // IFLA_MASTER
                    "0800 1f00 01000000", "0800 2000 01000000",  // IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES
                    "6000 1280",  // IFLA_LINKINFO, nested: 96
                    "0900 0100 7665746800 000000",  // IFLA_INFO_KIND "veth"
                    "5000 0280",  // IFLA_INFO_DATA: 80
                    "4c00 0180",  // VETH_INFO_PEER: 76
                    "00000000 09000000 00000000 00000000",
                    "0900 0300 6574683000 000000",  // IFLA_IFNAME "eth0"
                    "0a00 0100 020000000001 0000",  // IFLA_ADDRESS
                    "0800 0400 78050000",
                    "0800 1f00 01000000", "0800 2000 01000000",
                    "0800 1c00 0b000000"))  // IFLA_NET_NS_FD
    }

    @Test func `a change of state masks its own bit and no other`() {
        let up = Request.changeLink(.index(4), LinkChange(isUp: true))
        #expect(up.payload == bytes("00000000 04000000 01000000 01000000") && up.flags == [])
        let down = Request.changeLink(.index(4), LinkChange(isUp: false))
        #expect(down.payload == bytes("00000000 04000000 00000000 01000000"))
        let neither = Request.changeLink(.index(4), LinkChange(group: 1))
        #expect(neither.payload == bytes("00000000 04000000 00000000 00000000", "0800 1b00 01000000"))
    }

    @Test func `a port's options go below the kind of its master`() {
        let change = LinkChange(
            addressGeneration: AddressGeneration.none, port: PortOptions(isolated: true, learning: false))
        let request = Request.changeLink(.name("p"), change)
        #expect(
            request.payload
                == bytes(
                    "00000000 00000000 00000000 00000000",
                    "0600 0300 7000 0000",
                    "1000 1a80", "0c00 0a80", "0500 0800 01000000",  // IFLA_AF_SPEC, AF_INET6, addr_gen_mode
                    "2400 1280",  // IFLA_LINKINFO: 36
                    "0b00 0400 62726964676500 00",  // IFLA_INFO_SLAVE_KIND "bridge"
                    "1400 0580",  // IFLA_INFO_SLAVE_DATA: 20
                    "0500 0800 00000000",  // IFLA_BRPORT_LEARNING
                    "0500 2100 01000000"))  // IFLA_BRPORT_ISOLATED
    }

    @Test func `a bridge's options have the kernel's widths`() {
        let options = BridgeOptions(forwardDelay: 0, spanningTree: false, multicastSnooping: false)
        let request = Request.addLink(LinkSpec(name: "b", kind: .bridge(options)))
        #expect(
            request.payload
                == bytes(
                    "00000000 00000000 00000000 00000000", "0600 0300 6200 0000",
                    "2c00 1280", "0b00 0100 62726964676500 00", "1c00 0280",
                    "0800 0100 00000000", "0800 0500 00000000", "0500 1700 00000000"))
    }

    @Test func `an address says its flags in eight bits and, where those do not do, in an attribute`() throws
    {
        var address = InterfaceAddress(
            link: 2, address: try IPAddress("10.0.0.2"), prefixLength: 24, flags: .noDuplicateDetection)
        #expect(
            Request.addAddress(address).payload
                == bytes("02180200 02000000", "0800 0200 0a000002", "0800 0100 0a000002"))
        address.flags = [.noDuplicateDetection, .noPrefixRoute]
        #expect(
            Request.addAddress(address).payload
                == bytes(
                    "02180200 02000000", "0800 0200 0a000002", "0800 0100 0a000002", "0800 0800 02020000"))
    }

    @Test func `routes carry family, main table, gateway and link`() throws {
        let v6 = Route.standard(via: try IPAddress("fd00::1"), link: 3, metric: 1124)
        #expect(
            Request.addRoute(v6).payload
                == bytes(
                    "0a000000 fe040001 00000000", "1400 0500 fd000000000000000000000000000001",
                    "0800 0400 03000000", "0800 0600 64040000"))
        let v4 = Route(
            destination: try CIDR("10.1.0.0/16"), family: .v4, gateway: try IPAddress("10.0.0.1"), link: 3,
            onLink: true)
        #expect(
            Request.addRoute(v4).payload
                == bytes(
                    "02100000 fe040001 04000000", "0800 0100 0a010000", "0800 0500 0a000001",
                    "0800 0400 03000000"))
        let near = Route(destination: try CIDR("10.1.0.0/16"), family: .v4, link: 3)
        #expect(Request.addRoute(near).payload.prefix(12) == bytes("02100000 fe04fd01 00000000")[...])
        let own = Route(
            .local, destination: try CIDR("fd00::2/128"), family: .v6, link: 3, metric: 1, lifetime: 10)
        #expect(
            Request.addRoute(own).payload
                == bytes(
                    "0a800000 ff04fe02 00000000", "1400 0100 fd000000000000000000000000000002",
                    "0800 0400 03000000", "0800 0600 01000000", "0800 1700 0a000000"))
    }

    @Test func `neighbours, proxies and stations differ in family, state and flags`() throws {
        let address = try IPAddress("10.0.0.2")
        let mac = try MACAddress("02:00:00:00:00:01")
        #expect(
            Request.addNeighbour(.permanent(address, mac, link: 4)).payload
                == bytes("02000000 04000000 8000 00 00", "0800 0100 0a000002", "0a00 0200 020000000001 0000"))
        #expect(
            Request.addNeighbour(.proxy(address, link: 4)).payload
                == bytes("02000000 04000000 8000 08 00", "0800 0100 0a000002"))
        #expect(
            Request.deleteNeighbour(.station(mac, port: 4)).payload
                == bytes("07000000 04000000 4000 04 00", "0a00 0200 020000000001 0000"))
        #expect(Request.listNeighbours(.proxies).payload == bytes("00000000 00000000 0000 08 00"))
    }

    @Test func `messages that are made are read back as they were meant`() throws {
        let address = InterfaceAddress(
            link: 2, address: try IPAddress("fd00::2"), prefixLength: 64,
            flags: [.noDuplicateDetection, .noPrefixRoute])
        #expect(try InterfaceAddress(message(.addAddress(address))) == address)
        let route = Route(
            destination: try CIDR("fd01::/16"), family: .v6, gateway: try IPAddress("fd00::1"), link: 3,
            metric: 7,
            onLink: true)
        #expect(try Route(message(.addRoute(route))) == route)
        let own = Route(.local, destination: try CIDR("10.0.0.1/32"), family: .v4, link: 3)
        #expect(try Route(message(.addRoute(own))) == own)
        let mac = try MACAddress("02:00:00:00:00:01")
        for neighbour in [
            Neighbour.permanent(try IPAddress("fd00::2"), mac, link: 1),
            .proxy(try IPAddress("fd00::2"), link: 1),
        ] {
            #expect(try Neighbour(message(.addNeighbour(neighbour))) == neighbour)
        }
    }

    private func message(_ request: Request) throws -> Message {
        var writer = ByteWriter()
        request.encode(into: &writer, sequence: 1, port: 2)
        return try #require(try Message.parse(writer.bytes[...]).first)
    }

    @Test func `a rule leads packets with a mark to a table, and is read back`() throws {
        let rule = RoutingRule(family: .v6, priority: 100, mark: 0xf06e, table: 0xf06e)
        let request = Request.addRule(rule)
        #expect(request.type == .newRule && request.flags == [.create, .exclusive])
        #expect(
            request.payload
                == bytes(
                    "0a000000 00000001 00000000",  // fib_rule_hdr: AF_INET6, FR_ACT_TO_TBL
                    "0800 0600 64000000", "0800 0a00 6ef00000", "0800 1000 ffffffff", "0800 0f00 6ef00000"))
        let message = try Message.parse(
            (bytes("3c000000 2000 0000 00000000 00000000") + request.payload)[...])
        #expect(try message.first.flatMap { try RoutingRule($0) } == rule)
    }

    @Test func `a route to this host itself is in a table of its own`() {
        let request = Request.routeToSelf(.v4, table: 0xf06e, loopback: 1)
        #expect(request.flags == [.create, .replace])
        #expect(
            request.payload
                == bytes("02000000 0004fe02 00000000", "0800 0f00 6ef00000", "0800 0400 01000000"))
    }
}
