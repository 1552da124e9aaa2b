internal import NIOCore
internal import NIOHPACK

/// The client's side of one HTTP/2 connection, for unary gRPC calls: what comes in changes it, what is to go out
/// collects in `output`, what is done in `finished`.
///
/// Does no IO. A general client spends more time on a call than the fabric does on an attach: with resolvers,
/// balancers, interceptors and streams, none of which a Unix socket and a unary call have a use for.
///
///     call -> (queued) -> open -> half closed -> finished
///                           |  message sent |  trailers come
struct CallSession {
    enum Outcome: Equatable {
        /// The answer's message.
        case answer(ByteBuffer)
        /// A gRPC status other than OK.
        case status(code: Int, message: String)
        /// The server has not begun on it: it may be made again elsewhere.
        case refused
        /// It was sent, and nobody knows what became of it.
        case broken
    }

    private struct Call {
        /// What is left to send of the framed message.
        var unsent: ByteBuffer
        /// What the server takes of it (RFC 9113 section 5.2).
        var window: Int
        var httpStatus = ""
        var status: Int?
        var statusMessage = ""
        var body = ByteBuffer()
    }

    /// Answers are listings, in pages: far smaller than this.
    static let answerLimit = 64 << 20
    private static let headerLimit = 64 << 10

    /// To be sent.
    var output = ByteBuffer()
    /// Calls that have come to an end, to be told.
    var finished: [(id: UInt64, outcome: Outcome)] = []
    /// No further call can be made over this connection.
    private(set) var isEnding = false

    private var input = ByteBuffer()
    private var decoder = HPACKDecoder(allocator: ByteBufferAllocator())
    private var calls: [UInt32: Call] = [:]
    private var streams: [UInt64: UInt32] = [:]
    private var ids: [UInt32: UInt64] = [:]
    private var queued: [(id: UInt64, head: [UInt8], message: ByteBuffer)] = []
    /// In the order in which they began.
    private var sending: [UInt32] = []
    private var nextStream: UInt32 = 1
    private var headerBlock: (stream: UInt32, ends: Bool, bytes: ByteBuffer)?
    /// Received and not yet given back to the server as window.
    private var consumed = 0

    // The server's, until its SETTINGS say otherwise (RFC 9113 sections 6.5.2 and 6.9.2).
    private var window = 65_535
    private var initialWindow = 65_535
    private var concurrency = 100

    init() {
        output.writeString("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        // No pushes; and windows as wide as can be, since answers are bounded by us and read at once.
        output.writeFrameHeader(.settings, [], stream: 0, length: 12)
        output.writeInteger(UInt16(2))
        output.writeInteger(UInt32(0))
        output.writeInteger(UInt16(4))
        output.writeInteger(UInt32(Int32.max))
        giveWindow(Int(Int32.max) - 65_535)
    }

    var isIdle: Bool { calls.isEmpty && queued.isEmpty }

    /// Makes a call.
    /// - Parameters:
    ///   - head: the request's header block, of `CallSession.head`.
    /// - Returns: false if this connection takes none any more.
    mutating func start(_ id: UInt64, head: [UInt8], message: [UInt8]) -> Bool {
        guard !isEnding, nextStream < Int32.max - 1 else { return false }
        var framed = ByteBuffer()
        framed.reserveCapacity(5 + message.count)
        // gRPC over HTTP2: a byte that says whether it is compressed, and the length.
        framed.writeInteger(UInt8(0))
        framed.writeInteger(UInt32(message.count))
        framed.writeBytes(message)
        queued.append((id, head, framed))
        openQueued()
        return true
    }

    /// Forgets a call: nobody waits for its answer.
    mutating func cancel(_ id: UInt64) {
        if let stream = streams[id] {
            reset(stream, code: 8)
            finish(stream, .broken)
        } else if let index = queued.firstIndex(where: { $0.id == id }) {
            queued.remove(at: index)
            finished.append((id, .refused))
        }
    }

    /// Takes no further call; those under way go on.
    mutating func end() { isEnding = true }

    /// Takes what came from the server.
    mutating func receive(_ bytes: ByteBuffer) throws(CallFault) {
        input.writeImmutableBuffer(bytes)
        while let frame = try CallFrame.take(from: &input) { try handle(frame) }
        input.discardReadBytes()
    }

    /// Nothing can come any more.
    mutating func connectionEnded() {
        isEnding = true
        refuseQueued()
        for stream in calls.keys { finish(stream, .broken) }
    }

    /// The header block of a request for a method such as `/package.Service/Method` (RFC 7541: the static table and
    /// literals alone, so that it depends on nothing that was sent before).
    static func head(path: String) -> [UInt8] {
        func literal(_ text: String) -> [UInt8] { [UInt8(text.utf8.count)] + Array(text.utf8) }
        precondition(path.utf8.count < 127, "longer strings have a longer prefix")
        let method: [UInt8] = [0x83]
        let scheme: [UInt8] = [0x86]
        let contentType: [UInt8] = [0x0f, 0x10]
        return method + scheme + [0x04] + literal(path) + [0x01] + literal("localhost") + contentType
            + literal("application/grpc") + [0x00] + literal("te") + literal("trailers")
    }

    // MARK: Sending

    private mutating func openQueued() {
        while calls.count < concurrency, !queued.isEmpty, !isEnding {
            let (id, head, message) = queued.removeFirst()
            let stream = nextStream
            nextStream += 2
            calls[stream] = Call(unsent: message, window: initialWindow)
            streams[id] = stream
            ids[stream] = id
            output.writeFrameHeader(.headers, .endHeaders, stream: stream, length: head.count)
            output.writeBytes(head)
            sending.append(stream)
        }
        sendData()
    }

    /// Sends of each message what the server's windows let through.
    private mutating func sendData() {
        guard !sending.isEmpty else { return }
        sending.removeAll { stream in
            guard var call = calls[stream] else { return true }
            while true {
                let length = min(call.unsent.readableBytes, window, call.window, CallFrame.largestPayload)
                guard length > 0, var part = call.unsent.readSlice(length: length) else { break }
                window -= length
                call.window -= length
                let isLast = call.unsent.readableBytes == 0
                output.writeFrameHeader(.data, isLast ? .endStream : [], stream: stream, length: length)
                output.writeBuffer(&part)
            }
            calls[stream] = call
            return call.unsent.readableBytes == 0
        }
    }

    private mutating func reset(_ stream: UInt32, code: UInt32) {
        output.writeFrameHeader(.reset, [], stream: stream, length: 4)
        output.writeInteger(code)
    }

    private mutating func giveWindow(_ length: Int) {
        output.writeFrameHeader(.windowUpdate, [], stream: 0, length: 4)
        output.writeInteger(UInt32(length))
    }

    // MARK: Receiving

    private mutating func handle(_ frame: CallFrame) throws(CallFault) {
        // RFC 9113 section 6.10: nothing may come in between.
        guard headerBlock == nil || frame.kind == .continuation && frame.stream == headerBlock?.stream else {
            throw CallFault("a header block is interrupted")
        }
        switch frame.kind {
        case .data: try receiveData(frame)
        case .headers:
            headerBlock = (frame.stream, frame.flags.contains(.endStream), try frame.content())
            if frame.flags.contains(.endHeaders) { try receiveHeaders() }
        case .continuation:
            var part = frame.payload
            guard headerBlock?.bytes.writeBuffer(&part) != nil else {
                throw CallFault("CONTINUATION of nothing")
            }
            guard headerBlock.map({ $0.bytes.readableBytes <= Self.headerLimit }) == true else {
                throw CallFault("a header block of more than \(Self.headerLimit) bytes")
            }
            if frame.flags.contains(.endHeaders) { try receiveHeaders() }
        case .reset:
            let code = frame.payload.getInteger(at: frame.payload.readerIndex, as: UInt32.self)
            // RFC 9113 section 7: REFUSED_STREAM.
            finish(frame.stream, code == 7 ? .refused : .broken)
        case .settings: try receiveSettings(frame)
        case .ping where !frame.flags.contains(.acknowledgement):
            output.writeFrameHeader(.ping, .acknowledgement, stream: 0, length: frame.payload.readableBytes)
            output.writeImmutableBuffer(frame.payload)
        case .goAway: receiveGoAway(frame)
        case .windowUpdate: receiveWindow(frame)
        case .pushPromise: throw CallFault("a push, which was not allowed")
        default: break
        }
    }

    private mutating func receiveData(_ frame: CallFrame) throws(CallFault) {
        var content = try frame.content()
        // Padding counts too (RFC 9113 section 6.9.1).
        consumed += frame.payload.readableBytes
        if consumed >= 1 << 20 {
            giveWindow(consumed)
            consumed = 0
        }
        guard calls[frame.stream] != nil else { return }
        let size = calls[frame.stream]?.body.writeBuffer(&content) ?? 0
        if size > 0, let body = calls[frame.stream]?.body, body.readableBytes > Self.answerLimit {
            reset(frame.stream, code: 8)
            finish(
                frame.stream, .status(code: 8, message: "the answer has more than \(Self.answerLimit) bytes"))
        } else if frame.flags.contains(.endStream) {
            // A gRPC answer ends with trailers.
            finish(frame.stream, .broken)
        }
    }

    private mutating func receiveHeaders() throws(CallFault) {
        guard let (stream, ends, block) = headerBlock else { return }
        headerBlock = nil
        var bytes = block
        // Also those of calls that were forgotten: the decoder's table depends on all of them.
        let headers: HPACKHeaders
        do { headers = try decoder.decodeHeaders(from: &bytes) } catch { throw CallFault("\(error)") }
        guard calls[stream] != nil else { return }
        for (name, value, _) in headers {
            switch name {
            case ":status": calls[stream]?.httpStatus = value
            case "grpc-status": calls[stream]?.status = Int(value)
            case "grpc-message": calls[stream]?.statusMessage = percentDecoded(value)
            default: break
            }
        }
        if ends, let call = calls[stream] { finish(stream, outcome(of: call)) }
    }

    private func outcome(of call: Call) -> Outcome {
        guard call.httpStatus == "200" else {
            return .status(code: 14, message: "the server answered with HTTP status \(call.httpStatus)")
        }
        guard call.status == 0 else {
            return call.status.map { .status(code: $0, message: call.statusMessage) } ?? .broken
        }
        var body = call.body
        guard let compressed: UInt8 = body.readInteger(), compressed == 0,
            let length: UInt32 = body.readInteger(),
            body.readableBytes == Int(length)
        else { return .status(code: 13, message: "the answer is not one uncompressed message") }
        return .answer(body)
    }

    private mutating func receiveSettings(_ frame: CallFrame) throws(CallFault) {
        guard !frame.flags.contains(.acknowledgement) else { return }
        var payload = frame.payload
        while let (name, value) = payload.readMultipleIntegers(as: (UInt16, UInt32).self) {
            switch name {
            // RFC 9113 section 6.5.2.
            case 3: concurrency = Int(value)
            case 4:
                guard value <= UInt32(Int32.max) else { throw CallFault("a window of \(value) bytes") }
                // Section 6.9.2: what streams have already may become negative by it.
                let change = Int(value) - initialWindow
                initialWindow = Int(value)
                for stream in calls.keys { calls[stream]?.window += change }
            default: break
            }
        }
        output.writeFrameHeader(.settings, .acknowledgement, stream: 0, length: 0)
        openQueued()
    }

    private mutating func receiveWindow(_ frame: CallFrame) {
        let increment =
            Int(frame.payload.getInteger(at: frame.payload.readerIndex, as: UInt32.self) ?? 0) & 0x7fff_ffff
        if frame.stream == 0 {
            window += increment
        } else {
            calls[frame.stream]?.window += increment
        }
        sendData()
    }

    private mutating func receiveGoAway(_ frame: CallFrame) {
        isEnding = true
        let last =
            (frame.payload.getInteger(at: frame.payload.readerIndex, as: UInt32.self) ?? 0) & 0x7fff_ffff
        refuseQueued()
        for stream in calls.keys where stream > last { finish(stream, .refused) }
    }

    private mutating func refuseQueued() {
        finished += queued.map { ($0.id, .refused) }
        queued.removeAll()
    }

    private mutating func finish(_ stream: UInt32, _ outcome: Outcome) {
        guard let call = calls.removeValue(forKey: stream), let id = ids.removeValue(forKey: stream) else {
            return
        }
        streams[id] = nil
        // The server has answered before it read all: it need not read the rest.
        if call.unsent.readableBytes > 0, case .answer = outcome { reset(stream, code: 8) }
        finished.append((id, outcome))
        openQueued()
    }
}

/// Undoes the percent-encoding of `grpc-message`; what is none stays as it is.
func percentDecoded(_ text: String) -> String {
    guard text.utf8.contains(UInt8(ascii: "%")) else { return text }
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
        if byte == UInt8(ascii: "%"), rest.count >= 2,
            let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
        {
            bytes.append(value)
            rest = rest.dropFirst(2)
        } else {
            bytes.append(byte)
        }
    }
    return String(decoding: bytes, as: UTF8.self)
}
