/// What anchor and manager say to each other, one datagram each. The manager faces callers, so the anchor
/// believes nothing.
package enum ControlMessage: Hashable, Sendable {
    /// Who is the peer of the connection that comes along? From the manager.
    case whoIs(id: UInt32)
    /// Ids as the host counts them. `errno` is 0 if they could be told.
    case peer(id: UInt32, errno: Int32, uid: UInt32, pid: Int32)
    /// The manager answers calls now.
    case ready
    /// The manager cannot start; why, in one line.
    case failed(String)

    /// Of any message.
    package static let limit = 1024

    package var encoded: [UInt8] {
        var bytes: [UInt8] = []
        func append(_ value: UInt32) {
            for shift in [24, 16, 8, 0] as [UInt32] {
                bytes.append(UInt8(truncatingIfNeeded: value >> shift))
            }
        }
        switch self {
        case .whoIs(let id):
            bytes.append(1)
            append(id)
        case .peer(let id, let errno, let uid, let pid):
            bytes.append(2)
            append(id)
            append(UInt32(bitPattern: errno))
            append(uid)
            append(UInt32(bitPattern: pid))
        case .ready: bytes.append(3)
        case .failed(let text):
            bytes.append(4)
            bytes += text.utf8.prefix(Self.limit - 1)
        }
        return bytes
    }

    /// Nil if it is none of ours.
    package init?(_ bytes: ArraySlice<UInt8>) {
        let words = bytes.dropFirst()
        func word(_ index: Int) -> UInt32 {
            words.dropFirst(index * 4).prefix(4).reduce(0) { $0 << 8 | UInt32($1) }
        }
        switch (bytes.first, words.count) {
        case (1, 4): self = .whoIs(id: word(0))
        case (2, 16):
            self = .peer(
                id: word(0), errno: Int32(bitPattern: word(1)), uid: word(2), pid: Int32(bitPattern: word(3)))
        case (3, 0): self = .ready
        case (4, ..<Self.limit): self = .failed(String(decoding: words, as: UTF8.self))
        default: return nil
        }
    }
}
