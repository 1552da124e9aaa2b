internal import Model
internal import Wire

/// The addresses outside that endpoints were told, by the names that they asked for and until when: what lets
/// rules speak of domains.
///
/// A name lasts for as long as its record may be cached, and a while at least. Connections that began under
/// it last longer: an address whose names have all ended *lingers* while there are any.
struct ToldNames: Sendable {
    struct Entry: Hashable, Sendable {
        /// Milliseconds since 1970, by name.
        var names: [String: Int64] = [:]
        /// Names of which a connection may be left.
        var lingering: Set<String> = []

        var isOver: Bool { names.isEmpty && lingering.isEmpty }
    }

    /// By endpoint and address.
    private(set) var entries: [String: [IPAddress: Entry]] = [:]
    /// Of one endpoint: names that rotate through more addresses push out those that end first.
    static let addressLimit = 4096
    /// Names of one address that are remembered of one endpoint.
    static let nameLimit = 64
    /// A record that may be cached for less is good for this long: who was just told connects a little later.
    static let shortest: Int64 = 60_000
    static let longest: Int64 = 24 * 3_600_000

    /// Adds names.
    /// - Returns: addresses that had to go, besides those given.
    mutating func add(
        _ name: String, _ addresses: [(address: IPAddress, ttlSeconds: UInt32)], of endpointID: String,
        now: Int64
    ) -> [IPAddress] {
        var known = entries[endpointID] ?? [:]
        for (address, ttl) in addresses {
            let end = now + min(max(Int64(ttl) * 1000, Self.shortest), Self.longest)
            var entry = known[address] ?? Entry()
            entry.names[name] = max(entry.names[name] ?? 0, end)
            entry.lingering.remove(name)
            if entry.names.count > Self.nameLimit,
                let first = entry.names.filter({ $0.key != name }).min(by: { $0.value < $1.value })
            {
                entry.names[first.key] = nil
            }
            known[address] = entry
        }
        var gone: [IPAddress] = []
        if known.count > Self.addressLimit {
            let new = Set(addresses.map(\.address))
            let ends = known.filter { !new.contains($0.key) }.map {
                (address: $0.key, end: $0.value.names.values.max() ?? 0)
            }.sorted { $0.end < $1.end }
            gone = ends.prefix(known.count - Self.addressLimit).map(\.address)
            for address in gone { known[address] = nil }
        }
        entries[endpointID] = known
        return gone
    }

    /// Puts back what was stored.
    mutating func insert(_ record: ToldName) {
        entries[record.endpointID, default: [:]][record.address, default: Entry()].names[record.name] =
            record.until
    }

    /// By which names an endpoint knows an address now.
    func names(of address: IPAddress, toldTo endpointID: String) -> Set<String> {
        Set(entries[endpointID]?[address]?.names.keys.map(\.self) ?? [])
    }

    /// As `names`, those with connections left too.
    func everyName(of address: IPAddress, toldTo endpointID: String) -> Set<String> {
        guard let entry = entries[endpointID]?[address] else { return [] }
        return entry.lingering.union(entry.names.keys)
    }

    /// Any address that the endpoint knows by this name.
    func address(of name: String, toldTo endpointID: String, _ family: IPFamily) -> IPAddress? {
        entries[endpointID]?.first { $0.key.family == family && $0.value.names[name] != nil }?.key
    }

    /// When the next name ends.
    var nextEnd: Int64? {
        entries.values.lazy.flatMap { $0.values.lazy.flatMap(\.names.values) }.min()
    }

    /// Lets names linger whose time is over.
    /// - Returns: where names have ended.
    mutating func endNames(now: Int64) -> [(endpointID: String, address: IPAddress)] {
        var changed: [(endpointID: String, address: IPAddress)] = []
        for (endpoint, known) in entries {
            for (address, entry) in known {
                let over = entry.names.filter { $0.value <= now }.map(\.key)
                guard !over.isEmpty else { continue }
                for name in over { entries[endpoint]?[address]?.names[name] = nil }
                entries[endpoint]?[address]?.lingering.formUnion(over)
                changed.append((endpoint, address))
            }
        }
        return changed
    }

    /// The addresses that have names which linger.
    var lingering: [(endpointID: String, address: IPAddress)] {
        entries.flatMap { endpoint, known in
            known.filter { !$0.value.lingering.isEmpty }.map { (endpoint, $0.key) }
        }
    }

    /// No connection of it is left.
    mutating func forgetLingering(_ address: IPAddress, of endpointID: String) {
        entries[endpointID]?[address]?.lingering = []
        if entries[endpointID]?[address]?.isOver ?? false { entries[endpointID]?[address] = nil }
        if entries[endpointID]?.isEmpty ?? false { entries[endpointID] = nil }
    }

    /// - Returns: the addresses that it was told.
    mutating func forget(endpointID: String) -> [IPAddress] {
        entries.removeValue(forKey: endpointID)?.keys.map(\.self) ?? []
    }
}
