internal import CLinux
internal import Sys
internal import Wire

/// Transparent sockets of one kind that wait to be used.
///
/// It begins small, and holds twice as many each time that it has been found empty.
struct SocketPool: ~Copyable {
    /// The most that a pool holds.
    static let limit = 512

    private var sockets: [Int32] = []
    private(set) var capacity: Int
    private let most: Int
    /// Asked for and not yet come, and when.
    private var expected = 0
    private var askedAt: Int64 = 0
    /// Milliseconds after which what was asked for and has not come is asked for again.
    private static let patience: Int64 = 1_000

    init(capacity: Int = 64, most: Int = SocketPool.limit) {
        self.most = max(1, most)
        self.capacity = min(capacity, self.most)
    }

    deinit { for socket in sockets { _ = CLinux.close(socket) } }

    var count: Int { sockets.count }

    mutating func take() -> Descriptor? {
        guard let socket = sockets.popLast() else { return nil }
        return Descriptor(owning: socket)
    }

    /// Takes one more in; what there is no room for is closed.
    mutating func put(_ socket: consuming Descriptor) {
        expected = max(0, expected - 1)
        guard sockets.count < most, cl_set_nonblocking(socket.rawValue) == 0 else { return }
        sockets.append(socket.release())
    }

    /// How many should be asked for now; they count as asked for from here on.
    mutating func toAskFor(_ now: Int64) -> Int {
        guard sockets.count <= capacity / 2, expected == 0 || askedAt + Self.patience <= now else { return 0 }
        if sockets.isEmpty, hasBeenFilled, expected == 0 { capacity = min(capacity * 2, most) }
        hasBeenFilled = true
        (expected, askedAt) = (capacity - sockets.count, now)
        return expected
    }
    private var hasBeenFilled = false

    /// When to look whether to ask again; nil where nothing is missing.
    var askAgainAt: Int64? { expected > 0 && sockets.count <= capacity / 2 ? askedAt + Self.patience : nil }

    /// Whoever was asked is not there any more.
    mutating func forgetAsking() { expected = 0 }
}

/// A pool for each kind of socket.
struct SocketStock: ~Copyable {
    private var tcp4: SocketPool
    private var tcp6: SocketPool
    private var udp4: SocketPool
    private var udp6: SocketPool

    init(most: Int) {
        tcp4 = SocketPool(most: most)
        tcp6 = SocketPool(most: most)
        udp4 = SocketPool(most: most)
        udp6 = SocketPool(most: most)
    }

    func count(_ family: IPFamily, _ transport: ForwardTransport) -> Int {
        switch (transport, family) {
        case (.tcp, .v4): tcp4.count
        case (.tcp, .v6): tcp6.count
        case (.udp, .v4): udp4.count
        case (.udp, .v6): udp6.count
        }
    }

    mutating func take(_ family: IPFamily, _ transport: ForwardTransport) -> Descriptor? {
        switch (transport, family) {
        case (.tcp, .v4): tcp4.take()
        case (.tcp, .v6): tcp6.take()
        case (.udp, .v4): udp4.take()
        case (.udp, .v6): udp6.take()
        }
    }

    mutating func put(_ socket: consuming Descriptor, _ family: IPFamily, _ transport: ForwardTransport) {
        switch (transport, family) {
        case (.tcp, .v4): tcp4.put(socket)
        case (.tcp, .v6): tcp6.put(socket)
        case (.udp, .v4): udp4.put(socket)
        case (.udp, .v6): udp6.put(socket)
        }
    }

    mutating func toAskFor(_ family: IPFamily, _ transport: ForwardTransport, _ now: Int64) -> Int {
        switch (transport, family) {
        case (.tcp, .v4): tcp4.toAskFor(now)
        case (.tcp, .v6): tcp6.toAskFor(now)
        case (.udp, .v4): udp4.toAskFor(now)
        case (.udp, .v6): udp6.toAskFor(now)
        }
    }

    var askAgainAt: Int64? {
        [tcp4.askAgainAt, tcp6.askAgainAt, udp4.askAgainAt, udp6.askAgainAt].compactMap(\.self).min()
    }

    mutating func forgetAsking(_ family: IPFamily, _ transport: ForwardTransport) {
        switch (transport, family) {
        case (.tcp, .v4): tcp4.forgetAsking()
        case (.tcp, .v6): tcp6.forgetAsking()
        case (.udp, .v4): udp4.forgetAsking()
        case (.udp, .v6): udp6.forgetAsking()
        }
    }

    mutating func forgetAsking() {
        for family in IPFamily.allCases {
            for transport in ForwardTransport.allCases { forgetAsking(family, transport) }
        }
    }
}
