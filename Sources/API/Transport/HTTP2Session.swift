internal import CHTTP2

/// The fields of a header block, in their order; names are in lower case (RFC 9113, 8.2).
typealias HeaderFields = [(name: String, value: String)]

/// One end of an HTTP/2 connection, without its socket (nghttp2). Tells its owner what the other end does.
@safe final class HTTP2Session {
    enum Role { case client, server }

    struct Failure: Error, CustomStringConvertible {
        let description: String

        init(description: String) { self.description = description }
        init(_ code: Int32) { self.init(description: unsafe String(cString: ch_error(code))) }
    }

    /// RFC 9113, 7.
    enum ResetReason: UInt32 {
        case none = 0
        case protocolError = 1
        case internalError = 2
        case refusedStream = 7
        case cancel = 8
    }

    /// Streams that the other end may have open at once.
    private static let streams: UInt32 = 128
    /// Bytes of a stream that may wait to be taken.
    private static let window: UInt32 = 1 << 18

    private let session: OpaquePointer

    /// - Throws: without memory.
    init(_ role: Role) throws(Failure) {
        var handlers = unsafe ch_handlers()
        unsafe handlers.field = { context, stream, name, nameLength, value, valueLength in
            let accepts = unsafe connection(context)?.received(
                field: text(name, nameLength), text(value, valueLength), stream: stream)
            return accepts == true ? 0 : 1
        }
        unsafe handlers.fields_end = { context, stream, ends in
            unsafe connection(context)?.receivedFields(stream: stream, ends: ends != 0)
        }
        unsafe handlers.data = { context, stream, bytes, length in
            unsafe connection(context)?.received(
                data: UnsafeRawBufferPointer(start: bytes, count: length), stream: stream)
        }
        unsafe handlers.data_end = { context, stream in
            unsafe connection(context)?.receivedEnd(stream: stream)
        }
        unsafe handlers.closed = { context, stream, error in
            unsafe connection(context)?.closed(stream: stream, error: error)
        }
        unsafe handlers.leaving = { context in unsafe connection(context)?.isLeaving() }
        unsafe handlers.supply = { context, stream, room, length, next in
            let room = unsafe UnsafeMutableRawBufferPointer(start: room, count: length)
            let (count, following) = unsafe connection(context)?.supply(stream: stream, room) ?? (0, CH_END)
            unsafe next?.pointee = following
            return count
        }
        guard let made = unsafe ch_open(role == .server ? 1 : 0, &handlers, Self.streams, Self.window) else {
            throw Failure(description: "no memory for a connection")
        }
        unsafe session = made
    }

    /// Tells a connection what the other end does. It must outlive the session, which does not keep it.
    func report(to connection: Connection) {
        unsafe ch_report_to(session, Unmanaged.passUnretained(connection).toOpaque())
    }

    deinit { unsafe ch_free(session) }

    /// Whether nothing is to be read and nothing to be sent any more.
    var isOver: Bool { unsafe ch_is_over(session) != 0 }

    func receive(_ bytes: UnsafeRawBufferPointer) throws(Failure) {
        let start = unsafe bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
        try check(unsafe ch_receive(session, start, bytes.count))
    }

    /// Appends what is to be sent, up to some `limit` bytes.
    func send(into output: inout [UInt8], limit: Int) throws(Failure) {
        while output.count < limit {
            var start: UnsafePointer<UInt8>?
            let count = unsafe ch_send(session, &start)
            try check(Int32(clamping: min(count, 0)))
            if count == 0 { return }
            unsafe output.append(contentsOf: UnsafeBufferPointer(start: start, count: count))
        }
    }

    /// - Returns: the new stream's number.
    func request(_ fields: HeaderFields) throws(Failure) -> Int32 {
        let stream = unsafe withFields(fields) { unsafe ch_request(session, $0) }
        try check(min(stream, 0))
        return stream
    }

    /// - Parameter ends: this is all of the answer.
    func respond(_ stream: Int32, _ fields: HeaderFields, ends: Bool) throws(Failure) {
        try check(unsafe withFields(fields) { unsafe ch_respond(session, stream, $0, ends ? 1 : 0) })
    }

    /// For who supplies the last bytes and says that trailers follow.
    func trailers(_ stream: Int32, _ fields: HeaderFields) throws(Failure) {
        try check(unsafe withFields(fields) { unsafe ch_trailers(session, stream, $0) })
    }

    /// There are bytes to be supplied again. That it was not waiting for them is no failure.
    func resume(_ stream: Int32) { _ = unsafe ch_resume(session, stream) }

    func reset(_ stream: Int32, _ reason: ResetReason) {
        _ = unsafe ch_reset(session, stream, reason.rawValue)
    }

    /// Received bytes are kept no longer. That the stream is gone is no failure.
    func consume(_ stream: Int32, _ count: Int) { _ = unsafe ch_consume(session, stream, count) }

    /// No new streams are taken from here on.
    func leave() { _ = unsafe ch_leave(session) }

    private func check(_ code: Int32) throws(Failure) {
        if code < 0 { throw Failure(code) }
    }
}

private func connection(_ context: UnsafeMutableRawPointer?) -> Connection? {
    unsafe context.map { unsafe Unmanaged<Connection>.fromOpaque($0).takeUnretainedValue() }
}

private func text(_ start: UnsafePointer<UInt8>?, _ count: Int) -> String {
    unsafe String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
}

private func withFields<Result>(_ fields: HeaderFields, _ body: (ch_fields) -> Result) -> Result {
    var text: [UInt8] = []
    var lengths: [UInt32] = []
    text.reserveCapacity(512)
    lengths.reserveCapacity(2 * fields.count)
    for field in fields {
        text += field.name.utf8
        text += field.value.utf8
        lengths.append(UInt32(field.name.utf8.count))
        lengths.append(UInt32(field.value.utf8.count))
    }
    return unsafe text.withUnsafeBufferPointer { text in
        unsafe lengths.withUnsafeBufferPointer { lengths in
            unsafe body(
                ch_fields(text: text.baseAddress, lengths: lengths.baseAddress, count: fields.count))
        }
    }
}
