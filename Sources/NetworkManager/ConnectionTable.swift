internal import Netlink
internal import Sys
internal import Wire

/// The kernel's connection tracking table, for ending connections.
///
/// To read that table, or to have it flushed by a filter, is to walk all of its buckets, which all namespaces
/// share: ten milliseconds on a machine with a quarter of a million, for no connection at all. So it is read
/// once, and followed by the kernel's news of beginnings and ends, which wait in a socket until somebody
/// asks. Where news were lost, more than the socket holds, it is read again.
struct ConnectionTable: ~Copyable {
    /// A connection from the side that began it to the one that it was led to.
    struct Flow: Hashable, Sendable {
        let source: IPAddress
        let destination: IPAddress
        let l4proto: UInt8
        /// 0 where the protocol has no ports.
        let destinationPort: UInt16
        /// The proxy is between the two.
        let isVerified: Bool

        init(_ entry: ConntrackEntry) {
            source = entry.original.source
            destination = entry.peer.address
            l4proto = entry.original.l4proto
            destinationPort = entry.peer.port ?? 0
            isVerified = entry.isVerified
        }
    }

    private var socket: NetlinkSocket<NetfilterProtocol>
    private var news: NetlinkSocket<NetfilterProtocol>
    /// nil where it has to be read.
    private var known: KnownConnections?

    /// Of a connection some 400 bytes are kept; a fabric that has more reads the table each time.
    private static let most = 50_000
    /// More datagrams of news than this at a time are not read: the table is.
    private static let mostNews = 20_000

    init() throws {
        let news = try NetlinkSocket<NetfilterProtocol>()
        try news.subscribeToConntrack()
        let socket = try NetlinkSocket<NetfilterProtocol>()
        self.news = news
        self.socket = socket
    }

    /// The connections that these addresses take part in, or all.
    mutating func entries(of addresses: Set<IPAddress>?) throws -> [ConntrackEntry] {
        try follow()
        if let known { return known.entries(of: addresses) }
        return try read().filter { entry in
            addresses.map { $0.contains(entry.original.source) || $0.contains(entry.peer.address) } ?? true
        }
    }

    /// Ends connections: their next packet is judged as a new connection's first, and a TCP packet in
    /// mid-stream is none.
    mutating func cut(_ entries: [ConntrackEntry]) throws {
        guard !entries.isEmpty else { return }
        _ = try socket.deleteConntrack(entries)
        for entry in entries { known?.remove(entry) }
    }

    /// Ends every connection that one of these addresses takes part in.
    mutating func cutAll(of addresses: [IPAddress]) throws { try cut(try entries(of: Set(addresses))) }

    /// Gives connections other marks; nil leaves one alone.
    mutating func mark(_ wanted: (Flow) -> UInt32?) throws {
        var changed: [ConntrackEntry] = []
        for var entry in try entries(of: nil) {
            guard let mark = wanted(Flow(entry)), mark != entry.mark else { continue }
            entry.mark = mark
            changed.append(entry)
        }
        try socket.markConntrack(changed)
        for entry in changed { known?.replace(entry) }
    }

    // MARK: What is known

    /// Brings what is known up to date, or reads it anew.
    private mutating func follow() throws {
        if known != nil, Self.areNewsTold {
            do throws(NetlinkError) {
                // Bounded: a container can make news faster than they are read.
                var datagrams = 0
                while let messages = try news.pendingNotifications() {
                    for message in messages { try follow(message) }
                    datagrams += 1
                    if datagrams == Self.mostNews { known = nil }
                    if known == nil { break }
                }
            } catch {
                // Lost, or not understood.
                known = nil
            }
            if let known, known.count <= Self.most { return }
            known = nil
        }
        // What waits by now is older than what will be read; an old beginning must not hide a newer one of the
        // same tuple. A new socket has none of it.
        let fresh = try NetlinkSocket<NetfilterProtocol>()
        try fresh.subscribeToConntrack()
        news = fresh
        let entries = try read()
        known = entries.count > Self.most || !Self.areNewsTold ? nil : KnownConnections(entries)
    }

    private mutating func read() throws -> [ConntrackEntry] { try socket.conntrackEntries() }

    private mutating func follow(_ message: Message) throws(NetlinkError) {
        let event: ConntrackEvent?
        do throws(DecodeError) { event = try ConntrackEvent(message) } catch {
            throw NetlinkError(.malformed(error), "conntrack notification")
        }
        guard let event else { return }
        switch event.kind {
        case .new, .update: known?.insert(event.entry)
        case .destroy: known?.remove(event.entry)
        }
    }

    /// Whether the kernel tells of connections (nf_conntrack_events: 0 is never, and not ours to change where
    /// the namespace is not ours alone).
    private static var areNewsTold: Bool {
        guard let text = try? readFile("/proc/sys/net/netfilter/nf_conntrack_events", limit: 16) else {
            return false
        }
        return text.first != "0"
    }
}

/// Connections, found by the addresses that take part in them.
private struct KnownConnections {
    /// What tells one connection from all others that there are.
    private struct Key: Hashable {
        let tuple: ConntrackTuple
        let zone: UInt16

        init(_ entry: ConntrackEntry) { (tuple, zone) = (entry.original, entry.zone) }
    }

    private var entries: [Key: ConntrackEntry] = [:]
    private var keys: [IPAddress: Set<Key>] = [:]

    init(_ entries: [ConntrackEntry]) { for entry in entries { insert(entry) } }

    var count: Int { entries.count }

    mutating func insert(_ entry: ConntrackEntry) {
        let key = Key(entry)
        guard entries.updateValue(entry, forKey: key) == nil else { return }
        for address in Set([key.tuple.source, entry.peer.address]) {
            keys[address, default: []].insert(key)
        }
    }

    mutating func replace(_ entry: ConntrackEntry) {
        let key = Key(entry)
        if entries[key]?.id == entry.id { entries[key] = entry }
    }

    mutating func remove(_ entry: ConntrackEntry) {
        let key = Key(entry)
        // A later connection may have the tuple by now.
        guard let known = entries[key], known.id == entry.id else { return }
        entries[key] = nil
        for address in Set([key.tuple.source, known.peer.address]) {
            keys[address]?.remove(key)
            if keys[address]?.isEmpty ?? false { keys[address] = nil }
        }
    }

    func entries(of addresses: Set<IPAddress>?) -> [ConntrackEntry] {
        guard let addresses else { return Array(entries.values) }
        return addresses.reduce(into: Set<Key>()) { $0.formUnion(keys[$1] ?? []) }.compactMap { entries[$0] }
    }
}
