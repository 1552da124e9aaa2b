import Forwarding
import ForwardingSupport
import LabSupport
import Sys
import Testing
import Wire

/// UDP on the loopback interface, where clients are led on as the host's own address: no privileges needed.
@Suite(.timeLimit(.minutes(1))) struct DatagramTests {
    /// A published port on all addresses of the host and the server that it leads to.
    private final class Published {
        let harness: ForwarderHarness
        let server: Descriptor
        let port: UInt16

        init(_ family: IPFamily = .v4, limit: UInt32 = 0, limits: ForwardLimits = ForwardLimits()) throws {
            harness = try ForwarderHarness(.ordinary, limits: limits)
            let loopback = family == .v4 ? "127.0.0.1" : "::1"
            server = try LabSockets.bind(.udp, loopback, port: 0)
            let listener = try LabSockets.bind(.udp, family == .v4 ? "0.0.0.0" : "::", port: 0)
            port = try LabSockets.port(of: listener)
            let address = try IPAddress(loopback)
            try harness.publish(
                ForwardedPort(
                    id: 1, transport: .udp, targets: [address], port: try LabSockets.port(of: server),
                    standIns: [address], limit: limit), listener)
            // So that the first datagram does not come before there is a socket for it.
            _ = try harness.expect { if case .wantSockets = $0 { true } else { false } }
            _ = try harness.counters(1)
        }

        deinit { harness.stop() }

        func client(_ address: String = "127.0.0.1") throws -> Descriptor {
            try LabSockets.connect(.udp, address, port: port)
        }
    }

    @Test(arguments: IPFamily.allCases)
    func `datagrams go there and back, each client's by a socket of its own`(family: IPFamily) throws {
        let published = try Published(family)
        let address = family == .v4 ? "127.0.0.1" : "::1"
        let one = try published.client(address)
        let two = try published.client(address)
        for round in 0..<3 {
            try LabSockets.send(one, "a\(round)")
            try LabSockets.echoDatagram(published.server, timeoutSeconds: 15)
            try LabSockets.send(two, "b\(round)")
            try LabSockets.echoDatagram(published.server, timeoutSeconds: 15)
            #expect(try LabSockets.receive(one, timeoutSeconds: 15) == "a\(round)")
            #expect(try LabSockets.receive(two, timeoutSeconds: 15) == "b\(round)")
        }
        let counters = try published.harness.counters(1)
        #expect(counters.opened == 2 && counters.active == 2 && counters.dropped == 0)
        #expect(counters.bytesIn == 12 && counters.bytesOut == 12)
    }

    @Test func `an answer comes from the address that was asked`() throws {
        let published = try Published()
        // The whole of 127.0.0.0/8 is this host's. A connected socket hears none but its peer.
        for address in ["127.0.0.9", "127.1.2.3"] {
            let client = try published.client(address)
            try LabSockets.send(client, "?")
            try LabSockets.echoDatagram(published.server, timeoutSeconds: 15)
            #expect(try LabSockets.receive(client, timeoutSeconds: 15) == "?")
        }
    }

    @Test func `a socket for both families serves both`() throws {
        let published = try Published(.v6)
        let client = try published.client("127.0.0.1")
        try LabSockets.send(client, "four to six")
        try LabSockets.echoDatagram(published.server, timeoutSeconds: 15)
        #expect(try LabSockets.receive(client, timeoutSeconds: 15) == "four to six")
    }

    @Test func `empty datagrams and the longest are passed on`() throws {
        let published = try Published()
        let client = try published.client()
        for length in [0, 1, 1472, 1473, 65_507] {
            let text = String(repeating: "x", count: length)
            try LabSockets.send(client, text)
            if length == 0 {
                // write(2) of nothing sends nothing; send(2) would.
                continue
            }
            try LabSockets.echoDatagram(published.server, timeoutSeconds: 15)
            #expect(try LabSockets.receive(client, timeoutSeconds: 15) == text)
        }
    }

    @Test func `a client that was not answered is forgotten sooner than one that was`() throws {
        var limits = ForwardLimits()
        (limits.unanswered, limits.answered) = (1_000, 2_500)
        let published = try Published(limits: limits)
        let quiet = try published.client()
        let busy = try published.client()
        try LabSockets.send(quiet, "?")
        _ = try LabSockets.receive(published.server, timeoutSeconds: 15)
        try LabSockets.send(busy, "?")
        try LabSockets.echoDatagram(published.server, timeoutSeconds: 15)
        #expect(try LabSockets.receive(busy, timeoutSeconds: 15) == "?")
        #expect(try published.harness.counters(1) { $0.active < 2 }.active == 1)
        #expect(try published.harness.counters(1) { $0.active == 0 }.active == 0)
        try LabSockets.send(quiet, "!")
        try LabSockets.echoDatagram(published.server, timeoutSeconds: 15)
        #expect(try LabSockets.receive(quiet, timeoutSeconds: 15) == "!")
        #expect(try published.harness.counters(1).opened == 3)
    }

    @Test func `past the limit the longest unanswered one makes room`() throws {
        let published = try Published(limit: 3)
        var clients: [Client] = []
        for number in 0..<3 {
            let client = Client(try published.client())
            try LabSockets.send(client.socket, "\(number)")
            if number == 0 {
                try LabSockets.echoDatagram(published.server, timeoutSeconds: 15)
                #expect(try LabSockets.receive(client.socket, timeoutSeconds: 15) == "0")
            } else {
                #expect(try LabSockets.receive(published.server, timeoutSeconds: 15) == "\(number)")
            }
            clients.append(client)
        }
        let late = try published.client()
        try LabSockets.send(late, "late")
        try LabSockets.echoDatagram(published.server, timeoutSeconds: 15)
        #expect(try LabSockets.receive(late, timeoutSeconds: 15) == "late")
        let counters = try published.harness.counters(1)
        #expect(counters.evicted == 1 && counters.active == 3 && counters.opened == 4)
        // The first one was used earliest, but has been answered.
        try LabSockets.send(clients[0].socket, "still")
        try LabSockets.echoDatagram(published.server, timeoutSeconds: 15)
        #expect(try LabSockets.receive(clients[0].socket, timeoutSeconds: 15) == "still")
        #expect(try published.harness.counters(1).opened == 4)
    }

    @Test func `a server that is not there does no harm, and is served when it comes`() throws {
        let harness = try ForwarderHarness(.ordinary)
        defer { harness.stop() }
        var port: UInt16 = 0
        do { port = try LabSockets.port(of: try LabSockets.bind(.udp, "127.0.0.1", port: 0)) }
        let listener = try LabSockets.bind(.udp, "127.0.0.1", port: 0)
        let loopback = try IPAddress("127.0.0.1")
        try harness.publish(
            ForwardedPort(id: 1, transport: .udp, targets: [loopback], port: port, standIns: [loopback]),
            listener)
        _ = try harness.expect { if case .wantSockets = $0 { true } else { false } }
        let client = try LabSockets.connect(.udp, "127.0.0.1", port: try LabSockets.port(of: listener))
        for _ in 0..<3 { try LabSockets.send(client, "anybody?") }
        #expect(try harness.counters(1).active <= 1)
        let server = try LabSockets.bind(.udp, "127.0.0.1", port: port)
        // An error of the one before may still be on its way.
        for _ in 0..<3 { try LabSockets.send(client, "now?") }
        try LabSockets.echoDatagram(server, timeoutSeconds: 15)
        #expect(try LabSockets.receive(client, timeoutSeconds: 15) == "now?")
    }

    @Test func `new clients are let in at a rate, and those that are known do not suffer`() throws {
        var limits = ForwardLimits()
        limits.newClients = 5
        let published = try Published(limits: limits)
        let known = try published.client()
        try LabSockets.send(known, "first")
        #expect(try LabSockets.receive(published.server, timeoutSeconds: 15) == "first")
        for _ in 0..<200 { try LabSockets.send(try published.client(), "flood") }
        let counters = try published.harness.counters(1) { $0.opened + $0.dropped == 201 }
        #expect(counters.opened >= 5 && counters.dropped >= 100 && counters.opened + counters.dropped == 201)
        try LabSockets.send(known, "still")
        var last = ""
        while last != "still" { last = try LabSockets.receive(published.server, timeoutSeconds: 15) }
    }

    @Test func `a burst from many clients is sorted`() throws {
        let published = try Published()
        let clients = try (0..<40).map { _ in Client(try published.client()) }
        for round in 0..<5 {
            for (number, client) in clients.enumerated() {
                try LabSockets.send(client.socket, "\(round) \(number)")
            }
            for _ in clients { try LabSockets.echoDatagram(published.server, timeoutSeconds: 15) }
            for (number, client) in clients.enumerated() {
                #expect(try LabSockets.receive(client.socket, timeoutSeconds: 15) == "\(round) \(number)")
            }
        }
        #expect(try published.harness.counters(1).opened == 40)
    }

    private final class Client {
        let socket: Descriptor
        init(_ socket: consuming Descriptor) { self.socket = socket }
    }
}
