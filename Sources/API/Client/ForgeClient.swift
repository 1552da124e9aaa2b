internal import GRPCCore
internal import Protos
internal import Sys

/// A connection to a fabric's API.
///
/// Connects when it is first used, and again when the server was started anew. Calls may be made
/// concurrently. Call `close` when done: the connection lives until then.
public final class ForgeClient: Sendable {
    typealias Stub = Forge_Network_V1_NetworkManager.Client<SocketClientTransport>

    private let loop: EventLoop
    private let patience: Duration
    private let client: GRPCClient<SocketClientTransport>
    private let connections: Task<Void, Never>

    /// - Parameters:
    ///   - socketPath: the API's Unix socket, such as `/run/user/1000/forge/forge.sock`.
    ///   - patience: how long a call tries to connect when nobody answers: long enough for a server that is
    ///   being started.
    /// - Throws: `.failed` where this process has no descriptors or no threads left.
    public init(socketPath: String, patience: Duration = .seconds(2)) throws(ForgeError) {
        do throws(SystemError) { loop = try EventLoop.shared } catch { throw ForgeError(error) }
        client = GRPCClient(transport: SocketClientTransport(loop: loop, path: socketPath))
        self.patience = patience
        connections = Task(executorPreference: loop) { [client] in
            // It ends by `close` alone; what breaks before that is told to the calls.
            try? await client.runConnections()
        }
    }

    /// Ends the connection once the calls under way are answered. No further call can be made.
    public func close() async {
        client.beginGracefulShutdown()
        await connections.value
    }

    /// Makes a call that may be made twice: again as long as nobody answers, up to `patience`.
    func repeatable<Answer: Sendable>(
        _ call: @Sendable (Stub, CallOptions) async throws -> Answer
    ) async throws(ForgeError) -> Answer {
        try await patiently(call) { $0.code == .unavailable }
    }

    /// Makes a call that may not be made twice, since it would find its own work done: again as long as nobody
    /// has seen it.
    func unrepeatable<Answer: Sendable>(
        _ call: @Sendable (Stub, CallOptions) async throws -> Answer
    ) async throws(ForgeError) -> Answer {
        try await patiently(call) { $0.isUnsent }
    }

    private func patiently<Answer: Sendable>(
        _ call: @Sendable (Stub, CallOptions) async throws -> Answer, _ mayRepeat: (RPCError) -> Bool
    ) async throws(ForgeError) -> Answer {
        let clock = ContinuousClock()
        let limit = clock.now + patience
        var options = CallOptions.defaults
        options.maxResponseMessageBytes = 64 << 20
        while true {
            do {
                return try await withTaskExecutorPreference(loop) {
                    try await call(Stub(wrapping: client), options)
                }
            } catch {
                guard let failure = error as? RPCError, mayRepeat(failure), clock.now < limit,
                    !Task.isCancelled
                else { throw ForgeError(error) }
            }
            try? await Task.sleep(for: .milliseconds(5))
        }
    }
}
