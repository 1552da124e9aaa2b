import Forwarding
import ForwardingSupport
import LabSupport
import Namespaces
import Sys
import Testing
import Wire

/// A gate in a namespace whose rules lead 127.0.0.1:80 to it, for clients at 127.0.0.2. The test is the manager.
@Suite(.timeLimit(.minutes(2)), .enabled(if: Lab.isAvailable(), "needs a lab")) struct GateTests {
    private final class Gate {
        let harness: ForwarderHarness
        private let namespace: LabNamespace

        init(asking: Int64) throws {
            var limits = ForwardLimits()
            limits.asking = asking
            harness = try ForwarderHarness(.none, limits: limits)
            namespace = try LabNamespace()
            let listener = try namespace.inside { try LabSockets.bind(.tcp, "127.0.0.1", port: 0) }
            let port = try LabSockets.port(of: listener)
            for line in [
                "add table ip gate", "add chain ip gate out { type nat hook output priority -100; }",
                "add rule ip gate out ip saddr 127.0.0.2 tcp dport 80 redirect to :\(port)",
            ] {
                let done = try namespace.run("nft", line)
                try #require(done.status.code == 0, "\(done.errors)")
            }
            try harness.publish(.gate(id: 1), listener)
        }

        deinit { harness.stop() }

        func connect() throws -> Descriptor {
            try namespace.inside {
                let socket = try PlainSockets.bind(.tcp, "127.0.0.2", port: 0)
                try PlainSockets.connect(socket, "127.0.0.1", port: 80)
                return socket
            }
        }

        /// A server where clients began their connections to.
        func serve() throws -> Descriptor {
            try namespace.inside { try LabSockets.bind(.tcp, "127.0.0.1", port: 80) }
        }

        /// A socket as the manager gives it along with its word.
        func socket() throws -> Descriptor {
            try namespace.inside { try Descriptor.stream(family: 4) }
        }

        /// What the next connection that asks asks for.
        func question() throws -> HostClaim {
            let report = try harness.expect { if case .mayReach = $0 { true } else { false } }
            guard case .mayReach(let claim) = report else { throw SystemError("receive", .noEntry) }
            return claim
        }
    }

    private static let request = "GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n"

    private func refusal(_ refusal: HostRefusal) throws -> ForwardReport {
        .hostRefused(
            client: try IPAddress("127.0.0.2"), destination: try IPAddress("127.0.0.1"), port: 80, refusal)
    }

    @Test func `who asks for no host in time is refused, however often it says something`() throws {
        let gate = try Gate(asking: 400)
        let silent = try gate.connect()
        #expect(try PlainSockets.ending(silent, milliseconds: 200) == "nothing")
        #expect(try PlainSockets.ending(silent) == "end")
        _ = try gate.harness.expect(refusal(.tooLong))
        // A byte now and then does not make it longer.
        let slow = try gate.connect()
        let begun = ContinuousClock.now
        var isOpen = true
        for byte in Self.request.utf8.prefix(25) where isOpen {
            try? slow.write([byte])
            isOpen = try !waitReadable([slow.rawValue], milliseconds: 40)[0]
        }
        #expect(!isOpen && begun.duration(to: .now) >= .milliseconds(350))
        #expect(try LabSockets.receive(slow).contains("the request names no host in time"))
        _ = try gate.harness.expect(refusal(.tooLong))
        let counters = try gate.harness.counters(1)
        #expect(counters.active == 0 && counters.failed == 2 && counters.opened == 0)
    }

    @Test func `who gets no answer from the manager in time is refused, and a late one opens nothing`() throws
    {
        let gate = try Gate(asking: 400)
        let server = try gate.serve()
        let client = try gate.connect()
        try LabSockets.send(client, Self.request)
        let claim = try gate.question()
        #expect(claim.host == "api.example.com" && claim.port == 80 && !claim.isUnderWay)
        #expect(try !waitReadable([client.rawValue], milliseconds: 200)[0])
        #expect(try LabSockets.receive(client).contains("policy could not be asked"))
        #expect(try PlainSockets.ending(client) == "end")
        _ = try gate.harness.expect(refusal(.undecided))
        _ = try gate.harness.expect(.hostsEnded([claim.id]))
        let socket = try gate.socket()
        try gate.harness.send(.host(id: claim.id, isAllowed: true), with: [socket.rawValue])
        // It says once more that there is none of this number.
        _ = try gate.harness.expect(.hostsEnded([claim.id]))
        #expect(throws: SystemError.self) { try PlainSockets.accept(server, milliseconds: 150) }
    }

    @Test func `who is allowed in time stays`() throws {
        let gate = try Gate(asking: 400)
        let server = try gate.serve()
        let client = try gate.connect()
        try LabSockets.send(client, Self.request)
        let claim = try gate.question()
        let socket = try gate.socket()
        try gate.harness.send(.host(id: claim.id, isAllowed: true), with: [socket.rawValue])
        let accepted = try PlainSockets.accept(server)
        #expect(try LabSockets.receive(accepted.socket).contains("Host: api.example.com"))
        // Well past its time to ask.
        #expect(try PlainSockets.ending(client, milliseconds: 800) == "nothing")
        try LabSockets.send(accepted.socket, "answer")
        #expect(try LabSockets.receive(client) == "answer")
        #expect(try gate.harness.counters(1).failed == 0)
    }
}
