internal import GRPCCore
internal import Protos
internal import SwiftProtobuf
internal import Synchronization

/// Which services can be used, and who waits to hear of a change.
package final class HealthBoard: Sendable {
    private typealias Listener = AsyncStream<Bool?>.Continuation

    private struct State {
        /// By the service's full name; "" is the server as a whole.
        var serving: [String: Bool]
        var listeners: [Int: (service: String, listener: Listener)] = [:]
        var nextListener = 0
        var isClosed = false
    }

    private let state: Mutex<State>

    init(services: [String]) {
        state = Mutex(State(serving: Dictionary(uniqueKeysWithValues: ([""] + services).map { ($0, true) })))
    }

    /// Marks every service, and the server as a whole.
    package func setServing(_ serving: Bool) {
        state.withLock { state in
            for service in state.serving.keys { state.serving[service] = serving }
            for (service, listener) in state.listeners.values { listener.yield(state.serving[service]) }
        }
    }

    /// Ends every watch, and those that begin later: a server that stops waits for its calls.
    func close() {
        let listeners = state.withLock { state in
            state.isClosed = true
            return Array(state.listeners.values)
        }
        for (_, listener) in listeners { listener.finish() }
    }

    /// nil for a service that is not known.
    func isServing(_ service: String) -> Bool? { state.withLock { $0.serving[service] } }

    var all: [String: Bool] { state.withLock { $0.serving } }

    /// The value now, then each one that it is set to; only the newest is kept for a slow reader.
    func changes(of service: String) -> AsyncStream<Bool?> {
        let (stream, listener) = AsyncStream.makeStream(of: Bool?.self, bufferingPolicy: .bufferingNewest(1))
        let (number, isClosed) = state.withLock { state in
            state.nextListener += 1
            state.listeners[state.nextListener] = (service, listener)
            listener.yield(state.serving[service])
            return (state.nextListener, state.isClosed)
        }
        listener.onTermination = { [weak self] _ in
            _ = self?.state.withLock { $0.listeners.removeValue(forKey: number) }
        }
        if isClosed { listener.finish() }
        return stream
    }
}

/// The standard service `grpc.health.v1.Health`.
struct HealthService: Grpc_Health_V1_Health.SimpleServiceProtocol {
    let board: HealthBoard

    func check(
        request: Grpc_Health_V1_HealthCheckRequest, context: ServerContext
    ) async throws -> Grpc_Health_V1_HealthCheckResponse {
        guard let serving = board.isServing(request.service) else {
            throw RPCError(code: .notFound, message: "no such service")
        }
        return answer(serving)
    }

    func list(
        request: Grpc_Health_V1_HealthListRequest, context: ServerContext
    ) async throws -> Grpc_Health_V1_HealthListResponse {
        .with { $0.statuses = board.all.mapValues { answer($0) } }
    }

    func watch(
        request: Grpc_Health_V1_HealthCheckRequest, response: RPCWriter<Grpc_Health_V1_HealthCheckResponse>,
        context: ServerContext
    ) async throws {
        try await whileCalled {
            var last: Grpc_Health_V1_HealthCheckResponse?
            for await serving in board.changes(of: request.service) {
                let answer = answer(serving)
                if answer != last { try await response.write(answer) }
                last = answer
            }
        }
    }

    private func answer(_ serving: Bool?) -> Grpc_Health_V1_HealthCheckResponse {
        .with {
            switch serving {
            case true?: $0.status = .serving
            case false?: $0.status = .notServing
            case nil: $0.status = .serviceUnknown
            }
        }
    }
}
