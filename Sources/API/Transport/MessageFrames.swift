/// The messages within a stream's data: each behind five bytes, whether it is compressed and its length
/// (gRPC over HTTP/2, "Length-Prefixed-Message").
package struct MessageFrames {
    package enum Problem: Error, Hashable {
        case compressed
        case tooLarge(Int)
    }

    /// Bytes that a message may have.
    package let limit: Int
    private var prefix: [UInt8] = []
    private var message: [UInt8] = []
    private var missing = 0

    package init(limit: Int) { self.limit = limit }

    /// Whether a message has begun that is not complete.
    package var isWithinMessage: Bool { !prefix.isEmpty }

    /// Takes some of the data, and gives each message that it completes.
    package mutating func take(
        _ data: UnsafeRawBufferPointer, _ give: ([UInt8]) -> Void
    ) throws(Problem) {
        var position = 0
        while position < data.count {
            if prefix.count < 5 {
                let end = min(position + 5 - prefix.count, data.count)
                unsafe prefix += data[position..<end]
                position = end
                if prefix.count < 5 { break }
                try begin()
            }
            let end = min(position + missing, data.count)
            unsafe message += data[position..<end]
            missing -= end - position
            position = end
            if missing == 0 {
                give(message)
                message = []
                prefix.removeAll(keepingCapacity: true)
            }
        }
    }

    private mutating func begin() throws(Problem) {
        guard prefix[0] == 0 else { throw .compressed }
        missing = prefix[1...].reduce(0) { $0 << 8 | Int($1) }
        guard missing <= limit else { throw .tooLarge(missing) }
        // What a peer announces is not believed before it comes.
        message.reserveCapacity(min(missing, 1 << 16))
    }

    /// A message as it travels.
    package static func append(_ message: [UInt8], to data: inout [UInt8]) {
        let count = UInt32(message.count)
        data += [
            0, UInt8(count >> 24), UInt8(count >> 16 & 255), UInt8(count >> 8 & 255), UInt8(count & 255),
        ]
        data += message
    }
}
