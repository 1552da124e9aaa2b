internal import Sys
package import Wire

extension NetlinkSocket where Proto == NetfilterProtocol {
    /// The connections that the kernel keeps track of, of one family or both.
    package mutating func conntrackEntries(_ family: IPFamily? = nil) throws(NetlinkError) -> [ConntrackEntry]
    {
        let subject = "list tracked connections"
        let messages = try dump(
            Request(ConntrackMessage.get.type, [], subject: subject) {
                $0.netfilterHeader(family: family?.netfilterFamily ?? 0)
            })
        var entries: [ConntrackEntry] = []
        entries.reserveCapacity(messages.count)
        do throws(DecodeError) {
            for message in messages { if let entry = try ConntrackEntry(message) { entries.append(entry) } }
        } catch {
            throw NetlinkError(.malformed(error), subject)
        }
        return entries
    }

    /// Forgets connections: their next packet is judged as a new connection's. Those that are gone already do
    /// not matter.
    /// - Returns: how many were there.
    @discardableResult
    package mutating func deleteConntrack(_ entries: [ConntrackEntry]) throws(NetlinkError) -> Int {
        var gone = 0
        try perform(entries.map(\.deletion)) { _, errno in
            // ENOENT also where another connection has taken the tuple since: ids differ.
            guard errno == .noEntry else { return false }
            gone += 1
            return true
        }
        return entries.count - gone
    }

    /// Gives connections the marks that the entries have. Those that are gone do not matter.
    package mutating func markConntrack(_ entries: [ConntrackEntry]) throws(NetlinkError) {
        try perform(entries.map(\.marking)) { _, errno in errno == .noEntry }
    }

    /// Forgets all connections of one family or both.
    package mutating func flushConntrack(_ family: IPFamily? = nil) throws(NetlinkError) {
        try perform(
            Request(ConntrackMessage.delete.type, [], subject: "forget all tracked connections") {
                $0.netfilterHeader(family: family?.netfilterFamily ?? 0)
            })
    }

    /// Begins to receive ``ConntrackEvent``s of connections' beginnings and ends. For sockets that do nothing
    /// else.
    package borrowing func subscribeToConntrack() throws(NetlinkError) {
        // NFNLGRP_CONNTRACK_NEW, NFNLGRP_CONNTRACK_DESTROY
        try subscribe(to: 1)
        try subscribe(to: 3)
    }

    /// Begins to receive ``ConntrackEvent``s of connections' beginnings alone. For sockets that do nothing else.
    package borrowing func subscribeToNewConnections() throws(NetlinkError) {
        // NFNLGRP_CONNTRACK_NEW
        try subscribe(to: 1)
    }

    /// Events of one datagram that were told already, or nil where none was.
    /// - Throws: `.socket` with `Errno.noBuffers` when some were lost.
    package mutating func pendingConntrackEvents() throws(NetlinkError) -> [ConntrackEvent]? {
        guard let messages = try pendingNotifications() else { return nil }
        return try Self.events(messages)
    }

    /// Waits for events and returns them.
    /// - Throws: `.socket` with `Errno.noBuffers` when some were lost.
    package mutating func nextConntrackEvents() throws(NetlinkError) -> [ConntrackEvent] {
        try Self.events(nextNotifications())
    }

    private static func events(_ messages: [Message]) throws(NetlinkError) -> [ConntrackEvent] {
        do throws(DecodeError) {
            var events: [ConntrackEvent] = []
            for message in messages { if let event = try ConntrackEvent(message) { events.append(event) } }
            return events
        } catch {
            throw NetlinkError(.malformed(error), "conntrack notification")
        }
    }
}

extension ConntrackEntry {
    /// The request that gives the connection this entry's mark.
    var marking: Request {
        Request(ConntrackMessage.new.type, [], subject: "mark connection \(original)") { writer in
            writer.netfilterHeader(family: original.source.family.netfilterFamily)
            writer.tuple(Cta.original, original)
            if zone != 0 { writer.attributeBE(Cta.zone, zone) }
            writer.attributeBE(Cta.mark, mark)
        }
    }

    /// The request that deletes this entry, and no later one with its tuple.
    var deletion: Request {
        Request(ConntrackMessage.delete.type, [], subject: "forget connection \(original)") { writer in
            writer.netfilterHeader(family: original.source.family.netfilterFamily)
            writer.tuple(Cta.original, original)
            if zone != 0 { writer.attributeBE(Cta.zone, zone) }
            if let id { writer.attributeBE(Cta.id, id) }
        }
    }
}
