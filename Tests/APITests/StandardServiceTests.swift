import GRPCCore
import Protos
import SwiftProtobuf
import Testing

@testable import API

/// Health and reflection, over a plain gRPC client.
@Suite struct StandardServiceTests {
    private func withChannel<Result: Sendable>(
        _ path: String, _ body: (GRPCClient<SocketClientTransport>) async throws -> Result
    ) async throws -> Result {
        let transport = SocketClientTransport(loop: try .shared, path: path)
        return try await withGRPCClient(transport: transport) { try await body($0) }
    }

    @Test func `answers health checks`() async throws {
        try await RunningServer.with { running in
            try await withChannel(running.socketPath) { channel in
                let health = Grpc_Health_V1_Health.Client(wrapping: channel)
                let overall = try await health.check(.init())
                #expect(overall.status == .serving)
                let name = "forge.network.v1.NetworkManager"
                let ours = try await health.check(.with { $0.service = name })
                #expect(ours.status == .serving)
                let all = try await health.list(.init())
                #expect(all.statuses.keys.sorted() == ["", name])
                let error = await #expect(throws: RPCError.self) {
                    _ = try await health.check(.with { $0.service = "x" })
                }
                #expect(error?.code == .notFound)
            }
        }
    }

    @Test func `tells a watcher each change of health and ends with the server`() async throws {
        try await RunningServer.with { running in
            try await withChannel(running.socketPath) { channel in
                let health = Grpc_Health_V1_Health.Client(wrapping: channel)
                let seen = try await health.watch(.init()) { response in
                    var seen: [Grpc_Health_V1_HealthCheckResponse.ServingStatus] = []
                    for try await message in response.messages {
                        seen.append(message.status)
                        if seen.count == 1 {
                            running.server.health.setServing(false)
                        } else {
                            running.server.stop()
                        }
                    }
                    return seen
                }
                #expect(seen == [.serving, .notServing])
            }
        }
    }

    @Test func `lists its services and describes them`() async throws {
        try await RunningServer.with { running in
            try await withChannel(running.socketPath) { channel in
                let reflection = Grpc_Reflection_V1_ServerReflection.Client(wrapping: channel)
                let answers = try await reflection.serverReflectionInfo(
                    requestProducer: { writer in
                        try await writer.write(.with { $0.listServices = "" })
                        try await writer.write(
                            .with { $0.fileContainingSymbol = "forge.network.v1.NetworkManager" })
                        try await writer.write(.with { $0.fileByFilename = "no/such.proto" })
                    },
                    onResponse: { response in
                        var answers: [Grpc_Reflection_V1_ServerReflectionResponse] = []
                        for try await message in response.messages { answers.append(message) }
                        return answers
                    })
                try #require(answers.count == 3)
                #expect(
                    answers[0].listServicesResponse.service.map(\.name) == [
                        "forge.network.v1.NetworkManager", "grpc.health.v1.Health",
                        "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
                    ])
                let files = try answers[1].fileDescriptorResponse.fileDescriptorProto.map {
                    try Google_Protobuf_FileDescriptorProto(serializedBytes: $0)
                }
                #expect(files.first?.name == "forge/network/v1/service.proto")
                #expect(files.contains { $0.name == "forge/network/v1/status.proto" })
                #expect(answers[2].errorResponse.errorCode == Int32(RPCError.Code.notFound.rawValue))
            }
        }
    }

    @Test(arguments: [
        "forge.network.v1.NetworkManager.CreateVNet", "forge.network.v1.VNet", "forge.network.v1.VNet.labels",
        "forge.network.v1.ExplainResponse.Party", "forge.network.v1.Direction", "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    ])
    func `knows where a symbol is declared`(symbol: String) {
        #expect(DescriptorIndex.shared.files(declaring: symbol) != nil)
    }

    @Test func `takes a damaged descriptor set for an empty one`() {
        #expect(
            DescriptorIndex(serialized: [0xff, 0xff, 0xff]).files(named: "forge/network/v1/service.proto")
                == nil)
    }

    @Test func `a watch ends with the time of its call, and none begins once the server stops`() async throws
    {
        try await RunningServer.with { running in
            try await withChannel(running.socketPath) { channel in
                let health = Grpc_Health_V1_Health.Client(wrapping: channel)
                var options = CallOptions.defaults
                options.timeout = .milliseconds(50)
                await #expect(throws: RPCError.self) {
                    try await health.watch(.init(), options: options) { response in
                        for try await _ in response.messages {}
                    }
                }
            }
        }
        let board = HealthBoard(services: [])
        board.close()
        var told = 0
        for await _ in board.changes(of: "") { told += 1 }
        #expect(told <= 1)
    }
}
