import Bridge
import Model
import Netlink
import Sys
import Testing
import Wire

@Suite(.enabled(if: PrivateNetwork.isAllowed, "needs root, or a user namespace of one's own (unshare -Urnm)"))
struct BridgeTests {
    @Test func `a bridge is made with its marks, addresses and settings, and made only once`() throws {
        let lab = try BridgeLab(mtu: 1400)
        let link = try #require(try lab.links().first { $0.index == lab.bridge })
        #expect(link.name == lab.network.bridgeName && link.kind == "bridge" && link.flags.contains(.up))
        #expect(link.alias == "forge:" + lab.network.id && link.group == 0x666f_7267 && link.mtu == 1400)
        #expect(link.mac == lab.network.gatewayMAC)
        #expect(link.bridge == BridgeOptions(forwardDelay: 0, spanningTree: false, multicastSnooping: false))
        let addresses = try lab.addresses(on: lab.bridge)
        #expect(
            Set(addresses.map { "\($0.address)/\($0.prefixLength)" }) == ["10.77.0.1/24", "fd00:77::1/64"])
        #expect(addresses.allSatisfy { !$0.flags.contains(.tentative) })
        let name = link.name
        for (path, value) in [
            ("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1"),
            ("net/ipv4/conf/\(name)/proxy_arp_pvlan", "1"), ("net/ipv4/neigh/\(name)/proxy_delay", "0"),
            ("net/ipv4/conf/\(name)/proxy_arp", "1"), ("net/ipv6/conf/\(name)/forwarding", "1"),
            ("net/ipv4/conf/all/send_redirects", "0"), ("net/ipv6/conf/\(name)/addr_gen_mode", "1"),
        ] {
            #expect(try lab.setting(path) == value, "\(path)")
        }
        let again = try lab.ensure()
        #expect(again.index == lab.bridge && again.change == .none)
    }

    @Test func `drift is set right: a lost address, another MTU, a changed setting, down`() throws {
        let lab = try BridgeLab()
        let address = try #require(try lab.addresses(on: lab.bridge).first { $0.address.family == .v6 })
        try lab.meddle {
            _ = try $0.perform([
                .deleteAddress(address), .changeLink(.index(lab.bridge), LinkChange(mtu: 1300)),
                .changeLink(.index(lab.bridge), LinkChange(bridge: BridgeOptions(spanningTree: true))),
            ])
        }
        try lab.inFabric {
            try writeFile("/proc/sys/net/ipv4/conf/\(lab.network.bridgeName)/proxy_arp_pvlan", "0")
        }
        #expect(try lab.ensure().change == .converged)
        #expect(try lab.addresses(on: lab.bridge).count == 2)
        let link = try #require(try lab.links().first { $0.index == lab.bridge })
        #expect(link.mtu == 1500 && link.bridge?.spanningTree == false)
        #expect(try lab.setting("net/ipv4/conf/\(lab.network.bridgeName)/proxy_arp_pvlan") == "1")

        try lab.meddle { _ = try $0.perform(.changeLink(.index(lab.bridge), LinkChange(isUp: false))) }
        #expect(try lab.ensure().change == .disturbed)
        #expect(try lab.addresses(on: lab.bridge).count == 2)
        #expect(try lab.ensure().change == .none)
    }

    @Test func `a link of that name that is not ours is refused and not touched`() throws {
        let lab = try BridgeLab()
        let other = BridgeLab.network([try CIDR("10.78.0.0/24")], name: "other")
        try lab.meddle {
            _ = try $0.perform(.addLink(LinkSpec(name: other.bridgeName, kind: .bridge(BridgeOptions()))))
        }
        func theirs() throws -> Link? { try lab.links().first { $0.name == other.bridgeName } }
        let before = try #require(try theirs())
        for attempt in 0..<2 {
            let error = #expect(throws: BridgeError.self) {
                if attempt == 0 { try lab.ensure(other) } else { try lab.plane.removeBridge(other) }
            }
            #expect(error?.code == .foreignLink && error?.description.contains(other.bridgeName) == true)
        }
        #expect(try theirs() == before)
    }

    @Test func `a network without IPv6 has none on its bridge nor in its containers`() throws {
        let lab = try BridgeLab(["10.77.0.0/24"])
        #expect(try lab.setting("net/ipv6/conf/\(lab.network.bridgeName)/disable_ipv6") == "1")
        let box = try lab.container()
        try lab.attach(lab.endpoint(2), to: box)
        let index = try box.link().index
        #expect(try box.addresses().filter { $0.link == index }.map(\.address) == [IPAddress("10.77.0.2")])
    }

    @Test func `removing succeeds twice, and removing everything leaves other links alone`() throws {
        let lab = try BridgeLab()
        try lab.plane.removeBridge(lab.network)
        try lab.plane.removeBridge(lab.network)
        try lab.ensure()
        try lab.meddle {
            _ = try $0.perform(.addLink(LinkSpec(name: "theirs", kind: .bridge(BridgeOptions()))))
        }
        try lab.plane.removeEverything()
        try lab.plane.removeEverything()
        #expect(try Set(lab.links().map(\.name)).isSuperset(of: ["lo", "theirs"]))
        #expect(try lab.plane.observe().isEmpty)
    }

    @Test func `a listener hears of links that come and go`() throws {
        let lab = try BridgeLab()
        var listener = try lab.routeSocket()
        try listener.subscribe(to: RouteGroup.link)
        let spec = LinkSpec(name: "x", group: 9, kind: .bridge(BridgeOptions()))
        try lab.meddle { _ = try $0.perform([.addLink(spec), .deleteLink(.name("x"))]) }
        var events: [LinkEvent] = []
        while events.last.map({ if case .deleted = $0 { false } else { true } }) ?? true {
            for message in try listener.nextNotifications() {
                if let event = try LinkEvent(message), event.link.name == "x" { events.append(event) }
            }
        }
        guard case .changed(let first) = events[0] else {
            Issue.record("\(events)")
            return
        }
        #expect(first.kind == "bridge" && first.group == 9 && first.index == events.last?.link.index)
    }
}
