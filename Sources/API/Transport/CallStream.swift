internal import GRPCCore

/// One call on a connection: what has come of it, and what is to be sent. Belongs to the loop.
///
///     connection --receive--> parts --next--> gRPC
///     gRPC --send--> output --supply--> connection
final class CallStream: @unchecked Sendable {
    /// What comes, in either direction.
    enum Part: Sendable {
        case metadata(Metadata)
        case message([UInt8])
        case status(Status, Metadata)
    }

    private enum End {
        case complete
        case failed(any Error)
    }

    /// What follows the last byte of the output.
    enum Conclusion {
        case none
        case end
        case trailers(HeaderFields)
    }

    /// Bytes that may wait to be sent before a writer waits.
    private static let mostOutput = 1 << 16

    let loop: EventLoop
    /// Nil once the stream is gone.
    private(set) weak var connection: Connection?
    /// The connection's number for it; 0 before it has begun.
    var number: Int32 = 0
    private var isBroken = false
    private var onBreak: (() -> Void)?

    private var frames: MessageFrames
    private var parts: [Part] = []
    private var end: End?
    private var reader: CheckedContinuation<Part?, any Error>?
    /// Bytes of messages that nobody has taken yet.
    private var untaken = 0

    private var output: [UInt8] = []
    private var sent = 0
    private(set) var conclusion = Conclusion.none
    private var writers: [CheckedContinuation<Void, any Error>] = []
    /// The header block that begins our side has gone out.
    var hasBegun = false
    /// The header block that begins the other side has come.
    var isAnswered = false

    init(on connection: Connection, messageLimit: Int) {
        self.connection = connection
        loop = connection.loop
        frames = MessageFrames(limit: messageLimit)
    }

    // MARK: What comes

    func receive(_ part: Part) {
        guard end == nil else { return }
        if let reader {
            self.reader = nil
            taken(part)
            reader.resume(returning: part)
        } else {
            parts.append(part)
        }
    }

    func receive(data: UnsafeRawBufferPointer) {
        guard end == nil else {
            connection?.session.consume(number, data.count)
            return
        }
        untaken += data.count
        do throws(MessageFrames.Problem) {
            try unsafe frames.take(data) { receive(.message($0)) }
        } catch {
            fail(RPCError(error, limit: frames.limit))
        }
        // A message that is not complete must be able to become so.
        if parts.isEmpty { consume(untaken) }
    }

    /// The other side has said all.
    func finish() {
        if frames.isWithinMessage {
            fail(RPCError(code: .internalError, message: "a message ends before its length"))
        } else {
            conclude(.complete)
        }
    }

    /// What has come before can still be read.
    func fail(_ error: any Error) { conclude(.failed(error)) }

    /// The stream is no more. What was received whole can still be read.
    func close(_ error: RPCError?) {
        connection = nil
        isBroken = end == nil || error != nil
        if let error { fail(error) } else { conclude(.complete) }
        let waiting = writers
        writers = []
        for writer in waiting { writer.resume(throwing: error ?? RPCError.gone) }
        if isBroken { onBreak?() }
        onBreak = nil
    }

    /// Does something if the stream breaks before its end, or has broken already: its caller has gone.
    func whenBroken(_ action: @escaping () -> Void) {
        if isBroken { action() } else { onBreak = action }
    }

    private func conclude(_ how: End) {
        guard end == nil else { return }
        end = how
        guard let reader else { return }
        self.reader = nil
        resume(reader, how)
    }

    private func resume(_ reader: CheckedContinuation<Part?, any Error>, _ end: End) {
        switch end {
        case .complete: reader.resume(returning: nil)
        case .failed(let error): reader.resume(throwing: error)
        }
    }

    /// The next part; nil after the last.
    func next() async throws -> Part? {
        if loop.isCurrent, !parts.isEmpty { return takeNext() }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                if loop.isCurrent { read(continuation) } else { loop.execute { self.read(continuation) } }
            }
        } onCancel: {
            loop.execute { self.fail(CancellationError()) }
        }
    }

    private func read(_ continuation: CheckedContinuation<Part?, any Error>) {
        if !parts.isEmpty {
            continuation.resume(returning: takeNext())
        } else if let end {
            resume(continuation, end)
        } else {
            reader = continuation
        }
    }

    private func takeNext() -> Part {
        let part = parts.removeFirst()
        taken(part)
        return part
    }

    private func taken(_ part: Part) {
        if case .message(let message) = part { consume(message.count + 5) }
    }

    private func consume(_ count: Int) {
        let count = min(count, untaken)
        guard count > 0 else { return }
        untaken -= count
        connection?.session.consume(number, count)
        connection?.hasOutput()
    }

    // MARK: What goes

    /// Sends a message once those before it are on their way, and waits where too much is.
    func send(_ message: [UInt8]) async throws {
        try await loop.run { try self.append(message) }
        if loop.isCurrent, output.count - sent <= Self.mostOutput { return }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                if loop.isCurrent { drain(continuation) } else { loop.execute { self.drain(continuation) } }
            }
        } onCancel: {
            loop.execute { self.giveUpWriting() }
        }
    }

    private func append(_ message: [UInt8]) throws {
        guard let connection, case .none = conclusion else { throw RPCError.gone }
        if sent == output.count {
            output.removeAll(keepingCapacity: output.capacity <= Self.mostOutput)
            sent = 0
        }
        MessageFrames.append(message, to: &output)
        connection.session.resume(number)
        connection.hasOutput()
    }

    private func drain(_ continuation: CheckedContinuation<Void, any Error>) {
        if connection == nil {
            continuation.resume(throwing: RPCError.gone)
        } else if output.count - sent <= Self.mostOutput {
            continuation.resume()
        } else {
            writers.append(continuation)
        }
    }

    private func giveUpWriting() {
        let waiting = writers
        writers = []
        for writer in waiting { writer.resume(throwing: CancellationError()) }
    }

    /// Ends our side after what is to be sent.
    func conclude(_ conclusion: Conclusion) {
        guard let connection, case .none = self.conclusion else { return }
        self.conclusion = conclusion
        connection.session.resume(number)
        connection.hasOutput()
    }

    /// Puts the next bytes into `room`.
    func supply(_ room: UnsafeMutableRawBufferPointer) -> Int {
        let count = min(room.count, output.count - sent)
        unsafe output.withUnsafeBytes { all in
            unsafe room.copyMemory(from: UnsafeRawBufferPointer(rebasing: all[sent..<(sent + count)]))
        }
        sent += count
        if output.count - sent <= Self.mostOutput, !writers.isEmpty {
            let waiting = writers
            writers = []
            for writer in waiting { writer.resume() }
        }
        return count
    }

    var isDrained: Bool { sent == output.count }
}

extension RPCError {
    static let gone = RPCError(code: .unavailable, message: "the other side has gone")

    init(_ problem: MessageFrames.Problem, limit: Int) {
        switch problem {
        case .compressed:
            self.init(code: .unimplemented, message: "compressed messages are not taken")
        case .tooLarge(let count):
            self.init(
                code: .resourceExhausted, message: "a message of \(count) bytes is larger than \(limit)")
        }
    }
}
