import Foundation
import Sys

@testable import API

/// A server on a socket in a directory of its own, for the time of one test.
struct RunningServer {
    let fabric: MemoryFabric
    let server: APIServer
    let socketPath: String

    @discardableResult
    static func with<Result>(
        fabric: MemoryFabric = MemoryFabric(),
        admits: @escaping @Sendable (Int32) async -> Bool = { _ in true },
        _ test: (RunningServer) async throws -> Result
    ) async throws -> Result {
        let directory = NSTemporaryDirectory() + "forge-api-\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let path = directory + "/s"
        let server = try APIServer(control: fabric, socket: try UnixSocket.listen(at: path), admits: admits)
        async let served: Void = server.serve()
        let result: Result
        do {
            result = try await test(RunningServer(fabric: fabric, server: server, socketPath: path))
        } catch {
            server.stop()
            try await served
            throw error
        }
        server.stop()
        try await served
        return result
    }

    /// A client for the time of `body`.
    @discardableResult
    func client<Result>(patience: Duration = .seconds(2), _ body: (ForgeClient) async throws -> Result)
        async throws -> Result
    {
        let client = try ForgeClient(socketPath: socketPath, patience: patience)
        do {
            let result = try await body(client)
            await client.close()
            return result
        } catch {
            await client.close()
            throw error
        }
    }
}
