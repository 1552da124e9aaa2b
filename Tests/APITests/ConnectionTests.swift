import Foundation
import GRPCCore
import Model
import Protos
import SwiftProtobuf
import Synchronization
import Sys
import Testing

@testable import API

@Suite struct ConnectionTests {
    @Test func `serves nobody who is not admitted`() async throws {
        let asked = Mutex(0)
        try await RunningServer.with(admits: { connection in
            asked.withLock { $0 += 1 }
            return (try? Descriptor.peerUser(of: connection)) != geteuid()
        }) { running in
            try await running.client(patience: .milliseconds(100)) { client in
                let error = await #expect(throws: ForgeError.self) { try await client.getStatus(.init()) }
                #expect(error?.code == .unavailable)
            }
        }
        #expect(asked.withLock { $0 } > 0)
    }

    @Test func `shows the peer's user to who decides`() async throws {
        let users = Mutex<[UInt32]>([])
        try await RunningServer.with(admits: { connection in
            let user = try? Descriptor.peerUser(of: connection)
            users.withLock { $0.append(user ?? .max) }
            return true
        }) { running in
            try await running.client { _ = try await $0.getStatus(.init()) }
        }
        #expect(users.withLock { $0 } == [geteuid()])
    }

    @Test func `serves others while one waits to be admitted`() async throws {
        let first = Mutex(true)
        try await RunningServer.with(admits: { _ in
            let isFirst = first.withLock { value in
                defer { value = false }
                return value
            }
            if isFirst { try? await Task.sleep(for: .seconds(30)) }
            return true
        }) { running in
            let waiting = try UnixSocket.connect(to: running.socketPath)
            try await Task.sleep(for: .milliseconds(20))
            try await running.client { _ = try await $0.getStatus(.init()) }
            _ = waiting.rawValue
        }
    }

    /// Without the authority, which is left to the test.
    static func fields(
        method: String = "POST", path: String = "/forge.network.v1.NetworkManager/GetStatus",
        type: String = "application/grpc"
    ) -> [(name: String, value: String)] {
        [
            (":method", method), (":scheme", "http"), (":path", path), ("content-type", type),
            ("te", "trailers"),
        ]
    }

    @Test(arguments: [
        nil, "", "localhost", "%2Frun%2Fforge.sock", "a%zz", "user@host:99999", "/run/forge.sock", "[::1]:80",
    ])
    func `answers a call whatever its authority, and without one`(authority: String?) async throws {
        try await RunningServer.with { running in
            var fields = Self.fields()
            if let authority { fields.insert((":authority", authority), at: 3) }
            let status = try await RawCall.make(running.socketPath, fields)
            #expect(status.code == .ok)
        }
    }

    @Test func `refuses what is no call, and says how`() async throws {
        try await RunningServer.with { running in
            let path = running.socketPath
            let get = try await RawCall.make(path, Self.fields(method: "GET"))
            #expect(get.message == "HTTP status 405")
            for type in ["text/html", "application/grpcx", ""] {
                let other = try await RawCall.make(path, Self.fields(type: type))
                #expect(other.message == "HTTP status 415")
            }
            for wrong in ["", "/", "/x", "//x", "/x/", "/x/y/z", "x/y"] {
                let nowhere = try await RawCall.make(path, Self.fields(path: wrong))
                #expect(nowhere == Status(code: .unimplemented, message: "\"\(wrong)\" names no method"))
            }
            let unknown = try await RawCall.make(
                path, Self.fields(path: "/forge.network.v1.NetworkManager/X"))
            #expect(unknown.code == .unimplemented)
            let squeezed = try await RawCall.make(path, Self.fields() + [("grpc-encoding", "gzip")])
            #expect(squeezed.message == "messages encoded with \"gzip\" are not taken")
            let typed = try await RawCall.make(path, Self.fields(type: "application/grpc+proto"))
            #expect(typed.code == .ok)
        }
    }

    @Test func `resets a call with more header fields than any has`() async throws {
        try await RunningServer.with { running in
            let path = running.socketPath
            for extra in [
                [("x", String(repeating: "y", count: 20_000))], (0..<110).map { ("x-\($0)", "y") },
            ] {
                await #expect(throws: RPCError.self) {
                    _ = try await RawCall.make(path, Self.fields() + extra)
                }
            }
            let usual = try await RawCall.make(path, Self.fields())
            #expect(usual.code == .ok)
        }
    }

    @Test func `survives bytes that are not HTTP`() async throws {
        try await RunningServer.with { running in
            for bytes in [Array("GET / HTTP/1.1\r\n\r\n".utf8), Array(repeating: 0xff, count: 10_000)] {
                let socket = try UnixSocket.connect(to: running.socketPath)
                try? socket.write(bytes)
                _ = try? socket.read(upTo: 100)
            }
            try await running.client { _ = try await $0.getStatus(.init()) }
        }
    }

    @Test func `refuses a document that is too large`() async throws {
        try await RunningServer.with { running in
            try await running.client { client in
                let error = await #expect(throws: ForgeError.self) {
                    try await client.applyFirewall(
                        .with { $0.document = String(repeating: "#", count: PolicyDocument.textLimit + 1) })
                }
                #expect(error?.code == .invalidArgument)
            }
        }
    }

    @Test func `refuses a request that is larger than any, and lives on`() async throws {
        try await RunningServer.with { running in
            try await running.client { client in
                let error = await #expect(throws: ForgeError.self) {
                    try await client.applyFirewall(
                        .with { $0.document = String(repeating: "#", count: APIServer.requestLimit) })
                }
                #expect(error?.code == .resourceExhausted)
                #expect(error?.message.hasSuffix("is larger than 16777216") == true)
                _ = try await client.getStatus(.init())
            }
        }
    }

    @Test func `says that nobody answers`() async throws {
        let client = try ForgeClient(socketPath: "/nonexistent/socket", patience: .milliseconds(30))
        await #expect(throws: ForgeError(.unavailable, "no fabric answers at /nonexistent/socket")) {
            try await client.getStatus(.init())
        }
        await #expect(throws: ForgeError(.unavailable, "no fabric answers at /nonexistent/socket")) {
            try await client.createVNet(.with { $0.name = "x" })
        }
        await client.close()
    }

    @Test func `outlives a restart of the server`() async throws {
        let directory = NSTemporaryDirectory() + "forge-api-\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let path = directory + "/s"
        let fabric = MemoryFabric()
        // The client is there before the first server is.
        // Long: other tests may keep all threads of tasks busy for a while.
        let client = try ForgeClient(socketPath: path, patience: .seconds(120))
        for round in 1...3 {
            async let made = client.createVNet(.with { $0.name = "lan\(round)" })
            try await Task.sleep(for: .milliseconds(50))
            let server = try APIServer(
                control: fabric, socket: try UnixSocket.listen(at: path), admits: { _ in true })
            async let served: Void = server.serve()
            #expect(try await made.vnet.name == "lan\(round)")
            #expect(try await client.allVNets().count == round)
            server.stop()
            try await served
            try FileManager.default.removeItem(atPath: path)
        }
        await client.close()
    }
}
