internal import NIOCore

/// A frame of HTTP/2 (RFC 9113 section 4.1).
struct CallFrame {
    /// RFC 9113 section 6; peers may invent others, which are to be ignored (section 4.1).
    struct Kind: RawRepresentable, Hashable {
        let rawValue: UInt8

        static let data = Kind(rawValue: 0)
        static let headers = Kind(rawValue: 1)
        static let reset = Kind(rawValue: 3)
        static let settings = Kind(rawValue: 4)
        static let pushPromise = Kind(rawValue: 5)
        static let ping = Kind(rawValue: 6)
        static let goAway = Kind(rawValue: 7)
        static let windowUpdate = Kind(rawValue: 8)
        static let continuation = Kind(rawValue: 9)
    }

    struct Flags: OptionSet {
        let rawValue: UInt8

        static let endStream = Flags(rawValue: 1)
        /// The same bit, in SETTINGS and PING.
        static let acknowledgement = Flags(rawValue: 1)
        static let endHeaders = Flags(rawValue: 4)
        static let padded = Flags(rawValue: 8)
        static let priority = Flags(rawValue: 32)
    }

    let kind: Kind
    let flags: Flags
    let stream: UInt32
    let payload: ByteBuffer

    /// RFC 9113 section 4.2: nobody sends more until we allow it, and we do not.
    static let largestPayload = 16_384

    /// Takes the next whole frame from `input`; nil where there is none yet.
    static func take(from input: inout ByteBuffer) throws(CallFault) -> CallFrame? {
        let start = input.readerIndex
        guard let (high, low, kind, flags, stream) = input.getFrameHeader(at: start) else { return nil }
        let length = Int(high) << 8 | Int(low)
        guard length <= largestPayload else { throw CallFault("a frame of \(length) bytes") }
        guard let payload = input.getSlice(at: start + 9, length: length) else { return nil }
        input.moveReaderIndex(forwardBy: 9 + length)
        return CallFrame(
            kind: Kind(rawValue: kind), flags: Flags(rawValue: flags), stream: stream & 0x7fff_ffff,
            payload: payload)
    }

    /// The payload without the padding, and without the priority that HEADERS may begin with (sections 6.1, 6.2).
    func content() throws(CallFault) -> ByteBuffer {
        var content = payload
        if flags.contains(.padded) {
            guard let padding: UInt8 = content.readInteger(), Int(padding) <= content.readableBytes else {
                throw CallFault("more padding than payload")
            }
            content.moveWriterIndex(to: content.writerIndex - Int(padding))
        }
        if kind == .headers, flags.contains(.priority) {
            guard content.readSlice(length: 5) != nil else { throw CallFault("HEADERS without its priority") }
        }
        return content
    }
}

/// The server does not keep to HTTP/2; the connection cannot go on.
struct CallFault: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

extension ByteBuffer {
    fileprivate func getFrameHeader(at index: Int) -> (UInt16, UInt8, UInt8, UInt8, UInt32)? {
        guard let high: UInt16 = getInteger(at: index), let low: UInt8 = getInteger(at: index + 2),
            let kind: UInt8 = getInteger(at: index + 3), let flags: UInt8 = getInteger(at: index + 4),
            let stream: UInt32 = getInteger(at: index + 5)
        else { return nil }
        return (high, low, kind, flags, stream)
    }

    mutating func writeFrameHeader(
        _ kind: CallFrame.Kind, _ flags: CallFrame.Flags, stream: UInt32, length: Int
    ) {
        writeInteger(UInt32(length) << 8 | UInt32(kind.rawValue))
        writeInteger(flags.rawValue)
        writeInteger(stream)
    }
}
