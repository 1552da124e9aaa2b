package import Sys

/// Who asks, and where the answer goes.
package struct ClientReference: Hashable, Sendable {
    /// Number of the listener on which the query came.
    package let listener: Int32
    /// Number of the connection; 0 for a datagram.
    package let connection: UInt64
    package let peer: SocketAddress

    package init(listener: Int32, connection: UInt64 = 0, peer: SocketAddress) {
        self.listener = listener
        self.connection = connection
        self.peer = peer
    }
}

/// What is to be done after the resolver was told something; answers to clients are in its `Outbox`.
package enum ResolverAction: Hashable, Sendable {
    /// Connects a free socket to an upstream and sends this: a datagram, or a message on a stream, to be
    /// preceded by its length.
    case send(socket: Int32, to: UpstreamAddress, message: [UInt8])
    /// The socket is done with: what comes there belongs to nobody, and it must give its port back.
    case release(socket: Int32)
    case report(ResolverReport)
}

/// Answers to clients, one behind the other in one buffer that is used again and again.
package struct Outbox: Sendable {
    package struct Reply: Hashable, Sendable {
        package let client: ClientReference
        /// Where it ends in `bytes`; it begins where the one before it ends.
        package let end: Int
    }

    package internal(set) var bytes: [UInt8] = []
    package internal(set) var replies: [Reply] = []

    package init() { bytes.reserveCapacity(64 << 10) }

    package mutating func removeAll() {
        bytes.removeAll(keepingCapacity: true)
        replies.removeAll(keepingCapacity: true)
    }

    var start: Int { replies.last?.end ?? 0 }

    /// Takes the last reply back.
    mutating func takeLast() -> [UInt8] {
        guard !replies.isEmpty else { return [] }
        replies.removeLast()
        let held = Array(bytes[start...])
        bytes.removeLast(held.count)
        return held
    }

    mutating func append(_ reply: [UInt8], to client: ClientReference) {
        bytes += reply
        replies.append(Reply(client: client, end: bytes.count))
    }

    package func range(_ index: Int) -> Range<Int> {
        (index == 0 ? 0 : replies[index - 1].end)..<replies[index].end
    }
}

/// Bounds and times of a resolver.
package struct ResolverSettings: Sendable {
    /// Names in the cache.
    package var cachedNames = 20_000
    /// Seconds that an answer about the fabric's own names may be kept.
    package var localTTL: UInt32 = 5
    /// Queries of one client that wait for a manager or an upstream.
    package var outstanding = 128
    /// Of all clients together.
    package var outstandingInAll = 8192
    /// Milliseconds that a query waits for the manager.
    package var managerPatience: UInt64 = 3000
    /// Milliseconds that an upstream has for its first answer; those that are known have less.
    package var firstTimeout: UInt64 = 1000
    package var shortestTimeout: UInt64 = 300
    package var longestTimeout: UInt64 = 2000
    package var tcpTimeout: UInt64 = 3000
    /// Milliseconds after which a query fails, whatever upstreams are left.
    package var lookupPatience: UInt64 = 6000
    /// Milliseconds that an upstream is passed over for, at first and at most.
    package var deadTime: UInt64 = 5000
    package var longestDeadTime: UInt64 = 60_000
    /// Questions about names outside, and addresses to learn, that one client may cause the manager in a second;
    /// twice as many at once.
    package var questionsPerSecond = 200
    /// Verdicts on pairs of endpoints that are remembered.
    package var verdicts = 1 << 18
    /// Verdicts on names outside that are remembered for one client.
    package var outsideVerdicts = 1024

    package init() {}
}

/// Bytes of a query that waits, and whose it is.
struct Parked {
    let client: ClientReference
    let owner: Owner
    let bytes: [UInt8]
}

/// Whose query it is.
struct Owner: Hashable, Sendable {
    /// Number of the endpoint in the resolver's list, or one of the below.
    let index: Int32
    /// Told apart from whoever had the number before.
    let serial: UInt32

    static let stranger = Owner(index: -1, serial: 0)
    static let trusted = Owner(index: -2, serial: 0)

    var isEndpoint: Bool { index >= 0 }
}

/// What a client may still ask: fills at a steady rate, up to two seconds' worth.
struct Allowance: Sendable {
    private var level: Int?
    private var filled: UInt64 = 0

    /// - Returns: false if nothing is left.
    mutating func take(_ cost: Int = 1, now: UInt64, perSecond rate: Int) -> Bool {
        let full = 2000 * rate
        // In thousandths, so that a millisecond fills a whole number.
        var level = min(
            full, (self.level ?? full) + Int(clamping: now - filled) * (self.level == nil ? 0 : rate))
        defer { self.level = level }
        filled = now
        // Who has all that there can be may ask whatever it costs.
        let price = min(1000 * cost, full)
        guard level >= price else { return false }
        level -= price
        return true
    }
}

/// Moments at which something is due, soonest first.
struct DeadlineQueue: Sendable {
    enum Kind: UInt8, Sendable {
        case lookup
        case question
        case learning
        case denials
    }

    struct Entry: Sendable {
        let time: UInt64
        let kind: Kind
        let id: UInt32
        /// Of a lookup: which attempt. Whoever is told compares, for what is no longer due is not taken out.
        let attempt: UInt32
    }

    /// A binary heap: no entry is later than the two below it.
    private var heap: [Entry] = []

    var soonest: UInt64? { heap.first?.time }

    mutating func push(_ time: UInt64, _ kind: Kind, _ id: UInt32, attempt: UInt32 = 0) {
        heap.append(Entry(time: time, kind: kind, id: id, attempt: attempt))
        var at = heap.count - 1
        while at > 0, heap[at].time < heap[(at - 1) / 2].time {
            heap.swapAt(at, (at - 1) / 2)
            at = (at - 1) / 2
        }
    }

    mutating func popDue(_ now: UInt64) -> Entry? {
        guard let first = heap.first, first.time <= now else { return nil }
        let last = heap.removeLast()
        if heap.isEmpty { return first }
        heap[0] = last
        var at = 0
        while true {
            var least = at
            for below in [2 * at + 1, 2 * at + 2]
            where below < heap.count && heap[below].time < heap[least].time {
                least = below
            }
            if least == at { return first }
            heap.swapAt(at, least)
            at = least
        }
    }
}
