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
    /// Those from `firstPart` on have not been taken.
    private var parts: [Part] = []
    private var firstPart = 0
    private var end: End?
    private var reader: CheckedContinuation<Part?, any Error>?
    /// Bytes of messages that nobody has taken yet.
    private var untaken = 0

    private var output: [UInt8] = []
    private var sent = 0
    private(set) var conclusion = Conclusion.none
    private var writers: [Int: CheckedContinuation<Void, any Error>] = [:]
    private var lastWriter = 0
    /// Writers that gave up before they waited.
    private var givenUp: Set<Int> = []
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
        if !hasPart { consume(untaken) }
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
        let waiting = writers.values
        writers = [:]
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
        if loop.isCurrent, hasPart { return takeNext() }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                if loop.isCurrent { read(continuation) } else { loop.execute { self.read(continuation) } }
            }
        } onCancel: {
            loop.execute { self.fail(RPCError.givenUp) }
        }
    }

    private func read(_ continuation: CheckedContinuation<Part?, any Error>) {
        if hasPart {
            continuation.resume(returning: takeNext())
        } else if let end {
            resume(continuation, end)
        } else {
            reader = continuation
        }
    }

    private var hasPart: Bool { firstPart < parts.count }

    private func takeNext() -> Part {
        let part = parts[firstPart]
        firstPart += 1
        taken(part)
        if !hasPart {
            parts.removeAll(keepingCapacity: true)
            firstPart = 0
            // Of a message that is not complete.
            consume(untaken)
        }
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
        let writer = try await loop.run { try self.append(message) }
        if loop.isCurrent, output.count - sent <= Self.mostOutput { return }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                if loop.isCurrent {
                    drain(writer, continuation)
                } else {
                    loop.execute { self.drain(writer, continuation) }
                }
            }
        } onCancel: {
            loop.execute { self.giveUp(writer) }
        }
    }

    /// - Returns: the writer's number.
    private func append(_ message: [UInt8]) throws -> Int {
        guard let connection, case .none = conclusion else { throw RPCError.gone }
        if sent == output.count {
            output.removeAll(keepingCapacity: output.capacity <= Self.mostOutput)
            sent = 0
        } else if sent > Self.mostOutput {
            output.removeFirst(sent)
            sent = 0
        }
        MessageFrames.append(message, to: &output)
        connection.session.resume(number)
        connection.hasOutput()
        lastWriter += 1
        return lastWriter
    }

    private func drain(_ writer: Int, _ continuation: CheckedContinuation<Void, any Error>) {
        if givenUp.remove(writer) != nil {
            continuation.resume(throwing: RPCError.givenUp)
        } else if connection == nil {
            continuation.resume(throwing: RPCError.gone)
        } else if output.count - sent <= Self.mostOutput {
            continuation.resume()
        } else {
            writers[writer] = continuation
        }
    }

    private func giveUp(_ writer: Int) {
        if let waiting = writers.removeValue(forKey: writer) {
            waiting.resume(throwing: RPCError.givenUp)
        } else {
            givenUp.insert(writer)
        }
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
            let waiting = writers.values
            writers = [:]
            for writer in waiting { writer.resume() }
        }
        return count
    }

    var isDrained: Bool { sent == output.count }
}

extension RPCError {
    static let gone = RPCError(code: .unavailable, message: "the other side has gone")
    static let givenUp = RPCError(code: .cancelled, message: "the call was given up")

    private struct Unsent: Error {}

    static func unsent(_ message: String) -> RPCError {
        RPCError(code: .unavailable, message: message, cause: Unsent())
    }

    /// Nobody has seen the call: it may be made again, whatever it does.
    var isUnsent: Bool { cause is Unsent }

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
