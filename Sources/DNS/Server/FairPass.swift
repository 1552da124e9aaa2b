/// Which of the datagrams that waited at one socket are served, and in which order.
///
/// What comes in at once is read in one go. When that is much, everybody's first few are served first, and when
/// it is so much that the socket was close to overflowing, no client is served more than a share: reading and
/// throwing away costs a tenth of serving, so that the socket is emptied faster than a flood fills it, and the
/// others' queries are not lost before they are seen. Datagrams that were sent as one piece are served as one, and
/// count for as many as they are.
struct FairPass {
    /// Datagrams that are served in the order in which they came.
    static let few = 64
    /// Of each client, that are served before anybody's others.
    static let first = 16
    /// Datagrams that the socket holds when it is flooded.
    static let flood = 256
    /// Of each client, that are served while it is.
    static let share = 128
    /// Read in one go.
    static let most = 512

    /// What came as one: as many datagrams of one client's.
    struct Piece {
        let client: Int32
        var count = 1
    }

    /// Pieces in the order of serving.
    private(set) var order: [Int] = []
    /// Datagrams, by client.
    private(set) var dropped: [Int32: Int] = [:]

    /// - Parameter pieces: in the order in which they came.
    init(_ pieces: [Piece]) {
        let total = pieces.reduce(0) { $0 + $1.count }
        guard total > Self.few else {
            order = Array(pieces.indices)
            return
        }
        let limit = total > Self.flood ? Self.share : Int.max
        var counts: [Int32: Int] = [:]
        var later: [Int] = []
        order.reserveCapacity(pieces.count)
        for (index, piece) in pieces.enumerated() {
            let count = counts[piece.client, default: 0]
            counts[piece.client] = count + piece.count
            if count + piece.count > limit {
                dropped[piece.client, default: 0] += piece.count
            } else if count < Self.first {
                order.append(index)
            } else {
                later.append(index)
            }
        }
        order += later
    }
}
