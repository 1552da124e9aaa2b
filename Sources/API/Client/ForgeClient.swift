internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import Protos

/// A connection to a fabric's API.
///
/// Connects when it is first used, and again when the server was started anew. Calls may be made
/// concurrently. Call `close` when done: the connection lives until then.
public final class ForgeClient: Sendable {
    typealias Transport = HTTP2ClientTransport.Posix
    typealias Stub = Forge_Network_V1_NetworkManager.Client<Transport>

    private let socketPath: String
    private let patience: Duration
    private let client: GRPCClient<Transport>
    private let connections: Task<Void, Never>

    /// - Parameters:
    ///   - socketPath: the API's Unix socket, such as `/run/user/1000/forge/forge.sock`.
    ///   - patience: how long a call tries to connect when nobody answers: long enough for a server that is
    ///   being started.
    public init(socketPath: String, patience: Duration = .seconds(2)) throws(ForgeError) {
        var config = Transport.Config.defaults
        config.backoff = .init(
            initial: .milliseconds(5), max: .milliseconds(50), multiplier: 1.6, jitter: 0.1)
        config.connection.flushCoalescing = nil
        // The path would be percent-encoded otherwise; servers use none of it.
        config.http2.authority = "localhost"
        do {
            let transport = try Transport(
                target: .unixDomainSocket(path: socketPath), transportSecurity: .plaintext, config: config,
                eventLoopGroup: LoopExecutor.shared.loop)
            client = GRPCClient(transport: transport)
        } catch {
            throw ForgeError(error)
        }
        self.socketPath = socketPath
        self.patience = patience
        connections = Task(executorPreference: LoopExecutor.shared) { [client] in
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
        let clock = ContinuousClock()
        let limit = clock.now + patience
        while true {
            do throws(ForgeError) { return try await once(call) } catch {
                guard error.code == .unavailable, clock.now < limit, !Task.isCancelled else { throw error }
            }
            try? await Task.sleep(for: .milliseconds(5))
        }
    }

    /// Makes a call that may not be made twice, since it would find its own work done: once somebody answers.
    func unrepeatable<Answer: Sendable>(
        _ call: @Sendable (Stub, CallOptions) async throws -> Answer
    ) async throws(ForgeError) -> Answer {
        _ = try await repeatable { stub, options in try await stub.getStatus(.init(), options: options) }
        return try await once(call)
    }

    private func once<Answer: Sendable>(
        _ call: @Sendable (Stub, CallOptions) async throws -> Answer
    ) async throws(ForgeError) -> Answer {
        var options = CallOptions.defaults
        options.maxResponseMessageBytes = 64 << 20
        do {
            return try await withTaskExecutorPreference(LoopExecutor.shared) {
                try await call(Stub(wrapping: client), options)
            }
        } catch let error as RPCError where error.code == .unavailable {
            // A stream that was opened had somebody at its other end.
            let broke = error.message.hasPrefix("Stream unexpectedly closed")
            throw ForgeError(
                .unavailable,
                broke
                    ? "the connection to the fabric broke before it answered"
                    : "no fabric answers at \(socketPath)")
        } catch {
            throw ForgeError(error)
        }
    }
}
