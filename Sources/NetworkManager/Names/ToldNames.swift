internal import Firewall
internal import Model
internal import Wire

/// The addresses outside that endpoints were told, by the names that they asked for and until when: what lets
/// rules speak of domains.
///
/// A name lasts for as long as its record may be cached, and a while at least. Connections that began under
/// it last longer: a name that has ended *lingers* while there are any, for the next manager too.
///
/// What is to change is said by a `Change`, which is applied once kernel and store have followed.
struct ToldNames: Sendable {
    struct Entry: Hashable, Sendable {
        /// Milliseconds since 1970, by name.
        fileprivate(set) var names: [String: Int64] = [:]
        /// Names of which a connection may be left, and when they ended.
        fileprivate(set) var lingering: [String: Int64] = [:]

        fileprivate var isOver: Bool { names.isEmpty && lingering.isEmpty }
        /// As it is stored.
        fileprivate var rows: [String: Int64] { names.merging(lingering) { max($0, $1) } }

        fileprivate mutating func add(_ name: String, until end: Int64) {
            names[name] = max(names[name] ?? 0, end)
            lingering[name] = nil
            Self.limit(&names, keeping: name)
        }

        fileprivate mutating func linger(_ name: String, since end: Int64) {
            names[name] = nil
            lingering[name] = end
            Self.limit(&lingering)
        }

        /// Those that end first make room.
        private static func limit(_ names: inout [String: Int64], keeping kept: String? = nil) {
            while names.count > ToldNames.nameLimit,
                let first = names.filter({ $0.key != kept }).min(by: { $0.value < $1.value })
            {
                names[first.key] = nil
            }
        }
    }

    struct Place: Hashable, Sendable {
        let endpointID: String
        let address: IPAddress
    }

    /// What becomes of some entries.
    struct Change: Sendable {
        fileprivate(set) var before: [Place: Entry] = [:]
        fileprivate(set) var after: [Place: Entry] = [:]

        var reversed: Change { Change(before: after, after: before) }

        /// Where other names are in force then.
        var peers: [NamedPeer] {
            after.compactMap { place, entry in
                guard before[place]?.names.keys != entry.names.keys else { return nil }
                return NamedPeer(
                    endpointID: place.endpointID, address: place.address, names: Set(entry.names.keys))
            }
        }

        /// What is to be stored.
        var saved: [ToldName] {
            after.flatMap { place, entry in
                let old = before[place]?.rows ?? [:]
                return entry.rows.filter { old[$0.key] != $0.value }.map { place.told($0.key, $0.value) }
            }
        }

        /// What is not to be stored any more.
        var forgotten: [ToldName] {
            before.flatMap { place, entry in
                let new = after[place]?.rows ?? [:]
                return entry.rows.filter { new[$0.key] == nil }.map { place.told($0.key, $0.value) }
            }
        }
    }

    /// By endpoint and address.
    private(set) var entries: [String: [IPAddress: Entry]] = [:]
    /// Of one endpoint: names that rotate through more addresses push out those that end first.
    static let addressLimit = 4096
    /// Names of one address that are remembered of one endpoint, and as many that linger.
    static let nameLimit = 64
    /// A record that may be cached for less is good for this long: who was just told connects a little later.
    static let shortest: Int64 = 60_000
    static let longest: Int64 = 24 * 3_600_000

    // MARK: Changes

    /// What becomes of it when an endpoint is told these addresses for a name: fewer than `addressLimit`.
    func adding(
        _ name: String, _ addresses: [(address: IPAddress, ttlSeconds: UInt32)], of endpointID: String,
        now: Int64
    ) -> Change {
        let known = entries[endpointID] ?? [:]
        var change = Change()
        for (address, ttl) in addresses {
            let place = Place(endpointID: endpointID, address: address)
            let end = now + min(max(Int64(ttl) * 1000, Self.shortest), Self.longest)
            let old = known[address] ?? Entry()
            change.before[place] = old
            change.after[place, default: old].add(name, until: end)
        }
        let count = known.count + change.after.keys.count { known[$0.address] == nil }
        if count > Self.addressLimit {
            let rest = known.filter { change.after[Place(endpointID: endpointID, address: $0.key)] == nil }
            for (address, entry) in Self.firstToEnd(rest, count - Self.addressLimit) {
                let place = Place(endpointID: endpointID, address: address)
                change.before[place] = entry
                change.after[place] = Entry()
            }
        }
        return change
    }

    /// Those that go first when there are too many.
    private static func firstToEnd(_ known: [IPAddress: Entry], _ count: Int) -> [(IPAddress, Entry)] {
        known.map { (address: $0.key, entry: $0.value, end: $0.value.names.values.max() ?? 0) }
            .sorted { $0.end < $1.end }.prefix(count).map { ($0.address, $0.entry) }
    }

    /// What becomes of it when names linger whose time is over.
    func ending(now: Int64) -> Change {
        var change = Change()
        for (endpoint, known) in entries {
            for (address, entry) in known {
                let over = entry.names.filter { $0.value <= now }
                guard !over.isEmpty else { continue }
                let place = Place(endpointID: endpoint, address: address)
                change.before[place] = entry
                var left = entry
                for (name, end) in over { left.linger(name, since: end) }
                change.after[place] = left
            }
        }
        return change
    }

    /// What becomes of it when no connection is left of what lingers there.
    func forgettingLingering(_ places: [Place]) -> Change {
        var change = Change()
        for place in places {
            guard let entry = entries[place.endpointID]?[place.address] else { continue }
            change.before[place] = entry
            change.after[place] = Entry(names: entry.names)
        }
        return change
    }

    mutating func apply(_ change: Change) {
        for (place, entry) in change.after {
            entries[place.endpointID, default: [:]][place.address] = entry.isOver ? nil : entry
            if entries[place.endpointID]?.isEmpty ?? false { entries[place.endpointID] = nil }
        }
    }

    /// Puts back what was stored; what ended meanwhile lingers.
    /// - Returns: what is too much.
    mutating func load(_ records: [ToldName], now: Int64) -> [ToldName] {
        for record in records {
            entries[record.endpointID, default: [:]][record.address, default: Entry()].load(record, now: now)
        }
        for (endpointID, known) in entries where known.count > Self.addressLimit {
            for (address, _) in Self.firstToEnd(known, known.count - Self.addressLimit) {
                entries[endpointID]?[address] = nil
            }
        }
        return records.filter { entries[$0.endpointID]?[$0.address]?.rows[$0.name] == nil }
    }

    /// - Returns: the addresses that it was told.
    mutating func forget(endpointID: String) -> [IPAddress] {
        entries.removeValue(forKey: endpointID)?.keys.map(\.self) ?? []
    }

    // MARK: What is known

    /// By which names endpoints know addresses now.
    var current: [String: [IPAddress: Set<String>]] {
        entries.mapValues { known in
            known.filter { !$0.value.names.isEmpty }.mapValues { Set($0.names.keys) }
        }
    }

    /// By which names an endpoint knows an address now.
    func names(of address: IPAddress, toldTo endpointID: String) -> Set<String> {
        Set(entries[endpointID]?[address]?.names.keys.map(\.self) ?? [])
    }

    /// As `names`, those with connections left too.
    func everyName(of address: IPAddress, toldTo endpointID: String) -> Set<String> {
        guard let entry = entries[endpointID]?[address] else { return [] }
        return Set(entry.lingering.keys).union(entry.names.keys)
    }

    /// Any address that the endpoint knows by this name.
    func address(of name: String, toldTo endpointID: String, _ family: IPFamily) -> IPAddress? {
        entries[endpointID]?.first { $0.key.family == family && $0.value.names[name] != nil }?.key
    }

    /// When the next name ends.
    var nextEnd: Int64? {
        entries.values.lazy.flatMap { $0.values.lazy.flatMap(\.names.values) }.min()
    }

    /// Where names linger.
    var lingering: [Place] {
        entries.flatMap { endpoint, known in
            known.filter { !$0.value.lingering.isEmpty }.map { Place(endpointID: endpoint, address: $0.key) }
        }
    }
}

extension ToldNames.Entry {
    fileprivate mutating func load(_ record: ToldName, now: Int64) {
        if record.until > now {
            add(record.name, until: record.until)
        } else {
            linger(record.name, since: record.until)
        }
    }
}

extension ToldNames.Place {
    fileprivate func told(_ name: String, _ end: Int64) -> ToldName {
        ToldName(endpointID: endpointID, name: name, address: address, until: end)
    }
}
