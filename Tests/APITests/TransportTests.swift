import Foundation
import GRPCCore
import Synchronization
import Sys
import Testing

@testable import API

/// gRPC over our own transport, with a service that is not the fabric's.
@Suite struct TransportTests {
    static let echo = MethodDescriptor(fullyQualifiedService: "test.Echo", method: "Echo")
    static let pour = MethodDescriptor(fullyQualifiedService: "test.Echo", method: "Pour")

    struct Bytes: MessageSerializer, MessageDeserializer {
        func serialize<Other: GRPCContiguousBytes>(_ message: [UInt8]) throws -> Other { Other(message) }
        func deserialize<Other: GRPCContiguousBytes>(_ bytes: Other) throws -> [UInt8] {
            unsafe bytes.withUnsafeBytes { unsafe Array($0) }
        }
    }

    final class Service: RegistrableRPCService {
        let begun = Mutex(0)
        let written = Mutex(0)
        let ended = Mutex(0)

        func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {
            // Sends back how long each message is, and the last one.
            router.registerHandler(forMethod: echo, deserializer: Bytes(), serializer: Bytes()) {
                request, _ in
                StreamingServerResponse { writer in
                    var last: [UInt8] = []
                    for try await message in request.messages {
                        if message.count > 1 { try await Task.sleep(for: .milliseconds(5)) }
                        try await writer.write(Array("\(message.count)".utf8))
                        last = message
                    }
                    try await writer.write(last)
                    return [:]
                }
            }
            // Sends without end.
            router.registerHandler(forMethod: pour, deserializer: Bytes(), serializer: Bytes()) { _, _ in
                StreamingServerResponse { writer in
                    self.begun.withLock { $0 += 1 }
                    defer { self.ended.withLock { $0 += 1 } }
                    while true {
                        try await writer.write([UInt8](repeating: 7, count: 10_000))
                        self.written.withLock { $0 += 10_000 }
                    }
                }
            }
        }
    }

    private func serving(
        _ test: (GRPCClient<SocketClientTransport>, Service) async throws -> Void
    ) async throws {
        let directory = NSTemporaryDirectory() + "forge-api-\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let transport = SocketServerTransport(
            loop: try .shared, socket: try UnixSocket.listen(at: directory + "/s"), requestLimit: 4 << 20
        ) { _ in true }
        let service = Service()
        try await withGRPCServer(transport: transport, services: [service]) { _ in
            try await withGRPCClient(
                transport: SocketClientTransport(loop: try .shared, path: directory + "/s")
            ) {
                try await test($0, service)
            }
        }
    }

    @Test(arguments: [
        // Windows are 256 KiB: a message may wait in one while the next has begun in it.
        [100_000, 300_000, 0, 1, 1_000_000, 65_536, 0, 262_144, 262_139],
        [Int](repeating: 0, count: 20_000) + [3],
    ])
    func `messages of any size come through whole, to who reads slowly too`(sizes: [Int]) async throws {
        try await serving { client, _ in
            let request = StreamingClientRequest<[UInt8]> { writer in
                for size in sizes { try await writer.write((0..<size).map { UInt8($0 % 251) }) }
            }
            let answers = try await client.bidirectionalStreaming(
                request: request, descriptor: Self.echo, serializer: Bytes(), deserializer: Bytes(),
                options: .defaults
            ) { response in
                var all: [[UInt8]] = []
                for try await message in response.messages {
                    if all.count < 20 { try await Task.sleep(for: .milliseconds(5)) }
                    all.append(message)
                }
                return all
            }
            #expect(answers.dropLast().map { String(decoding: $0, as: UTF8.self) } == sizes.map { "\($0)" })
            #expect(answers.last == (0..<(sizes.last ?? 0)).map { UInt8($0 % 251) })
        }
    }

    @Test func `who writes to one that does not read waits, and ends with the call`() async throws {
        try await serving { client, service in
            let call = Task {
                try await client.serverStreaming(
                    request: ClientRequest(message: [UInt8]()), descriptor: Self.pour, serializer: Bytes(),
                    deserializer: Bytes(), options: .defaults
                ) { response in
                    for try await _ in response.messages { try await Task.sleep(for: .seconds(600)) }
                }
            }
            try await until { service.written.withLock { $0 } > 200_000 }
            try await Task.sleep(for: .milliseconds(100))
            // Windows, buffers and sockets hold this much between them.
            #expect(service.written.withLock { $0 } < 2_000_000)
            call.cancel()
            try await until { service.ended.withLock { $0 } == 1 }
            await #expect(throws: (any Error).self) { try await call.value }
        }
    }

    @Test func `a call ends with its time`() async throws {
        try await serving { client, service in
            var options = CallOptions.defaults
            options.timeout = .milliseconds(50)
            let error = await #expect(throws: RPCError.self) {
                try await client.serverStreaming(
                    request: ClientRequest(message: [UInt8]()), descriptor: Self.pour, serializer: Bytes(),
                    deserializer: Bytes(), options: options
                ) { response in for try await _ in response.messages {} }
            }
            #expect(
                error.map { [.deadlineExceeded, .cancelled].contains($0.code) } == true,
                "\(String(describing: error))")
            // It may have been over before it came to the server.
            try await until { service.ended.withLock { $0 } == service.begun.withLock { $0 } }
        }
    }

    private func until(_ condition: () -> Bool) async throws {
        // Long: other tests may keep all threads of tasks busy for a while.
        for _ in 0..<6_000 where !condition() { try await Task.sleep(for: .milliseconds(10)) }
        try #require(condition())
    }
}
