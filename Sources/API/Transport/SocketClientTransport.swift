internal import GRPCCore
internal import Sys

/// gRPC's client on a Unix socket.
///
/// Connects when a call is made and there is no connection, so also after the server was started anew. Nothing
/// is tried twice: a call whose server does not answer fails at once, and `RPCError.isUnsent` says so.
final class SocketClientTransport: ClientTransport, @unchecked Sendable {
    typealias Bytes = [UInt8]

    /// Where a call has no limit of its own.
    private static let responseLimit = 4 << 20

    let loop: EventLoop
    private let path: String

    // The loop's own.
    private var connection: Connection?
    private var calls = 0
    private var isStopping = false
    private var stopped: CheckedContinuation<Void, Never>?

    init(loop: EventLoop, path: String) {
        self.loop = loop
        self.path = path
    }

    var retryThrottle: RetryThrottle? { nil }

    func config(forMethod descriptor: MethodDescriptor) -> MethodConfig? { nil }

    /// Returns after `beginGracefulShutdown`, when the calls under way have ended, or when the task is
    /// cancelled.
    func connect() async throws {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                loop.execute {
                    self.stopped = continuation
                    self.endIfDone()
                }
            }
        } onCancel: {
            loop.execute {
                self.isStopping = true
                self.calls = 0
                self.endIfDone()
            }
        }
    }

    func beginGracefulShutdown() {
        loop.execute {
            self.isStopping = true
            self.endIfDone()
        }
    }

    func withStream<Result: Sendable>(
        descriptor: MethodDescriptor, options: CallOptions,
        _ closure: @concurrent (RPCStream<Inbound, Outbound>, ClientContext) async throws -> Result
    ) async throws -> Result {
        let limit = options.maxResponseMessageBytes ?? Self.responseLimit
        let stream = try await loop.run { try self.begin(limit) }
        defer { loop.execute { self.end(stream) } }
        return try await closure(
            RPCStream(
                descriptor: descriptor, inbound: RPCAsyncSequence(wrapping: stream.parts(\.response)),
                outbound: RPCWriter.Closable(wrapping: RequestParts(stream: stream, method: descriptor))),
            ClientContext(descriptor: descriptor, remotePeer: "unix:\(path)", localPeer: "unix:"))
    }

    // MARK: On the loop

    private func begin(_ limit: Int) throws -> CallStream {
        guard !isStopping else {
            throw RPCError(code: .failedPrecondition, message: "the client is closed")
        }
        let open: Connection
        if let connection, !connection.isClosing { open = connection } else { open = try self.open() }
        calls += 1
        return CallStream(on: open, messageLimit: limit)
    }

    private func open() throws -> Connection {
        do {
            // Where as many wait as may, others are told so at once: the loop's thread waits for nobody.
            let made = try Connection(calling: try UnixSocket.connect(to: path, waits: false), loop: loop)
            connection = made
            return made
        } catch {
            let nobody: [Errno] = [.noEntry, .connectionRefused, .again]
            if let failure = error as? SystemError, nobody.contains(failure.errno) {
                throw RPCError.unsent("no fabric answers at \(path)")
            }
            throw RPCError.unsent("\(error)")
        }
    }

    private func end(_ stream: CallStream) {
        stream.connection?.reset(stream, .cancel)
        calls -= 1
        endIfDone()
    }

    private func endIfDone() {
        guard isStopping, calls <= 0 else { return }
        connection?.end()
        connection = nil
        stopped?.resume()
        stopped = nil
    }
}

/// What a client sends in a call.
private struct RequestParts: CallWriter {
    typealias Element = RPCRequestPart<[UInt8]>

    let stream: CallStream
    let method: MethodDescriptor

    func write(_ element: Element) async throws {
        switch element {
        case .metadata(let metadata):
            // RFC 9113, 8.3.1: there is no host to be the authority; servers use none of it.
            let fields = CallFields.request(method, authority: "localhost", metadata)
            try await stream.loop.run { [stream] in
                guard let connection = stream.connection, !connection.isClosing else {
                    throw RPCError.unsent("the connection to the fabric broke before it was used")
                }
                try connection.begin(stream, fields)
            }
        case .message(let message): try await stream.send(message)
        }
    }

    func finish() async { _ = try? await stream.loop.run { [stream] in stream.conclude(.end) } }

    func finish(throwing error: any Error) async {
        _ = try? await stream.loop.run { [stream] in
            stream.fail(error)
            stream.connection?.reset(stream, .cancel)
        }
    }
}
