internal import Sys
internal import Wire

/// Upstreams that are asked one after the other, in the order given but for those that are dead.
struct UpstreamGroup: Sendable {
    struct Server: Sendable {
        let address: UpstreamAddress
        /// Smoothed time of an answer in milliseconds, as TCP does it (RFC 6298 section 2); nil before the first.
        var roundTrip: Double?
        /// Queries in a row that were not answered.
        var failures = 0
        /// Passed over until then.
        var deadUntil: UInt64 = 0
        /// Asked without EDNS until then.
        var plainUntil: UInt64 = 0
    }

    private(set) var servers: [Server]

    init(_ addresses: [UpstreamAddress]) { servers = addresses.map { Server(address: $0) } }

    var addresses: [UpstreamAddress] { servers.map(\.address) }

    /// Which servers to ask, in order: those that live, then those that have been dead for longest.
    ///
    /// One whose time is over comes in its own place again, but for one query only: the others go on to pass
    /// it over until it has answered that.
    mutating func order(at now: UInt64, settings: ResolverSettings) -> [Int] {
        var alive: [Int] = []
        for index in servers.indices where servers[index].deadUntil <= now {
            if servers[index].failures >= Self.failuresOfDead {
                servers[index].deadUntil = now + settings.deadTime
            }
            alive.append(index)
        }
        let dead = servers.indices.filter { !alive.contains($0) }.sorted {
            servers[$0].deadUntil < servers[$1].deadUntil
        }
        return alive + dead
    }

    /// Queries in a row without an answer, after which a server is passed over.
    static let failuresOfDead = 2

    func timeout(_ index: Int, settings: ResolverSettings) -> UInt64 {
        guard let roundTrip = servers[index].roundTrip else { return settings.firstTimeout }
        return min(max(UInt64(roundTrip * 4), settings.shortestTimeout), settings.longestTimeout)
    }

    mutating func answered(_ index: Int, after milliseconds: UInt64) {
        let old = servers[index].roundTrip ?? Double(milliseconds)
        servers[index].roundTrip = old * 0.875 + Double(milliseconds) * 0.125
        servers[index].failures = 0
        servers[index].deadUntil = 0
    }

    mutating func failed(_ index: Int, at now: UInt64, settings: ResolverSettings) {
        servers[index].failures += 1
        let beyond = servers[index].failures - Self.failuresOfDead
        guard beyond >= 0 else { return }
        servers[index].deadUntil =
            now + min(settings.deadTime << UInt64(min(beyond, 8)), settings.longestDeadTime)
    }

    mutating func understandsNoEDNS(_ index: Int, at now: UInt64) {
        servers[index].plainUntil = now + 3_600_000
    }
}

/// The sockets through which upstreams are asked; each serves one question at a time.
struct SocketPool: Sendable {
    struct Kind: Hashable, Sendable {
        let transport: DNSTransport
        let family: IPFamily
    }

    private struct Entry: Sendable {
        let kind: Kind
        var lookup: UInt32?
    }

    private var entries: [Entry] = []
    private var free: [Kind: [Int32]] = [:]
    private(set) var counts: [Kind: Int] = [:]

    mutating func add(_ kind: Kind) -> Int32 {
        entries.append(Entry(kind: kind))
        let number = Int32(entries.count - 1)
        free[kind, default: []].append(number)
        counts[kind, default: 0] += 1
        return number
    }

    var count: Int { entries.count }

    mutating func take(_ kind: Kind, for lookup: UInt32) -> Int32? {
        guard let number = free[kind]?.popLast() else { return nil }
        entries[Int(number)].lookup = lookup
        return number
    }

    func hasFree(_ kind: Kind) -> Bool { free[kind]?.isEmpty == false }

    mutating func giveBack(_ number: Int32) {
        let kind = entries[Int(number)].kind
        entries[Int(number)].lookup = nil
        free[kind, default: []].append(number)
    }

    func lookup(of number: Int32) -> UInt32? {
        entries.indices.contains(Int(number)) ? entries[Int(number)].lookup : nil
    }
}

/// A question that upstreams are asked, for all who want to know.
struct Lookup {
    /// Of the answer in the cache.
    let key: UInt64
    let group: UInt64
    var question: UpstreamQuestion
    var waiters: [Parked] = []
    /// Whose socket it takes: the first who asked.
    let owner: Owner
    /// Servers of the group, in the order in which they are asked.
    let order: [Int]
    /// Tells this try from those before.
    var attempt: UInt32 = 0
    /// Which of `order` is asked; past its end they are asked once more.
    var place = 0
    var overTCP = false
    /// Asked without EDNS, whoever is asked.
    var isPlain = false
    var socket: Int32?
    var sent: UInt64 = 0
    let started: UInt64
    /// Messages that came to the socket and were no answer.
    var forged = 0
}
