import Bridge
import Model
import Netlink
import Sys
import Testing
import Wire

@Suite(.enabled(if: PrivateNetwork.isAllowed, "needs root, or a user namespace of one's own (unshare -Urnm)"))
struct AttachTests {
    @Test func `both ends are as they should be and pass frames at once`() throws {
        let lab = try BridgeLab(mtu: 1400)
        let box = try lab.container()
        let endpoint = try lab.endpoint(2)
        let attached = try lab.attach(endpoint, to: box)
        #expect(attached.isReady)

        let outside = try #require(try lab.links().first { $0.name == endpoint.hostInterfaceName })
        #expect(outside.index == attached.index && outside.master == lab.bridge && outside.mtu == 1400)
        #expect(
            outside.alias == "forge:" + endpoint.id && outside.hasCarrier && outside.flags.contains(.running))
        #expect(outside.port?.isolated == true && outside.port?.learning == false)
        #expect(outside.port?.unicastFlood == false && outside.port?.multicastFlood == false)
        #expect(try lab.neighbours(.stations).contains(.station(endpoint.mac, port: outside.index)))
        #expect(
            try lab.entries()
                == Set(endpoint.addresses.map { .permanent($0, endpoint.mac, link: lab.bridge) }))

        let inside = try box.link()
        #expect(inside.index == attached.containerIndex && inside.mac == endpoint.mac && inside.mtu == 1400)
        #expect(inside.flags.contains(.running) && inside.addressGeneration == AddressGeneration.none)
        #expect(try box.link("lo").flags.contains(.up))
        let addresses = try box.addresses().filter { $0.link == inside.index }
        #expect(
            Set(addresses.map { "\($0.address)/\($0.prefixLength)" })
                == ["10.77.0.2/24", "fd00:77::2/64", "\(endpoint.mac.linkLocalIPv6)/64"])
        #expect(addresses.allSatisfy { !$0.flags.contains(.tentative) })
        for family in IPFamily.allCases {
            let gateway = try #require(lab.network.gateway(family))
            let routes = try box.routes(family).filter { $0.kind == .unicast && $0.gateway != nil }
            #expect(Set(routes.map(\.destination)) == [nil, lab.network.subnet(family)])
            #expect(routes.allSatisfy { $0.gateway == gateway && $0.onLink })
            #expect(
                try box.neighbours().contains(.permanent(gateway, lab.network.gatewayMAC, link: inside.index))
            )
        }
    }

    @Test func `an interface of that name in the container is named in the error, and nothing is left`()
        throws
    {
        let lab = try BridgeLab()
        let box = try lab.container()
        var socket = try box.routeSocket()
        try socket.perform(.addLink(LinkSpec(name: "eth0", kind: .bridge(BridgeOptions()))))
        // By name: the kernel settles the bridge's operational state in its own time.
        let before = try lab.links().map(\.name)
        let error = #expect(throws: BridgeError.self) { try lab.attach(lab.endpoint(2), to: box) }
        #expect(error?.code == .interfaceExists && error?.description.contains("eth0") == true)
        #expect(try lab.links().map(\.name) == before && lab.entries().isEmpty)
    }

    @Test func `a second attach of the same endpoint is refused and the first one stays`() throws {
        let lab = try BridgeLab()
        let first = try lab.container()
        try lab.attach(lab.endpoint(2), to: first)
        let entries = try lab.neighbours(.neighbours)
        for box in [first, try lab.container()] {
            let error = #expect(throws: BridgeError.self) { try lab.attach(lab.endpoint(2), to: box) }
            #expect(error?.code == .attached)
        }
        #expect(try first.link().flags.contains(.running) && lab.neighbours(.neighbours) == entries)
    }

    @Test func `a foreign link of the fabric's name is left alone`() throws {
        let lab = try BridgeLab()
        let endpoint = try lab.endpoint(2)
        let spec = LinkSpec(name: endpoint.hostInterfaceName, kind: .bridge(BridgeOptions()))
        try lab.meddle { _ = try $0.perform(.addLink(spec)) }
        let attach = #expect(throws: BridgeError.self) { try lab.attach(endpoint, to: lab.container()) }
        let detach = #expect(throws: BridgeError.self) {
            try lab.plane.detach(endpoint, network: lab.network)
        }
        let check = #expect(throws: BridgeError.self) { try lab.plane.check(endpoint) }
        #expect([attach, detach, check].map { $0?.code } == [.foreignLink, .foreignLink, .foreignLink])
        let link = try #require(try lab.links().first { $0.name == endpoint.hostInterfaceName })
        #expect(link.alias.isEmpty && link.group == 0 && !link.flags.contains(.up))
    }

    @Test func `endpoints on different bridges of a network reach each other as on one`() throws {
        let lab = try BridgeLab()
        let second = try lab.inFabric { try lab.plane.ensureBridge(lab.network, segment: 1) }.index
        #expect(
            try Set(lab.addresses(on: second).map(\.address))
                == Set(lab.network.subnets.map { try #require($0.address(at: 1)) }))
        let boxes = try (0..<3).map { _ in try lab.container() }
        let endpoints = [
            try lab.endpoint(2), try lab.endpoint(3, segment: 1), try lab.endpoint(4, segment: 1),
        ]
        for (endpoint, box) in zip(endpoints, boxes) {
            let bridge = endpoint.segment == 0 ? lab.bridge : second
            #expect(try lab.attach(endpoint, to: box, bridge: bridge).isReady)
        }
        for family in IPFamily.allCases {
            for (from, to) in [(0, 1), (1, 0), (1, 2)] {
                let receiver = try boxes[to].inside { try DatagramSocket(family, port: 5000) }
                let sender = try boxes[from].inside { try DatagramSocket(family) }
                try sender.send([7], to: #require(endpoints[to].address(family)), port: 5000)
                #expect(receiver.receive() == [7], "\(family) from \(from) to \(to)")
            }
        }
        let ways = try lab.hostRoutes()
        #expect(Set(ways.map(\.destination)) == Set(endpoints[1...].flatMap(\.addresses).map { CIDR($0) }))
        #expect(ways.allSatisfy { $0.link == second })
        try lab.meddle { _ = try $0.perform(.deleteRoute(#require(ways.first))) }
        let report = try lab.plane.repair(endpoints, network: lab.network, bridges: [lab.bridge, second])
        #expect(report.repaired.count == 1)
        #expect(try Set(lab.hostRoutes()) == Set(ways))
        #expect(
            try lab.plane.repair(endpoints, network: lab.network, bridges: [lab.bridge, second]).repaired
                == [])
        try lab.plane.detach(endpoints, network: lab.network)
        #expect(try lab.hostRoutes().isEmpty && lab.entries().isEmpty)
    }

    @Test func `a failure inside the container undoes what was made outside`() throws {
        let lab = try BridgeLab()
        let box = try lab.container()
        // IPv6 that was turned off refuses addresses (EACCES), after the pair exists.
        try box.inside { try writeFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1") }
        let before = try lab.links()
        let error = #expect(throws: BridgeError.self) { try lab.attach(lab.endpoint(2), to: box) }
        #expect(error?.code == .kernel && error?.description.contains("fd00:77::2") == true)
        #expect(try lab.links().map(\.name) == before.map(\.name))
        #expect(try lab.neighbours(.neighbours).isEmpty)
        #expect(throws: NetlinkError.self) { try box.link() }
    }

    @Test func `a bridge that is gone is said to be gone`() throws {
        let lab = try BridgeLab()
        try lab.plane.removeBridge(lab.network)
        let error = #expect(throws: BridgeError.self) { try lab.attach(lab.endpoint(2), to: lab.container()) }
        #expect(error?.code == .noBridge)
    }

    @Test func `numbers that someone else has taken are passed over, here and in the container`() throws {
        let lab = try BridgeLab()
        let first = try lab.attach(lab.endpoint(2), to: lab.container())
        let taken = LinkSpec(name: "taken", index: first.index + 1, kind: .bridge(BridgeOptions()))
        try lab.meddle { _ = try $0.perform(.addLink(taken)) }
        let box = try lab.container()
        var socket = try box.routeSocket()
        try socket.perform(
            .addLink(LinkSpec(name: "taken", index: first.containerIndex + 2, kind: .bridge(BridgeOptions())))
        )
        let second = try lab.attach(lab.endpoint(3), to: box)
        #expect(second.index == first.index + 3 && second.isReady)
        #expect(try lab.links().first { $0.name == "taken" }?.group == 0)
    }

    @Test func `of two networks in one container the first one's default route is preferred`() throws {
        let lab = try BridgeLab()
        let other = BridgeLab.network(try [CIDR("10.78.0.0/24"), CIDR("fd00:78::/64")], name: "other")
        let bridge = try lab.ensure(other).index
        let box = try lab.container()
        try lab.attach(lab.endpoint(2), to: box)
        try lab.attach(lab.endpoint(2, of: other, interface: "eth1"), to: box, network: other, bridge: bridge)
        for family in IPFamily.allCases {
            #expect(
                try box.defaultRoutes(family).map(\.gateway) == [
                    lab.network.gateway(family), other.gateway(family),
                ])
        }
        try lab.plane.detach(lab.endpoint(2), network: lab.network)
        #expect(try box.defaultRoutes(.v4).map(\.gateway) == [other.gateway(.v4)])
    }

    @Test func `detaching removes the link and what the bridge knew, and succeeds again`() throws {
        let lab = try BridgeLab()
        var endpoints: [Endpoint] = []
        var boxes: [Container] = []
        for number in 2...5 {
            endpoints.append(try lab.endpoint(number))
            boxes.append(try lab.container())
            try lab.attach(endpoints[number - 2], to: boxes[number - 2])
        }
        try lab.plane.detach(endpoints[0], network: lab.network)
        #expect(try lab.plane.check(endpoints[0]) == nil && lab.plane.check(endpoints[1])?.isRunning == true)
        try lab.plane.detach(endpoints, network: lab.network)
        try lab.plane.detach(endpoints, network: lab.network)
        #expect(try lab.plane.observe().map(\.index) == [lab.bridge])
        #expect(try lab.entries().isEmpty)
        #expect(throws: NetlinkError.self) { try boxes[3].link() }
        try lab.attach(endpoints[0], to: boxes[0])
    }

    @Test func `an endpoint whose container died is detached, and can come back elsewhere`() throws {
        let lab = try BridgeLab()
        let endpoint = try lab.endpoint(2)
        do { try lab.attach(endpoint, to: lab.container()) }
        // The kernel takes a namespace apart some time after its last holder is gone.
        for _ in 0..<200 where try lab.plane.check(endpoint) != nil { try lab.pause(10) }
        #expect(try lab.plane.check(endpoint) == nil)
        try lab.plane.detach(endpoint, network: lab.network)
        #expect(try lab.entries().isEmpty)
        let box = try lab.container()
        #expect(try lab.attach(endpoint, to: box).isReady)
    }
}
