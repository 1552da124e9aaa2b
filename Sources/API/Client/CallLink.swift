internal import NIOCore
internal import NIOPosix

/// One call, and who waits for it.
struct PendingCall {
    let id: UInt64
    let head: [UInt8]
    let message: [UInt8]
    let waiter: CheckedContinuation<CallSession.Outcome, Never>
}

/// Makes calls over one connection, which it opens when there is a call and none is open. Lives on an event loop.
final class CallDialer {
    private let socketPath: String
    private let loop: any EventLoop
    private var link: CallLink?
    private var isConnecting = false
    /// Made while there is no connection yet.
    private var waiting: [PendingCall] = []
    /// Cancelled before they came here.
    private var forgotten: Set<UInt64> = []

    init(socketPath: String, loop: any EventLoop) {
        self.socketPath = socketPath
        self.loop = loop
    }

    func make(_ call: PendingCall) {
        if forgotten.remove(call.id) != nil {
            call.waiter.resume(returning: .refused)
        } else if link?.make(call) != true {
            waiting.append(call)
            connect()
        }
    }

    func cancel(_ id: UInt64) {
        if link?.cancel(id) == true { return }
        if let index = waiting.firstIndex(where: { $0.id == id }) {
            waiting.remove(at: index).waiter.resume(returning: .refused)
        } else {
            forgotten.insert(id)
        }
    }

    /// A call that is done needs no remembering.
    func forget(_ id: UInt64) { forgotten.remove(id) }

    /// Closes the connection when the calls under way are done.
    func close() -> EventLoopFuture<Void> { link?.end() ?? loop.makeSucceededVoidFuture() }

    private func connect() {
        guard !isConnecting else { return }
        isConnecting = true
        let bound = NIOLoopBound(self, eventLoop: loop)
        ClientBootstrap(group: loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(CallLink(channel))
                }
            }
            .connect(unixDomainSocketPath: socketPath)
            .flatMapThrowing { channel in
                NIOLoopBound(
                    try channel.pipeline.syncOperations.handler(type: CallLink.self),
                    eventLoop: channel.eventLoop)
            }
            .whenComplete { bound.value.connected($0.map(\.value)) }
    }

    private func connected(_ result: Result<CallLink, any Error>) {
        isConnecting = false
        let calls = waiting
        waiting = []
        link = try? result.get()
        for call in calls where link?.make(call) != true { call.waiter.resume(returning: .refused) }
    }
}

/// A connection to the server: carries bytes between the socket and a `CallSession`.
final class CallLink: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let channel: any Channel
    private var session = CallSession()
    private var waiters: [UInt64: CheckedContinuation<CallSession.Outcome, Never>] = [:]
    private var isReading = false

    init(_ channel: any Channel) { self.channel = channel }

    /// - Returns: false if the connection takes no calls any more.
    func make(_ call: PendingCall) -> Bool {
        guard session.start(call.id, head: call.head, message: call.message) else { return false }
        waiters[call.id] = call.waiter
        settle()
        return true
    }

    /// - Returns: false if the call is not one of this connection.
    func cancel(_ id: UInt64) -> Bool {
        guard waiters[id] != nil else { return false }
        session.cancel(id)
        settle()
        return true
    }

    func end() -> EventLoopFuture<Void> {
        session.end()
        settle()
        return channel.closeFuture
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        do throws(CallFault) {
            try session.receive(unwrapInboundIn(data))
        } catch {
            session.connectionEnded()
        }
        settle()
    }

    func channelInactive(context: ChannelHandlerContext) {
        session.connectionEnded()
        settle()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    /// Sends what is to be sent, and tells what is done.
    private func settle() {
        if session.output.readableBytes > 0 {
            let output = session.output
            session.output = ByteBuffer()
            channel.writeAndFlush(output, promise: nil)
        }
        let finished = session.finished
        session.finished = []
        for (id, outcome) in finished { waiters.removeValue(forKey: id)?.resume(returning: outcome) }
        if session.isEnding, session.isIdle { channel.close(promise: nil) }
    }
}
