package import Wire

/// A change that someone committed.
package struct NftEvent: Hashable, Sendable {
    package enum Subject: Hashable, Sendable {
        case table(NftTable)
        case chain(String, NftTable)
        case rule(handle: UInt64, chain: String, NftTable)
        case set(String, NftTable)
        case elements([NftElement], set: String, NftTable)
        /// The end of a batch: the new generation, and who made it, by a process number of the *initial* pid
        /// namespace.
        case generation(UInt32, processID: UInt32, processName: String)
    }

    package let subject: Subject
    package let isRemoval: Bool
    /// The netlink port that the change came through; ours is ``NetlinkSocket/port``.
    package let port: UInt32

    /// nil for messages that are not of nf_tables or about objects we do not use.
    package init?(_ message: Message) throws(DecodeError) {
        guard let kind = NftMessage(message.type) else { return nil }
        let (family, attributes) = try nftAttributes(message)
        // The table's name is attribute 1 in every kind of message but a generation's.
        func text(_ type: UInt16) -> String { attributes[type: type]?.string ?? "" }
        let table = NftTable(family: family, name: text(Nfta.Table.name))
        switch kind {
        case .newTable, .deleteTable: subject = .table(table)
        case .newChain, .deleteChain: subject = .chain(text(Nfta.Chain.name), table)
        case .newRule, .deleteRule:
            subject = .rule(
                handle: try attributes[type: Nfta.Rule.handle]?.integerBE() ?? 0,
                chain: text(Nfta.Rule.chain), table)
        case .newSet, .deleteSet: subject = .set(text(Nfta.Set.name), table)
        case .newElement, .deleteElement:
            subject = .elements(try NftElement.list(attributes), set: text(Nfta.ElementList.set), table)
        case .newGeneration:
            subject = .generation(
                try attributes[type: Nfta.Generation.id]?.integerBE() ?? 0,
                processID: try attributes[type: Nfta.Generation.processID]?.integerBE() ?? 0,
                processName: text(Nfta.Generation.processName))
        case .getTable, .getChain, .getRule, .getSet, .getElement, .getGeneration:
            return nil
        }
        isRemoval = [.deleteTable, .deleteChain, .deleteRule, .deleteSet, .deleteElement].contains(kind)
        port = message.port
    }
}

extension NetlinkSocket where Proto == NetfilterProtocol {
    /// Begins to receive ``NftEvent``s. For sockets that do nothing else.
    package borrowing func subscribeToNftables() throws(NetlinkError) {
        // NFNLGRP_NFTABLES
        try subscribe(to: 7)
    }

    /// Changes that were told already, or nil where none was.
    /// - Throws: `.socket` with `Errno.noBuffers` when some were lost: read everything again.
    package mutating func pendingNftEvents() throws(NetlinkError) -> [NftEvent]? {
        guard let messages = try pendingNotifications() else { return nil }
        do throws(DecodeError) {
            var events: [NftEvent] = []
            for message in messages { if let event = try NftEvent(message) { events.append(event) } }
            return events
        } catch {
            throw NetlinkError(.malformed(error), "nftables notification")
        }
    }
}
