import Bridge
import Model
import Netlink
import Sys
import Testing
import Wire

/// What endpoints can do the moment they are attached, and what they cannot.
@Suite(
    .serialized,
    .enabled(if: PrivateNetwork.isAllowed, "needs root, or a user namespace of one's own (unshare -Urnm)"))
struct FirstPacketTests {
    @Test(arguments: IPFamily.allCases)
    func `the first packet to a new peer arrives, within a millisecond of the attach`(family: IPFamily) throws
    {
        let lab = try BridgeLab()
        let client = try lab.container()
        try lab.attach(lab.endpoint(2), to: client)
        let sender = try client.inside { try DatagramSocket(family) }
        var delays: [Double] = []
        var boxes: [Container] = []
        for number in 3...22 {
            let box = try lab.container()
            let endpoint = try lab.endpoint(number)
            let receiver = try box.inside { try DatagramSocket(family, port: 5000) }
            try lab.attach(endpoint, to: box)
            let start = microseconds()
            try sender.send([UInt8(number)], to: #require(endpoint.address(family)), port: 5000)
            #expect(receiver.receive() == [UInt8(number)], "the first packet to endpoint \(number) is lost")
            delays.append(microseconds() - start)
            boxes.append(box)
        }
        let median = delays.sorted()[delays.count / 2]
        #expect(median < 1000, "\(delays.map { Int($0) }) µs")
    }

    @Test(arguments: IPFamily.allCases)
    func `the first packet from a new endpoint arrives, also as the first of its network`(family: IPFamily)
        throws
    {
        let lab = try BridgeLab()
        let boxes = [try lab.container(), try lab.container()]
        let endpoints = [try lab.endpoint(2), try lab.endpoint(3)]
        let receiver = try boxes[0].inside { try DatagramSocket(family, port: 5000) }
        let sender = try boxes[1].inside { try DatagramSocket(family) }
        try lab.attach(endpoints[0], to: boxes[0])
        try lab.attach(endpoints[1], to: boxes[1])
        try sender.send([1], to: #require(endpoints[0].address(family)), port: 5000)
        #expect(receiver.receive() == [1])
        // And to the gateway, which answers a closed port with an ICMP error at once: the next send sees it.
        let gateway = try #require(lab.network.gateway(family))
        let socket = try lab.inFabric { try DatagramSocket(family, port: 5001) }
        try sender.send([2], to: gateway, port: 5001)
        #expect(socket.receive() == [2])
        try socket.send([3], to: #require(endpoints[0].address(family)), port: 5000)
        #expect(receiver.receive() == [3])
    }

    @Test func `peers of one subnet are reached through a router, not over layer 2`() throws {
        let lab = try BridgeLab()
        let boxes = [try PrivateNetwork(), try PrivateNetwork()]
        for (number, box) in zip([2, 3], boxes) {
            var socket = try box.inside { try NetlinkSocket<RouteProtocol>() }
            let namespace = try box.inside { try Descriptor.open("/proc/thread-self/ns/net", 0) }
            _ = try lab.plane.attach(
                lab.endpoint(number), network: lab.network, bridge: lab.bridge, namespace: namespace,
                container: &socket)
        }
        for (address, ttl) in [("10.77.0.3", "ttl=63"), ("fd00:77::3", "ttl=63"), ("10.77.0.1", "ttl=64")] {
            let ping = try boxes[0].run("ping", "-n", "-c", "1", "-W", "1", address)
            #expect(ping.status == 0 && ping.output.contains(ttl), "\(ping.output)\(ping.errors)")
        }
        // Nor is a workload let nearer that takes the peer for a neighbour: the MAC that it is told is the
        // bridge's, and a frame to the peer's own goes nowhere.
        try boxes[0].run("ip", "route", "add", "10.77.0.3", "dev", "eth0")
        #expect(try boxes[0].run("ping", "-n", "-c", "1", "-W", "1", "10.77.0.3").status == 0)
        let known = try boxes[0].run("ip", "neigh", "show", "10.77.0.3")
        #expect(known.output.contains("\(lab.network.gatewayMAC)"), "\(known.output)")
        try boxes[0].run("ip", "neigh", "replace", "10.77.0.3", "lladdr", "02:50:00:00:00:03", "dev", "eth0")
        #expect(try boxes[0].run("ping", "-n", "-c", "1", "-W", "1", "10.77.0.3").status != 0)
    }
}
