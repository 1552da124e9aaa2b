import Bridge
import Glibc
import Model
import Netlink
import Testing
import Wire

extension BridgeLab {
    func pause(_ milliseconds: UInt32) throws { usleep(milliseconds * 1000) }
}

@Suite(.enabled(if: PrivateNetwork.isAllowed, "needs root, or a user namespace of one's own (unshare -Urnm)"))
struct AdoptionTests {
    @Test func `another plane finds what the first one made, and goes on from there`() throws {
        let lab = try BridgeLab()
        let boxes = [try lab.container(), try lab.container()]
        let endpoint = try lab.endpoint(2)
        let first = try lab.attach(endpoint, to: boxes[0])
        lab.plane = try lab.newPlane()
        let again = try lab.ensure()
        #expect(again.index == lab.bridge && again.change == .none)
        let found = try lab.plane.observe()
        #expect(Set(found.map(\.owner)) == [lab.network.id, endpoint.id])
        let link = try #require(found.first { !$0.isBridge })
        #expect(link.index == first.index && link.master == lab.bridge && link.isRunning && link.isUp)
        #expect(try lab.plane.repair([endpoint], network: lab.network, bridges: [lab.bridge]).repaired == [])
        #expect(try lab.attach(lab.endpoint(3), to: boxes[1]).index == first.index + 1)
    }

    @Test func `what the fabric's side has lost is set right, and only that`() throws {
        let lab = try BridgeLab()
        var boxes: [Container] = []
        let endpoints = try [2, 3, 4].map { try lab.endpoint($0) }
        for endpoint in endpoints.dropLast() {
            boxes.append(try lab.container())
            try lab.attach(endpoint, to: boxes[boxes.count - 1])
        }
        let whole = try (lab.entries(), lab.neighbours(.stations))
        let name = LinkTarget.name(endpoints[0].hostInterfaceName)
        try lab.meddle {
            _ = try $0.perform([
                .changeLink(name, LinkChange(port: PortOptions(isolated: false))),
                .changeLink(name, LinkChange(isUp: false)), .changeLink(name, LinkChange(master: 0)),
                .deleteNeighbour(.permanent(endpoints[1].addresses[1], endpoints[1].mac, link: lab.bridge)),
            ])
        }
        let report = try lab.plane.repair(endpoints, network: lab.network, bridges: [lab.bridge])
        #expect(report.missing == [endpoints[2].id] && !report.repaired.isEmpty)
        let link = try #require(try lab.links().first { $0.name == endpoints[0].hostInterfaceName })
        #expect(link.port?.isolated == true && link.master == lab.bridge && link.flags.contains(.up))
        #expect(try (lab.entries(), lab.neighbours(.stations)) == whole)
        let again = try lab.plane.repair(
            Array(endpoints.prefix(2)), network: lab.network, bridges: [lab.bridge])
        #expect(again.missing.isEmpty && again.repaired.isEmpty)
    }

    @Test func `a bridge that was down gets its endpoints back`() throws {
        let lab = try BridgeLab()
        let boxes = [try lab.container(), try lab.container()]
        let endpoints = try [2, 3].map { try lab.endpoint($0) }
        for (endpoint, box) in zip(endpoints, boxes) { try lab.attach(endpoint, to: box) }
        try lab.meddle {
            _ = try $0.perform(.changeLink(.index(lab.bridge), LinkChange(isUp: false)))
        }
        let ensured = try lab.ensure()
        #expect(ensured.change == .disturbed)
        _ = try lab.plane.repair(endpoints, network: lab.network, bridges: [ensured.index])
        #expect(try lab.entries().count == 4)
        for family in IPFamily.allCases {
            let receiver = try boxes[1].inside { try DatagramSocket(family, port: 5000) }
            let sender = try boxes[0].inside { try DatagramSocket(family) }
            try sender.send([7], to: #require(endpoints[1].address(family)), port: 5000)
            #expect(receiver.receive() == [7], "\(family)")
        }
    }

    @Test func `counters are told by name, from the fabric's side`() throws {
        let lab = try BridgeLab()
        let box = try lab.container()
        let endpoint = try lab.endpoint(2)
        try lab.attach(endpoint, to: box)
        let sender = try box.inside { try DatagramSocket(.v4) }
        let before = try #require(try lab.plane.statistics(of: [endpoint.hostInterfaceName]).first?.value)
        for _ in 0..<10 {
            try sender.send([UInt8](repeating: 0, count: 100), to: IPAddress("10.77.0.1"), port: 9)
        }
        let names = [endpoint.hostInterfaceName, "gone"]
        let after = try #require(try lab.plane.statistics(of: names)[endpoint.hostInterfaceName])
        #expect(after.receivedPackets - before.receivedPackets >= 10)
        #expect(after.receivedBytes - before.receivedBytes >= 1420)
        // Many names are answered from one listing.
        #expect(
            try lab.plane.statistics(of: names + (0..<20).map { "x\($0)" }).keys.sorted() == names.dropLast())
    }
}
