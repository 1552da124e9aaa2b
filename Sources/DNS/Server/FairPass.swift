/// Which of the datagrams that waited at one socket are served, and in which order.
///
/// What comes in at once is read in one go. When that is much, everybody's first few are served first, and when
/// it is so much that the socket was close to overflowing, no client is served more than a share: reading and
/// throwing away costs a tenth of serving, so that the socket is emptied faster than a flood fills it, and the
/// others' queries are not lost before they are seen.
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

    /// In the order of serving.
    private(set) var order: [Int] = []
    private(set) var dropped: [Int32: Int] = [:]

    /// - Parameter clients: whose each datagram is, in the order in which they came.
    init(_ clients: [Int32]) {
        guard clients.count > Self.few else {
            order = Array(clients.indices)
            return
        }
        let limit = clients.count > Self.flood ? Self.share : Int.max
        var counts: [Int32: Int] = [:]
        var later: [Int] = []
        order.reserveCapacity(clients.count)
        for (index, client) in clients.enumerated() {
            let count = counts[client, default: 0]
            counts[client] = count + 1
            if count < Self.first {
                order.append(index)
            } else if count < limit {
                later.append(index)
            } else {
                dropped[client, default: 0] += 1
            }
        }
        order += later
    }
}
