internal import GRPCCore
internal import Protos
package import Sys

/// The API on a Unix socket: the network manager's service, health and reflection.
///
/// Everything runs on the event loop; `FabricControl` is called there too, unless its isolation says
/// otherwise.
package final class APIServer: Sendable {
    /// Bytes of a request. What is larger is refused; what the model takes is far smaller, and its
    /// refusal worded.
    static let requestLimit = 16 << 20

    package let health: HealthBoard
    private let server: GRPCServer<SocketServerTransport>
    private let loop: EventLoop

    /// - Parameters:
    ///   - socket: bound and listening.
    ///   - admits: whether the peer of this connection may speak; the descriptor is only lent. Called for
    ///   each connection before anything is read from it.
    /// - Throws: `SystemError` where there are no descriptors or no threads left.
    package init(
        control: any FabricControl, socket: consuming Descriptor,
        admits: @escaping @Sendable (Int32) async -> Bool
    ) throws(SystemError) {
        loop = try EventLoop.shared
        let transport = SocketServerTransport(
            loop: loop, socket: socket, requestLimit: Self.requestLimit, admits: admits)
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
            transport: transport,
            services: [
                NetworkManagerService(control: control), HealthService(board: health), reflection,
                ReflectionAlphaService(service: reflection),
            ])
    }

    /// Serves until `stop`, or until the task is cancelled.
    package func serve() async throws {
        try await withTaskExecutorPreference(loop) { try await server.serve() }
    }

    /// Takes no further calls; `serve` returns when those under way are answered.
    package func stop() {
        health.close()
        server.beginGracefulShutdown()
    }
}
