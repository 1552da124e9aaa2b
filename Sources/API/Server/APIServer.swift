internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import Protos
package import Sys

/// The API on a Unix socket: the network manager's service, health and reflection.
///
/// Everything runs on one event loop; `FabricControl` is called there too, unless its isolation says
/// otherwise.
package final class APIServer: Sendable {
    /// Bytes of a request. What is larger breaks the call; what the model takes is far smaller, and its
    /// refusal worded.
    static let requestLimit = 16 << 20

    package let health: HealthBoard
    private let server: GRPCServer<HTTP2ServerTransport.Custom<SocketListener>>

    /// - Parameters:
    ///   - socket: bound and listening.
    ///   - admits: whether the peer of this connection may speak; the descriptor is only lent. Called for
    ///   each connection before anything is read from it.
    package init(
        control: any FabricControl, socket: consuming Descriptor,
        admits: @escaping @Sendable (Int32) async -> Bool
    ) {
        let listener = SocketListener(executor: .shared, socket: socket.release(), admits: admits)
        var config = HTTP2ServerTransport.Custom<SocketListener>.Config.defaults
        // An answer is sent when it is ready: waiting for others to send along costs 100 µs.
        config.connection.flushCoalescing = nil
        config.rpc.maxRequestPayloadSize = Self.requestLimit
        config.http2.maxConcurrentStreams = 128
        let names = [Forge_Network_V1_NetworkManager.descriptor.fullyQualifiedService]
        let health = HealthBoard(services: names)
        let reflection = ReflectionService(
            services: names + [
                Grpc_Health_V1_Health.descriptor.fullyQualifiedService,
                Grpc_Reflection_V1_ServerReflection.descriptor.fullyQualifiedService,
                ReflectionAlphaService.descriptor.fullyQualifiedService,
            ])
        self.health = health
        server = GRPCServer(
            transport: HTTP2ServerTransport.Custom(listenerFactory: listener, config: config),
            services: [
                NetworkManagerService(control: control), HealthService(board: health), reflection,
                ReflectionAlphaService(service: reflection),
            ])
    }

    /// Serves until `stop`, or until the task is cancelled.
    package func serve() async throws {
        try await withTaskExecutorPreference(LoopExecutor.shared) { try await server.serve() }
    }

    /// Takes no further calls; `serve` returns when those under way are answered.
    package func stop() {
        health.close()
        server.beginGracefulShutdown()
    }
}
