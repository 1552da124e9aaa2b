internal import GRPCCore
internal import Sys

/// gRPC's server on a Unix socket that somebody else bound and listens on.
///
///     listening socket --accept--> admits? --> connection --> a task for each call
///
/// The peer is checked before the first byte of it is read.
final class SocketServerTransport: ServerTransport, @unchecked Sendable {
    typealias Bytes = [UInt8]
    typealias Handler = @concurrent @Sendable (RPCStream<Inbound, Outbound>, ServerContext) async -> Void

    let loop: EventLoop
    private let admits: @Sendable (Int32) async -> Bool
    private let requestLimit: Int

    // The loop's own.
    private var listening: Descriptor?
    private var watch: UInt64?
    private var handler: Handler?
    private var stopped: CheckedContinuation<Void, Never>?
    private var isStopping = false
    private var connections: [ObjectIdentifier: Connection] = [:]
    private var calls: [Int: Task<Void, Never>] = [:]
    private var lastCall = 0

    /// - Parameters:
    ///   - socket: bound and listening.
    ///   - requestLimit: bytes that a request may have.
    ///   - admits: whether the peer of this connection may speak; the descriptor is only lent.
    init(
        loop: EventLoop, socket: consuming Descriptor, requestLimit: Int,
        admits: @escaping @Sendable (Int32) async -> Bool
    ) {
        self.loop = loop
        self.requestLimit = requestLimit
        self.admits = admits
        listening = consume socket
    }

    func listen(
        streamHandler:
            @escaping @concurrent @Sendable (
                RPCStream<Inbound, Outbound>, ServerContext
            ) async -> Void
    ) async throws {
        try await loop.run { try self.begin(streamHandler) }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                loop.execute {
                    self.stopped = continuation
                    self.endIfDone()
                }
            }
        } onCancel: {
            loop.execute { self.abort() }
        }
    }

    func beginGracefulShutdown() { loop.execute { self.stop() } }

    // MARK: On the loop

    private func begin(_ handler: @escaping Handler) throws {
        self.handler = handler
        guard !isStopping else { return }
        try listening?.setNonblocking()
        try awaitConnections()
    }

    private func awaitConnections() throws(SystemError) {
        guard let number = listening?.rawValue else { return }
        watch = try loop.watch(number, .read) { [weak self] _ in self?.accept() }
    }

    private func pause() {
        if let watch, let number = listening?.rawValue { loop.ignore(watch, of: number) }
        watch = nil
    }

    private func stop() {
        guard !isStopping else { return }
        isStopping = true
        pause()
        listening = nil
        for connection in connections.values { connection.leave() }
        endIfDone()
    }

    private func abort() {
        stop()
        for connection in connections.values { connection.end() }
        for call in calls.values { call.cancel() }
    }

    private func endIfDone() {
        guard isStopping, connections.isEmpty, calls.isEmpty else { return }
        stopped?.resume()
        stopped = nil
    }

    private func accept() {
        do throws(SystemError) {
            guard let accepted = try listening?.accept().release() else { return }
            Task(executorPreference: loop) {
                let connection = Descriptor(owning: accepted)
                guard await self.admits(accepted) else { return }
                let number = connection.release()
                self.loop.execute { self.open(Descriptor(owning: number)) }
            }
        } catch {
            if error.errno == .again { return }
            // The peer is gone again, or there is no descriptor left: then others may give theirs back.
            pause()
            resumeLater()
        }
    }

    private func resumeLater() {
        Task(executorPreference: loop) {
            try? await Task.sleep(for: .milliseconds(50))
            self.loop.execute {
                guard !self.isStopping, self.watch == nil else { return }
                do throws(SystemError) { try self.awaitConnections() } catch { self.resumeLater() }
            }
        }
    }

    private func open(_ socket: consuming Descriptor) {
        guard !isStopping else { return }
        do {
            let connection = try Connection(serving: socket, loop: loop, requestLimit: requestLimit) {
                [weak self] in self?.serve($0, $1)
            }
            let key = ObjectIdentifier(connection)
            connections[key] = connection
            connection.onEnd = { [weak self] in
                self?.connections[key] = nil
                self?.endIfDone()
            }
        } catch {
            // No memory to watch it: it is closed.
        }
    }

    private func serve(_ stream: CallStream, _ method: MethodDescriptor) {
        guard let handler else { return }
        lastCall += 1
        let key = lastCall
        calls[key] = Task(executorPreference: loop) { [loop] in
            await withServerContextRPCCancellationHandle { handle in
                loop.execute { stream.whenBroken { handle.cancel() } }
                await handler(
                    RPCStream(
                        descriptor: method, inbound: RPCAsyncSequence(wrapping: stream.parts(\.request)),
                        outbound: RPCWriter.Closable(wrapping: Answers(stream: stream))),
                    ServerContext(
                        descriptor: method, remotePeer: "unix:", localPeer: "unix:", cancellation: handle))
            }
            loop.execute {
                self.calls[key] = nil
                self.endIfDone()
            }
        }
    }
}

/// What a server sends in a call.
private struct Answers: CallWriter {
    typealias Element = RPCResponsePart<[UInt8]>

    let stream: CallStream

    func write(_ element: Element) async throws {
        switch element {
        case .metadata(let metadata):
            try await stream.loop.run { [stream] in
                guard let connection = stream.connection else { throw RPCError.gone }
                connection.respond(stream, CallFields.answer(metadata), ends: false)
            }
        case .message(let message): try await stream.send(message)
        case .status(let status, let metadata):
            try await stream.loop.run { [stream] in
                guard let connection = stream.connection else { throw RPCError.gone }
                if stream.hasBegun {
                    stream.conclude(.trailers(CallFields.trailers(status, metadata)))
                } else {
                    connection.respond(stream, CallFields.refusal(status, metadata), ends: true)
                }
            }
        }
    }

    /// The status came before it.
    func finish() async {}

    func finish(throwing error: any Error) async {
        _ = try? await stream.loop.run { [stream] in stream.connection?.reset(stream, .internalError) }
    }
}
