import Dispatch
import Forwarding
import ForwardingSupport
import Foundation
import LabSupport
import Sys
import Testing
import Wire

/// TCP on the loopback interface, where clients are led on as the host's own address: no privileges needed.
@Suite(.timeLimit(.minutes(2))) struct StreamTests {
    /// A published port on 127.0.0.1 and the server that it leads to.
    final class Published {
        let harness: ForwarderHarness
        let server: Descriptor
        let port: UInt16
        let target: UInt16

        init(limit: UInt32 = 0, limits: ForwardLimits = ForwardLimits(), id: UInt32 = 1) throws {
            harness = try ForwarderHarness(.ordinary, limits: limits)
            server = try LabSockets.bind(.tcp, "127.0.0.1", port: 0)
            target = try LabSockets.port(of: server)
            let listener = try LabSockets.bind(.tcp, "127.0.0.1", port: 0)
            port = try LabSockets.port(of: listener)
            try harness.publish(StreamTests.forward(id, to: target, limit: limit), listener)
        }

        deinit { harness.stop() }

        func connect() throws -> Descriptor {
            try LabSockets.connect(.tcp, "127.0.0.1", port: port, timeoutSeconds: 5)
        }
    }

    private static func forward(_ id: UInt32, to port: UInt16, limit: UInt32 = 0) throws -> ForwardedPort {
        let loopback = try IPAddress("127.0.0.1")
        return ForwardedPort(
            id: id, transport: .tcp, targets: [loopback], port: port, standIns: [loopback], limit: limit)
    }

    @Test func `bytes go both ways, and a side that has ended still receives`() throws {
        let published = try Published()
        let client = try published.connect()
        try LabSockets.send(client, "question")
        let accepted = try PlainSockets.accept(published.server)
        #expect(accepted.peer.hasPrefix("127.0.0.1 "))
        #expect(try LabSockets.receive(accepted.socket) == "question")
        try PlainSockets.finish(client)
        #expect(try PlainSockets.ending(accepted.socket) == "end")
        try LabSockets.send(accepted.socket, "late answer")
        #expect(try LabSockets.receive(client) == "late answer")
        #expect(try PlainSockets.ending(client, milliseconds: 100) == "nothing")
        try PlainSockets.finish(accepted.socket)
        #expect(try PlainSockets.ending(client) == "end")
        let counters = try published.harness.counters(1) { $0.active == 0 }
        #expect(counters.opened == 1 && counters.active == 0 && counters.failed == 0)
        #expect(counters.bytesIn == 8 && counters.bytesOut == 11 && counters.standIns == 1)
    }

    @Test func `a server may speak first`() throws {
        let published = try Published()
        let client = try published.connect()
        let accepted = try PlainSockets.accept(published.server)
        try LabSockets.send(accepted.socket, "220 ready")
        #expect(try LabSockets.receive(client) == "220 ready")
    }

    @Test func `much is passed on whole, both ways at once, however slow one side reads`() throws {
        let published = try Published()
        let size = 16 << 20
        let client = try published.connect()
        let accepted = try PlainSockets.accept(published.server)
        let (near, far) = (client.rawValue, accepted.socket.rawValue)
        let results = try PlainSockets.together([
            { try PlainSockets.send(size, by: near) },
            {
                Thread.sleep(forTimeInterval: 0.3)
                return try PlainSockets.digest(of: far)
            },
            { try PlainSockets.send(size / 2, by: far) },
            { try PlainSockets.digest(of: near) },
        ])
        #expect(results[0] == results[1] && results[0].count == size)
        #expect(results[2] == results[3] && results[2].count == size / 2)
        let counters = try published.harness.counters(1) { $0.active == 0 }
        #expect(try PlainSockets.local(client) != accepted.peer, "it is not a direct connection")
        #expect(counters.bytesIn == UInt64(size) && counters.bytesOut == UInt64(size / 2))
    }

    @Test func `tiny writes are passed on whole`() throws {
        let published = try Published()
        let client = try published.connect()
        let accepted = try PlainSockets.accept(published.server)
        let (near, far) = (client.rawValue, accepted.socket.rawValue)
        let results = try PlainSockets.together([
            { try PlainSockets.send(20_000, inPartsOf: 1, by: near) },
            { try PlainSockets.digest(of: far) },
        ])
        #expect(results[0] == results[1] && results[0].count == 20_000)
        #expect(try PlainSockets.local(client) != accepted.peer)
    }

    @Test func `a refusal of the endpoint is a reset for the client`() throws {
        let harness = try ForwarderHarness(.ordinary)
        defer { harness.stop() }
        var target: UInt16 = 0
        do {
            let nobody = try LabSockets.bind(.udp, "127.0.0.1", port: 0)
            target = try LabSockets.port(of: nobody)
        }
        let listener = try LabSockets.bind(.tcp, "127.0.0.1", port: 0)
        try harness.publish(try Self.forward(1, to: target), listener)
        let client = try LabSockets.connect(.tcp, "127.0.0.1", port: try LabSockets.port(of: listener))
        #expect(try PlainSockets.ending(client) == "reset")
        #expect(try harness.counters(1) { $0.active == 0 }.failed == 1)
    }

    @Test func `a reset of either side is one for the other`() throws {
        let published = try Published()
        do {
            let client = try published.connect()
            let accepted = try PlainSockets.accept(published.server)
            PlainSockets.reset(client)
            #expect(try PlainSockets.ending(accepted.socket) == "reset")
        }
        let client = try published.connect()
        var accepted: PlainSockets.Accepted? = try PlainSockets.accept(published.server)
        accepted?.becomeAbrupt()
        accepted = nil
        #expect(try PlainSockets.ending(client) == "reset")
        // Also where one side has ended before.
        let other = try published.connect()
        accepted = try PlainSockets.accept(published.server)
        try PlainSockets.finish(other)
        if let accepted { #expect(try PlainSockets.ending(accepted.socket) == "end") }
        accepted?.becomeAbrupt()
        accepted = nil
        #expect(try PlainSockets.ending(other) == "reset")
        #expect(try published.harness.counters(1) { $0.active == 0 }.active == 0)
    }

    @Test func `a connection that the endpoint never takes is reset in time`() throws {
        var limits = ForwardLimits()
        limits.connect = 300
        let harness = try ForwarderHarness(.ordinary, limits: limits)
        defer { harness.stop() }
        // A full queue: the kernel drops every further SYN.
        let deaf = try LabSockets.bind(.tcp, "127.0.0.1", port: 0)
        let target = try LabSockets.port(of: deaf)
        try PlainSockets.shortenQueue(deaf)
        let filling = try LabSockets.connect(.tcp, "127.0.0.1", port: target)
        let listener = try LabSockets.bind(.tcp, "127.0.0.1", port: 0)
        try harness.publish(try Self.forward(1, to: target), listener)
        let client = try LabSockets.connect(.tcp, "127.0.0.1", port: try LabSockets.port(of: listener))
        #expect(try PlainSockets.ending(client, milliseconds: 100) == "nothing")
        #expect(try PlainSockets.ending(client) == "reset")
        #expect(try harness.counters(1).failed == 1)
        withExtendedLifetime(filling.rawValue) {}
    }

    @Test func `past the limit clients wait until others have gone`() throws {
        let published = try Published(limit: 1)
        let first = Held(try published.connect())
        _ = try PlainSockets.accept(published.server)
        let second = try published.connect()
        try LabSockets.send(second, "waiting")
        #expect(throws: SystemError.self) { try PlainSockets.accept(published.server, milliseconds: 150) }
        first.close()
        let accepted = try PlainSockets.accept(published.server)
        #expect(try LabSockets.receive(accepted.socket) == "waiting")
        let counters = try published.harness.counters(1)
        #expect(counters.opened == 2 && counters.active == 1)
    }

    @Test func `two thousand short connections leave nothing behind`() throws {
        let published = try Published()
        for number in 0..<2_000 {
            let client = try published.connect()
            try LabSockets.send(client, "\(number)")
            try PlainSockets.finish(client)
            let accepted = try PlainSockets.accept(published.server)
            #expect(try LabSockets.receive(accepted.socket) == "\(number)")
            try LabSockets.send(accepted.socket, "!")
            try PlainSockets.finish(accepted.socket)
            #expect(try LabSockets.receive(client) == "!")
            #expect(try PlainSockets.ending(client) == "end")
        }
        let counters = try published.harness.counters(1) { $0.active == 0 }
        #expect(counters.opened == 2_000 && counters.active == 0 && counters.failed == 0)
    }

    @Test func `what is withdrawn ends, with all of its connections, and its port is free`() throws {
        let published = try Published()
        let client = try published.connect()
        let accepted = try PlainSockets.accept(published.server)
        try published.harness.send(.withdraw(id: 1))
        _ = try published.harness.expect(.withdrawn(id: 1))
        #expect(try PlainSockets.ending(client) == "reset")
        #expect(try PlainSockets.ending(accepted.socket) == "reset")
        #expect(throws: SystemError.self) { _ = try published.connect() }
        let again = try LabSockets.bind(.tcp, "127.0.0.1", port: published.port)
        try published.harness.publish(try Self.forward(2, to: published.target), again)
        let other = try published.connect()
        try LabSockets.send(other, "again")
        #expect(try LabSockets.receive(try PlainSockets.accept(published.server).socket) == "again")
    }

    @Test func `without a manager forwarding goes on; the next one finds it, and ends what it does not want`()
        throws
    {
        let published = try Published()
        let harness = published.harness
        let surplus = try LabSockets.bind(.tcp, "127.0.0.1", port: 0)
        try harness.publish(try Self.forward(2, to: published.target), surplus)
        let client = try published.connect()
        let accepted = try PlainSockets.accept(published.server)
        harness.killManager()
        try LabSockets.send(client, "one")
        #expect(try LabSockets.receive(accepted.socket) == "one")
        let during = try published.connect()
        let meanwhile = try PlainSockets.accept(published.server)

        try harness.startManager()
        try harness.send(.beginResync)
        _ = try harness.expect(.holds([1, 2], isLast: true))
        try harness.send(.publish(try Self.forward(1, to: published.target)))
        _ = try harness.expect(.published(id: 1))
        try harness.send(.publish(try Self.forward(3, to: published.target)))
        _ = try harness.expect(.failed(id: 3, errno: 9))
        try harness.send(.endResync)
        _ = try harness.expect(.withdrawn(id: 2))
        #expect(throws: SystemError.self) {
            _ = try LabSockets.connect(.tcp, "127.0.0.1", port: try LabSockets.port(of: surplus))
        }
        for (near, far) in [(client.rawValue, accepted), (during.rawValue, meanwhile)] {
            try LabSockets.send(far.socket, "two")
            #expect(try waitReadable([near], milliseconds: 2000)[0])
        }
        #expect(try LabSockets.receive(client) == "two")
        #expect(try LabSockets.receive(during) == "two")
    }

    @Test func `what is not what it should be is refused`() throws {
        let harness = try ForwarderHarness(.ordinary)
        defer { harness.stop() }
        let datagram = try LabSockets.bind(.udp, "127.0.0.1", port: 0)
        let (one, other) = try UnixSocket.pair()
        let ends = (Held(Descriptor(owning: one)), Held(Descriptor(owning: other)))
        let file = try Descriptor.open("/dev/null", 0)
        for (id, number) in [(1, datagram.rawValue), (2, one), (3, file.rawValue)] as [(UInt32, Int32)] {
            try harness.send(.publish(try Self.forward(id, to: 1)), with: [number])
            _ = try harness.expect(.failed(id: id, errno: 22))
        }
        ends.0.close()
        try harness.send(.count(request: 9))
        _ = try harness.expect(.counters(request: 9, [:], isLast: true))
    }

    @Test func `with no sockets in stock clients wait, and are let in when some come`() throws {
        let harness = try ForwarderHarness(.none)
        defer { harness.stop() }
        let server = try LabSockets.bind(.tcp, "127.0.0.1", port: 0)
        let listener = try LabSockets.bind(.tcp, "127.0.0.1", port: 0)
        try harness.publish(try Self.forward(1, to: try LabSockets.port(of: server)), listener)
        _ = try harness.expect(.wantSockets(.v4, .tcp, count: 64))
        let client = try LabSockets.connect(.tcp, "127.0.0.1", port: try LabSockets.port(of: listener))
        #expect(throws: SystemError.self) { try PlainSockets.accept(server, milliseconds: 150) }
        // What does not come is asked for again.
        _ = try harness.expect(.wantSockets(.v4, .tcp, count: 64))
        try PlainSockets.send(1, .v4, .tcp) { try harness.send(.refill(.v4, .tcp), with: $0) }
        _ = try PlainSockets.accept(server)
        #expect(try PlainSockets.ending(client, milliseconds: 50) == "end")
    }
}
