internal import GRPCCore
internal import NIOCore
internal import SwiftProtobuf
internal import Synchronization

/// A connection to a fabric's API.
///
/// Connects when it is first used, and again when the server was started anew. Calls may be made
/// concurrently. Call `close` when done: the connection lives until then.
public final class ForgeClient: Sendable {
    private let socketPath: String
    private let patience: Duration
    private let loop: any EventLoop
    private let dialer: NIOLoopBoundBox<CallDialer?>
    private let lastCall = Atomic<UInt64>(0)

    /// - Parameters:
    ///   - socketPath: the API's Unix socket, such as `/run/user/1000/forge/forge.sock`.
    ///   - patience: how long a call tries to connect when nobody answers: long enough for a server that is
    ///   being started.
    public init(socketPath: String, patience: Duration = .seconds(2)) throws(ForgeError) {
        // unix(7): sun_path has 108 bytes, the last of them 0.
        guard socketPath.utf8.count < 108 else {
            throw ForgeError(.invalidArgument, "socket \"\(socketPath)\": the path has more than 107 bytes")
        }
        self.socketPath = socketPath
        self.patience = patience
        loop = LoopExecutor.shared.loop
        dialer = .makeEmptyBox(valueType: CallDialer.self, eventLoop: loop)
    }

    /// Ends the connection once the calls under way are answered.
    public func close() async {
        let ended = loop.flatSubmit { [loop, dialer] in
            dialer.value?.close() ?? loop.makeSucceededVoidFuture()
        }
        try? await ended.get()
    }

    /// Makes a call; again as long as it is certain that the server has not begun on it, up to `patience`.
    /// - Parameter repeats: also where the connection broke and nobody knows: for what may be done twice.
    func call<Request: Message, Answer: Message>(
        _ method: MethodDescriptor, _ request: Request, repeats: Bool = true
    ) async throws(ForgeError) -> Answer {
        let message: [UInt8]
        do { message = try request.serializedBytes() } catch {
            throw ForgeError(.invalidArgument, "\(error)")
        }
        let head = CallSession.head(path: "/" + method.fullyQualifiedMethod)
        let clock = ContinuousClock()
        let limit = clock.now + patience
        while true {
            let outcome = await once(head, message)
            if Task.isCancelled { throw ForgeError(.failed, "cancelled") }
            switch outcome {
            case .answer(let body):
                do { return try Answer(serializedBytes: Array(body.readableBytesView)) } catch {
                    throw ForgeError(.failed, "the answer makes no sense: \(error)")
                }
            case .status(let code, let message): throw ForgeError(status: code, message)
            case .broken where !repeats || clock.now >= limit:
                throw ForgeError(.unavailable, "the connection to the fabric broke before it answered")
            case .refused where clock.now >= limit:
                throw ForgeError(.unavailable, "no fabric answers at \(socketPath)")
            case .broken, .refused:
                try? await Task.sleep(for: .milliseconds(5))
            }
        }
    }

    private func once(_ head: [UInt8], _ message: [UInt8]) async -> CallSession.Outcome {
        let id = lastCall.add(1, ordering: .relaxed).newValue
        defer {
            // It may have been cancelled when it was done already.
            if Task.isCancelled { loop.execute { [dialer] in dialer.value?.forget(id) } }
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { waiter in
                let call = PendingCall(id: id, head: head, message: message, waiter: waiter)
                loop.execute { [loop, dialer, socketPath] in
                    if dialer.value == nil { dialer.value = CallDialer(socketPath: socketPath, loop: loop) }
                    dialer.value?.make(call)
                }
            }
        } onCancel: {
            loop.execute { [dialer] in dialer.value?.cancel(id) }
        }
    }
}
