internal import CHTTP2
internal import CLinux
internal import GRPCCore
internal import Sys

/// A socket, its HTTP/2 session and its calls. Belongs to the loop, which keeps it until it has ended.
final class Connection: @unchecked Sendable {
    /// What a server does with a call.
    typealias Serve = (CallStream, MethodDescriptor) -> Void

    /// Bytes and fields of a header block; more resets the stream.
    private static let mostFieldBytes = 16 << 10
    private static let mostFields = 100
    /// Bytes that are taken out of the session ahead of the socket.
    private static let mostOutput = 1 << 18
    private static let inputSize = 1 << 16

    let loop: EventLoop
    /// Nil for a client.
    private let serve: Serve?
    /// Bytes that a message to a server may have.
    private let requestLimit: Int
    private let socket: Descriptor
    let session: HTTP2Session
    private var watch: UInt64 = 0
    private var streams: [Int32: CallStream] = [:]
    private var block: HeaderFields = []
    private var blockBytes = 0
    private var output: [UInt8] = []
    private var sent = 0
    private var willSettle = false
    private var waitsForRoom = false
    /// The socket is there.
    private(set) var isOpen = true
    /// No new calls: the other side takes none, or we do not.
    private(set) var isClosing = false
    /// Called once, when the connection has ended.
    var onEnd: (() -> Void)?

    /// A server's end.
    init(
        serving socket: consuming Descriptor, loop: EventLoop, requestLimit: Int, _ serve: @escaping Serve
    ) throws {
        self.loop = loop
        self.serve = serve
        self.requestLimit = requestLimit
        self.socket = socket
        session = try HTTP2Session(.server)
        try begin()
    }

    /// A client's end.
    init(calling socket: consuming Descriptor, loop: EventLoop) throws {
        self.loop = loop
        serve = nil
        requestLimit = 0
        self.socket = socket
        session = try HTTP2Session(.client)
        try begin()
    }

    private func begin() throws {
        session.report(to: self)
        watch = try loop.watch(socket.rawValue, .read) { self.isReady($0) }
        hasOutput()
    }

    // MARK: Calls

    /// Begins a client's call. Its header fields go out with what follows them.
    func begin(_ stream: CallStream, _ fields: HeaderFields) throws {
        stream.number = try session.request(fields)
        stream.hasBegun = true
        streams[stream.number] = stream
        hasOutput()
    }

    /// Begins a server's answer, or makes all of it.
    func respond(_ stream: CallStream, _ fields: HeaderFields, ends: Bool) {
        stream.hasBegun = true
        // Fails without memory alone, or when the stream is gone.
        do { try session.respond(stream.number, fields, ends: ends) } catch {
            session.reset(stream.number, .internalError)
        }
        hasOutput()
    }

    func reset(_ stream: CallStream, _ reason: HTTP2Session.ResetReason) {
        guard streams[stream.number] === stream else { return }
        session.reset(stream.number, reason)
        hasOutput()
    }

    /// Takes no new calls, and ends when those under way have.
    func leave() {
        guard isOpen, !isClosing else { return }
        isClosing = true
        session.leave()
        hasOutput()
    }

    // MARK: The session's news

    /// - Returns: whether the block may go on.
    func received(field name: String, _ value: String, stream: Int32) -> Bool {
        blockBytes += name.utf8.count + value.utf8.count
        guard blockBytes <= Self.mostFieldBytes, block.count < Self.mostFields else {
            forgetBlock()
            return false
        }
        block.append((name, value))
        return true
    }

    private func forgetBlock() {
        block = []
        blockBytes = 0
    }

    func receivedFields(stream number: Int32, ends: Bool) {
        let fields = block
        forgetBlock()
        if serve == nil {
            if let stream = streams[number] { receivedAnswer(fields, stream, ends: ends) }
        } else if let stream = streams[number] {
            // A client has nothing to say at its end.
            if ends { stream.finish() } else { session.reset(number, .protocolError) }
        } else {
            receivedRequest(fields, number, ends: ends)
        }
        hasOutput()
    }

    private func receivedRequest(_ fields: HeaderFields, _ number: Int32, ends: Bool) {
        let stream = CallStream(on: self, messageLimit: requestLimit)
        stream.number = number
        streams[number] = stream
        switch CallFields.request(fields) {
        case .refused(let answer): respond(stream, answer, ends: true)
        case .call(let method, let metadata):
            stream.receive(.metadata(metadata))
            if ends { stream.finish() }
            serve?(stream, method)
        }
    }

    private func receivedAnswer(_ fields: HeaderFields, _ stream: CallStream, ends: Bool) {
        if !stream.isAnswered {
            switch CallFields.response(fields) {
            case .informational: return
            case .refused(let status, let metadata):
                stream.isAnswered = true
                stream.receive(.status(status, metadata))
                stream.finish()
                if !ends { session.reset(stream.number, .cancel) }
                return
            case .accepted(let metadata):
                stream.isAnswered = true
                if !ends { stream.receive(.metadata(metadata)) }
            }
        }
        guard ends else { return }
        let (status, metadata) = CallFields.status(fields)
        stream.receive(.status(status, metadata))
        stream.finish()
    }

    func received(data: UnsafeRawBufferPointer, stream number: Int32) {
        guard let stream = streams[number] else { return session.consume(number, data.count) }
        unsafe stream.receive(data: data)
    }

    func receivedEnd(stream number: Int32) {
        guard let stream = streams[number] else { return }
        if serve == nil {
            stream.fail(RPCError(code: .internalError, message: "the answer ends without a status"))
        } else {
            stream.finish()
        }
    }

    func closed(stream number: Int32, error: UInt32) {
        guard let stream = streams.removeValue(forKey: number) else { return }
        switch HTTP2Session.ResetReason(rawValue: error) {
        case .some(.none): stream.close(nil)
        case .refusedStream: stream.close(.unsent("the call was not taken"))
        case .cancel: stream.close(RPCError(code: .cancelled, message: "the other side gave the call up"))
        default: stream.close(RPCError(code: .internalError, message: "the call was reset (\(error))"))
        }
        hasOutput()
    }

    func isLeaving() { isClosing = true }

    func supply(stream number: Int32, _ room: UnsafeMutableRawBufferPointer) -> (Int, ch_next) {
        guard let stream = streams[number] else { return (0, CH_END) }
        let count = unsafe stream.supply(room)
        guard stream.isDrained else { return (count, CH_MORE) }
        switch stream.conclusion {
        case .none: return (count, CH_MORE)
        case .end: return (count, CH_END)
        case .trailers(let fields):
            // Fails without memory alone; then the answer ends without a status, which says as much.
            do { try session.trailers(number, fields) } catch { return (count, CH_END) }
            return (count, CH_TRAILERS)
        }
    }

    // MARK: The socket

    private func isReady(_ ready: Epoll.Interest) {
        if !ready.isDisjoint(with: [.read, .failed]) { _ = receive() }
        if ready.contains(.write) { flush() }
    }

    /// - Returns: whether there may be more.
    private func receive() -> Bool {
        guard isOpen else { return false }
        let number = socket.rawValue
        do {
            try unsafe withUnsafeTemporaryAllocation(byteCount: Self.inputSize, alignment: 16) { room in
                let count = try system("recv") {
                    unsafe recv(number, room.baseAddress, room.count, Int32(MSG_DONTWAIT))
                }
                guard count > 0 else { return end() }
                try unsafe session.receive(UnsafeRawBufferPointer(rebasing: room[..<count]))
            }
            hasOutput()
        } catch let error as SystemError where error.errno == .again {
            return false
        } catch let failure as HTTP2Session.Failure {
            // Not HTTP/2, or a flood of it.
            end("\(failure)")
        } catch {
            end()
        }
        return isOpen
    }

    /// Sends what there is, once the tasks that are ready have run.
    func hasOutput() {
        guard isOpen, !willSettle else { return }
        willSettle = true
        loop.whenSettled {
            self.willSettle = false
            self.flush()
        }
    }

    private func flush() {
        guard isOpen else { return }
        do {
            while true {
                if sent == output.count {
                    output.removeAll(keepingCapacity: output.capacity <= Self.mostOutput)
                    sent = 0
                    try session.send(into: &output, limit: Self.mostOutput)
                    if output.isEmpty { break }
                }
                guard try sendSome() else { return awaitRoom(true) }
            }
        } catch {
            // What the other side has said before it went still counts.
            if error is SystemError { while receive() {} }
            return end()
        }
        awaitRoom(false)
        if session.isOver || isClosing && streams.isEmpty { end() }
    }

    /// - Returns: whether the socket takes more.
    private func sendSome() throws -> Bool {
        let (number, start) = (socket.rawValue, sent)
        do throws(SystemError) {
            sent += try system("send") {
                unsafe output[start...].withUnsafeBytes {
                    unsafe send(
                        number, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL))
                }
            }
            return true
        } catch {
            if error.errno == .again { return false }
            throw error
        }
    }

    private func awaitRoom(_ waits: Bool) {
        guard waits != waitsForRoom else { return }
        waitsForRoom = waits
        loop.change(watch, of: socket.rawValue, waits ? [.read, .write] : .read)
    }

    /// Ends the connection, and with it the calls that are left.
    func end(_ cause: String = "the connection to the fabric broke before it answered") {
        guard isOpen else { return }
        (isOpen, isClosing) = (false, true)
        loop.ignore(watch, of: socket.rawValue)
        _ = shutdown(socket.rawValue, Int32(SHUT_RDWR))
        let left = streams
        streams = [:]
        for stream in left.values { stream.close(RPCError(code: .unavailable, message: cause)) }
        let onEnd = onEnd
        self.onEnd = nil
        onEnd?()
    }
}
