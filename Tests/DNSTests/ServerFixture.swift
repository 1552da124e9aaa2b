import Foundation
import Synchronization
import Sys
import Testing
import Wire

@testable import DNS

/// A resolver with real sockets on the loopback interface: one network, whose endpoints are 127.0.0.1 (web) and
/// 127.0.0.2 (db), and an upstream on a port of its own. The test is the manager.
final class ServerFixture {
    let server: ResolverServer
    var manager: PacketLink
    let port: UInt16
    let upstream: FakeUpstream
    private let ended = DispatchSemaphore(value: 0)

    /// A port that is free for datagrams may not be for streams: then it is another one.
    static func socketsOnOnePort() throws -> (datagrams: Int32, streams: Int32) {
        for _ in 0..<20 {
            let datagrams = try Descriptor.bound(to: try address("127.0.0.1", 0), stream: false)
            let port = try datagrams.localAddress().port
            if let streams = try? Descriptor.bound(to: try address("127.0.0.1", port), stream: true) {
                return (datagrams.release(), streams.release())
            }
        }
        throw SystemError("bind", .busy, "a port of both kinds")
    }

    static func address(_ text: String, _ port: UInt16) throws -> SocketAddress {
        SocketAddress(try IPAddress(text), port: port)
    }

    init() throws {
        let (mine, its) = try PacketLink.pair()
        manager = PacketLink(Descriptor(owning: mine))
        upstream = try FakeUpstream()
        var sockets: [UpstreamSocket] = []
        for _ in 0..<8 {
            sockets.append(UpstreamSocket(.udp, .v4, try Descriptor.internetSocket(family: 4, stream: false)))
        }
        for _ in 0..<2 {
            sockets.append(UpstreamSocket(.tcp, .v4, try Descriptor.internetSocket(family: 4, stream: true)))
        }
        let server = try ResolverServer(link: Descriptor(owning: its), upstreamSockets: sockets)
        self.server = server
        let pair = try Self.socketsOnOnePort()
        let datagrams = Descriptor(owning: pair.datagrams)
        let streams = Descriptor(owning: pair.streams)
        port = try datagrams.localAddress().port
        let ended = ended
        Thread.detachNewThread {
            do { try server.run() } catch { Issue.record("\(error)") }
            ended.signal()
        }
        try tellEverything()
        try order(.listener(ListenerDescription(network: 1, transport: .udp)), with: datagrams.rawValue)
        try order(.listener(ListenerDescription(network: 1, transport: .tcp)), with: streams.rawValue)
    }

    func tellEverything() throws {
        try order(.begin)
        try order(.network(NetworkDescription(id: 1, name: "shop", subnets: [try CIDR("127.0.0.0/24")])))
        for (number, name) in [(1, "web"), (2, "db")] {
            try order(
                .endpoint(
                    EndpointDescription(
                        id: UInt64(number), network: 1, name: name,
                        addresses: [try IPAddress("127.0.0.\(number)")])))
        }
        try order(.upstreams([UpstreamAddress(try IPAddress("127.0.0.1"), port: upstream.port)]))
        try order(.end)
    }

    func order(_ order: ResolverOrder, with passenger: Int32? = nil) throws {
        try manager.send(order.encoded, with: passenger)
    }

    /// The next report, within five seconds.
    func report() throws -> ResolverReport {
        try #require(try waitReadable([manager.descriptor.rawValue], milliseconds: 5000)[0], "no report")
        guard let received = try manager.receive() else { throw SystemError("receive", .brokenPipe) }
        let (bytes, passenger) = received.take()
        #expect(passenger == -1)
        return try ResolverReport(bytes)
    }

    /// The next report that is neither about sockets nor about denials.
    func question() throws -> ResolverReport {
        while true {
            switch try report() {
            case .listening, .denied: continue
            case let other: return other
            }
        }
    }

    /// Ends the thread, and waits for it.
    func stop() throws {
        server.stop()
        try #require(ended.wait(timeout: .now() + 5) == .success)
        upstream.stop()
    }

    /// A client at one of the endpoints' addresses.
    func client(_ address: String = "127.0.0.1", stream: Bool = false) throws -> Descriptor {
        let socket =
            stream
            ? try Descriptor.internetSocket(family: 4, stream: true)
            : try Descriptor.bound(to: try Self.address(address, 0), stream: false)
        _ = try socket.connect(to: try Self.address("127.0.0.1", port))
        return socket
    }

    static func receive(_ socket: borrowing Descriptor, milliseconds: Int32 = 5000) throws -> [UInt8] {
        try #require(try waitReadable([socket.rawValue], milliseconds: milliseconds)[0], "no answer")
        var buffer = [UInt8](repeating: 0, count: 65536)
        let (count, _) = try #require(try socket.receiveNow(into: &buffer))
        return Array(buffer[..<count])
    }

    func ask(_ name: String, on socket: borrowing Descriptor) throws -> PlainMessage {
        _ = try socket.sendNow(MessageBuilder.query(name))
        return try PlainMessage(try Self.receive(socket))
    }
}

/// An upstream on the loopback interface: 192.0.2.1 for everything. Names that begin with `long` it answers in full
/// over TCP only, and with `silent` not at all.
final class FakeUpstream: Sendable {
    let port: UInt16
    private let isStopped = Mutex(false)
    /// Ports from which it was asked, in order.
    let clients = Mutex<[UInt16]>([])
    private let ended = DispatchSemaphore(value: 0)

    init() throws {
        let pair = try ServerFixture.socketsOnOnePort()
        let datagrams = Descriptor(owning: pair.datagrams)
        port = try datagrams.localAddress().port
        let (one, two) = (datagrams.release(), pair.streams)
        Thread.detachNewThread { [self] in
            serve(Descriptor(owning: one), Descriptor(owning: two))
            ended.signal()
        }
    }

    func stop() {
        isStopped.withLock { $0 = true }
        ended.wait()
    }

    private func answers(_ query: [UInt8], overTCP: Bool) -> [UInt8]? {
        guard let question = try? PlainMessage(query).question.lowercased(), !question.hasPrefix("silent")
        else {
            return nil
        }
        guard question.hasPrefix("long") else {
            return try? MessageBuilder.response(to: query, answers: [MessageBuilder.a(question, "192.0.2.1")])
        }
        if !overTCP { return MessageBuilder.response(to: query, flags: 0x8380) }
        return try? MessageBuilder.response(
            to: query, answers: (0..<100).map { try MessageBuilder.a(question, "192.0.2.\($0)") })
    }

    private func serve(_ datagrams: borrowing Descriptor, _ streams: borrowing Descriptor) {
        var buffer = [UInt8](repeating: 0, count: 65536)
        var connection: Int32 = -1
        while !isStopped.withLock({ $0 }) {
            let waiting = [datagrams.rawValue, streams.rawValue] + (connection < 0 ? [] : [connection])
            guard let ready = try? waitReadable(waiting, milliseconds: 50) else { return }
            if ready[0], let (count, sender) = try? datagrams.receiveNow(into: &buffer) {
                clients.withLock { $0.append(sender.port) }
                if let answer = answers(Array(buffer[..<count]), overTCP: false) {
                    var outbox = DatagramOutbox()
                    outbox.append(start: 0, end: answer.count, to: sender)
                    _ = outbox.flush(answer, through: datagrams.rawValue)
                }
            }
            if ready[1], let accepted = try? streams.acceptNow() {
                if connection >= 0 { _ = Descriptor(owning: connection) }
                connection = accepted.take().0
            }
            if ready.count == 3, ready[2] {
                let socket = Descriptor(owning: connection)
                connection = -1
                if let (count, _) = try? socket.receiveNow(into: &buffer), count > 2,
                    let answer = answers(Array(buffer[2..<count]), overTCP: true)
                {
                    // In two pieces: a stream has no messages.
                    let framed = StreamFrames.framed(answer)
                    _ = try? socket.sendNow(Array(framed.prefix(5)))
                    Thread.sleep(forTimeInterval: 0.01)
                    _ = try? socket.sendNow(framed, from: 5)
                }
            }
        }
        if connection >= 0 { _ = Descriptor(owning: connection) }
    }
}
