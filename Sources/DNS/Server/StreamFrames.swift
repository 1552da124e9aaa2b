/// Messages on a stream, each preceded by its length (RFC 1035 section 4.2.2, RFC 7766 section 8).
struct StreamFrames {
    /// Bytes of the longest message that is taken.
    let limit: Int
    private var bytes: [UInt8] = []

    init(limit: Int) { self.limit = limit }

    mutating func append(_ more: ArraySlice<UInt8>) { bytes += more }

    enum Next: Equatable {
        case message([UInt8])
        case incomplete
        /// Longer than the limit, or too short for a header: the other end is no DNS.
        case broken
    }

    mutating func next() -> Next {
        guard bytes.count >= 2 else { return .incomplete }
        let length = Int(number(bytes, 0))
        guard (Limit.header...limit).contains(length) else { return .broken }
        guard bytes.count >= length + 2 else { return .incomplete }
        let message = Array(bytes[2..<length + 2])
        bytes.removeFirst(length + 2)
        return .message(message)
    }

    static func framed(_ message: some Collection<UInt8>) -> [UInt8] {
        [UInt8(truncatingIfNeeded: message.count >> 8), UInt8(truncatingIfNeeded: message.count)] + message
    }
}
