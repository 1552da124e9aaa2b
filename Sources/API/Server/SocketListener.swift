internal import GRPCNIOTransportHTTP2Posix
internal import NIOCore
internal import NIOPosix
internal import Sys

/// Serves the connections of a Unix socket that somebody else bound and listens on.
///
///     listening socket --accept--> thread --admits?--> event loop --> gRPC's pipeline
///
/// The peer is checked before the first byte of it is read. A thread of its own waits for connections, since
/// an event loop does not show the descriptor of what it accepts.
struct SocketListener: HTTP2ServerTransport.ListenerFactory {
    typealias Connection = HTTP2ServerTransport.ConnectionConfigurator.ConnectionChannel

    let executor: LoopExecutor
    /// Listening; owned once a channel is made.
    let socket: Int32
    let admits: @Sendable (Int32) async -> Bool

    var eventLoopGroup: any EventLoopGroup { executor.loop }

    func makeListeningChannel(
        listenerConfigurator: HTTP2ServerTransport.ListenerConfigurator,
        connectionConfigurator: HTTP2ServerTransport.ConnectionConfigurator
    ) async throws -> NIOAsyncChannel<Connection, Never> {
        // This pair carries no bytes: by its end each of the listening channel and the thread learns that the
        // other has ended.
        let (near, far) = try UnixSocket.pair()
        let (listener, gate) = try await ClientBootstrap(group: executor.loop).withConnectedSocket(near) {
            channel in
            listenerConfigurator.configure(channel: channel).flatMapThrowing {
                let gate = ConnectionGate(connectionConfigurator, listener: channel)
                try channel.pipeline.syncOperations.addHandler(gate)
                let listener = try NIOAsyncChannel<Connection, Never>(wrappingChannelSynchronously: channel)
                return (listener, NIOLoopBound(gate, eventLoop: channel.eventLoop))
            }
        }
        AcceptThread(socket: socket, end: far, executor: executor, admits: admits) { connection in
            let descriptor = connection.release()
            executor.loop.execute { gate.value.open(descriptor) }
        }.start()
        return listener
    }
}

/// Turns descriptors into channels that gRPC serves. Lives in the listening channel, on its event loop.
private final class ConnectionGate: ChannelInboundHandler {
    // gRPC's handler before this one watches channels go by, to close them when the server stops.
    typealias InboundIn = any Channel
    typealias InboundOut = SocketListener.Connection

    private let configurator: HTTP2ServerTransport.ConnectionConfigurator
    private let listener: any Channel
    private var configured: [ObjectIdentifier: SocketListener.Connection] = [:]

    init(_ configurator: HTTP2ServerTransport.ConnectionConfigurator, listener: any Channel) {
        self.configurator = configurator
        self.listener = listener
    }

    /// Takes a connection over.
    func open(_ descriptor: Int32) {
        let bound = NIOLoopBound(self, eventLoop: listener.eventLoop)
        let (listener, configurator) = (listener, configurator)
        ClientBootstrap(group: listener.eventLoop)
            .channelInitializer { channel in
                channel.closeFuture.whenComplete { _ in
                    bound.value.configured[ObjectIdentifier(channel)] = nil
                }
                return configurator.configure(channel: channel, tls: .none).map {
                    bound.value.configured[ObjectIdentifier(channel)] = $0
                }
            }
            .withConnectedSocket(descriptor)
            .whenSuccess { channel in
                listener.pipeline.fireChannelRead(channel)
                listener.pipeline.fireChannelReadComplete()
            }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let channel = unwrapInboundIn(data)
        guard let connection = configured.removeValue(forKey: ObjectIdentifier(channel)) else { return }
        context.fireChannelRead(wrapInboundOut(connection))
    }
}

/// Accepts connections until its channel ends, and gives on those that are admitted.
private struct AcceptThread: Sendable {
    /// Listening; owned.
    let socket: Int32
    /// Ends with the listening channel; owned.
    let end: Int32
    let executor: LoopExecutor
    let admits: @Sendable (Int32) async -> Bool
    let deliver: @Sendable (consuming Descriptor) -> Void

    func start() {
        let pool = NIOThreadPool(numberOfThreads: 1)
        pool.start()
        pool.submit { _ in
            run()
            pool.shutdownGracefully { _ in }
        }
    }

    private func run() {
        let socket = Descriptor(owning: socket)
        let end = Descriptor(owning: end)
        while let ready = try? waitReadable([socket.rawValue, end.rawValue]), !ready[1] {
            do {
                let connection = try socket.accept().release()
                Task(executorPreference: executor) {
                    let connection = Descriptor(owning: connection)
                    if await admits(connection.rawValue) { deliver(connection) }
                }
            } catch {
                // The peer is gone again, or there is no descriptor left: then others may give theirs back.
                _ = try? waitReadable([end.rawValue], milliseconds: 50)
            }
        }
    }
}
