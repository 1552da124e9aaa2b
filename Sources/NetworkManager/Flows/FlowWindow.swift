internal import Firewall
internal import Model
internal import Wire

/// What makes flows equal: they are told as one, with their number.
struct FlowKey: Hashable, Sendable {
    /// Why it was denied; nil for a connection that was allowed.
    var outcome: Outcome?
    /// Seen from the endpoint that a denial is counted for; of a connection, from the one that began it.
    var direction: Direction
    /// The fabric's end of the sender's link, by number, where the address cannot be trusted; else 0.
    var port: UInt32
    var etherType: UInt16
    var l4proto: UInt8?
    var source: IPAddress?
    var destination: IPAddress?
    var destinationPort: UInt16?
    var icmpType: UInt8?
}

/// Whom and what a key speaks of.
struct FlowMeaning: Hashable, Sendable {
    var direction: Direction
    var member: NetworkMember?
    var peer: NetworkMember?
    var peerIsGateway = false
    var reason: DenialReason?
}

/// The flows of about a second, equal ones as one. No IO, no clock.
struct FlowWindow {
    private struct Entry {
        var time: UInt64
        var count: UInt64
        var sourcePort: UInt16?
        var meaning: FlowMeaning?
    }

    private var entries: [FlowKey: Entry] = [:]
    /// In the order of their first.
    private var order: [FlowKey] = []
    /// How many of `order` have been asked for by `takeNew`.
    private var taken = 0

    var isEmpty: Bool { order.isEmpty }
    /// How many different flows there are.
    var count: Int { order.count }

    mutating func add(_ key: FlowKey, time: UInt64, sourcePort: UInt16?) {
        if let place = entries.index(forKey: key) {
            entries.values[place].count += 1
            if entries.values[place].sourcePort != sourcePort { entries.values[place].sourcePort = nil }
        } else {
            entries[key] = Entry(time: time, count: 1, sourcePort: sourcePort)
            order.append(key)
        }
    }

    /// Keys that nobody has been asked about yet.
    mutating func takeNew(atMost limit: Int) -> [FlowKey] {
        let new = Array(order[taken...].prefix(limit))
        taken += new.count
        return new
    }

    mutating func resolve(_ keys: [FlowKey], _ meanings: [FlowMeaning?]) {
        for (key, meaning) in zip(keys, meanings) { entries[key]?.meaning = meaning }
    }

    /// Ends the window. Flows that have no meaning, since no endpoint has part in them, are left out.
    mutating func close() -> [FlowRecord] {
        let records = order.compactMap { key -> FlowRecord? in
            guard let entry = entries[key], let meaning = entry.meaning else { return nil }
            return FlowRecord(
                time: entry.time, verdict: key.outcome.map { $0.isAudit ? .audit : .deny } ?? .allow,
                direction: meaning.direction,
                member: meaning.member, peer: meaning.peer, peerIsGateway: meaning.peerIsGateway,
                etherType: key.etherType, l4proto: key.l4proto, source: key.source,
                destination: key.destination, sourcePort: entry.sourcePort,
                destinationPort: key.destinationPort, icmpType: key.icmpType, reason: meaning.reason,
                count: entry.count)
        }
        self = FlowWindow()
        return records
    }
}
