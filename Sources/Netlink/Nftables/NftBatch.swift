internal import Wire

/// Changes that the kernel makes all at once or not at all. A value: nothing happens before `commit`.
///
/// Changes take effect in order, so a set may be made and used by a rule in one batch. For sets of ranges the
/// kernel wants a net difference: all removals before all additions, and nothing removed that the same batch
/// has added.
package struct NftBatch: Hashable, Sendable {
    /// The changes, in order.
    package private(set) var messages: [Request] = []
    private var setCount: UInt32 = 0

    package init() {}

    package var isEmpty: Bool { messages.isEmpty }

    /// Bytes of the one datagram that the batch becomes.
    package var encodedSize: Int { encoded(firstSequence: 0, port: 0, generation: 0).count }

    // MARK: Tables

    /// Makes the table unless it is there.
    package mutating func create(_ table: NftTable) {
        append(.newTable, .create, table, "create table \(table.name)") { writer in
            writer.attribute(Nfta.Table.name, string: table.name)
            if !table.flags.isEmpty { writer.attributeBE(Nfta.Table.flags, table.flags.rawValue) }
        }
    }

    /// Deletes the table with all that is in it; it must be there.
    package mutating func delete(_ table: NftTable) {
        append(.deleteTable, [], table, "delete table \(table.name)") {
            $0.attribute(Nfta.Table.name, string: table.name)
        }
    }

    /// Deletes the table whether it is there or not.
    package mutating func destroy(_ table: NftTable) {
        // NFT_MSG_DESTROYTABLE is younger than the oldest kernel we run on; this does the same.
        create(table)
        delete(table)
    }

    // MARK: Chains and rules

    /// Makes the chain, or changes the policy of the one that is there.
    package mutating func create(_ chain: NftChain) {
        append(.newChain, .create, chain.table, "create chain \(chain.name)") { writer in
            writer.attribute(Nfta.Chain.table, string: chain.table.name)
            writer.attribute(Nfta.Chain.name, string: chain.name)
            guard let hook = chain.hook else { return }
            writer.nested(Nfta.Chain.hook) { writer in
                writer.attributeBE(Nfta.Hook.number, hook.number)
                writer.attributeBE(Nfta.Hook.priority, hook.priority)
                if let device = hook.device { writer.attribute(Nfta.Hook.device, string: device) }
            }
            writer.attributeBE(Nfta.Chain.policy, chain.policy.rawValue)
            writer.attribute(Nfta.Chain.type, string: hook.type)
        }
    }

    /// Deletes the chain with its rules; nothing may jump to it any more.
    package mutating func delete(_ chain: NftChain) {
        append(.deleteChain, [], chain.table, "delete chain \(chain.name)") { writer in
            writer.attribute(Nfta.Chain.table, string: chain.table.name)
            writer.attribute(Nfta.Chain.name, string: chain.name)
        }
    }

    /// Deletes the chain's rules.
    package mutating func flush(_ chain: NftChain) {
        append(.deleteRule, [], chain.table, "flush chain \(chain.name)") { writer in
            writer.attribute(Nfta.Rule.table, string: chain.table.name)
            writer.attribute(Nfta.Rule.chain, string: chain.name)
        }
    }

    /// Puts the rule behind the others of its chain.
    package mutating func add(_ rule: NftRule) {
        let subject = "add rule" + (rule.comment.map { " \"\($0)\"" } ?? "") + " to chain \(rule.chain)"
        append(.newRule, [.create, .append], rule.table, subject) { writer in
            writer.attribute(Nfta.Rule.table, string: rule.table.name)
            writer.attribute(Nfta.Rule.chain, string: rule.chain)
            writer.expressions(Nfta.Rule.expressions, rule.expressions)
            if let comment = rule.comment {
                writer.attribute(Nfta.Rule.userdata, bytes: NftNote.comment(NftNote.ruleComment, comment))
            }
        }
    }

    /// Deletes one rule, by the handle that the kernel gave it.
    package mutating func delete(ruleHandle handle: UInt64, chain: String, table: NftTable) {
        append(.deleteRule, [], table, "delete rule \(handle) of chain \(chain)") { writer in
            writer.attribute(Nfta.Rule.table, string: table.name)
            writer.attribute(Nfta.Rule.chain, string: chain)
            writer.attributeBE(Nfta.Rule.handle, handle)
        }
    }

    // MARK: Sets

    /// Makes the set unless one of the same kind is there.
    package mutating func create(_ set: NftSet) {
        setCount += 1
        let id = setCount
        append(.newSet, .create, set.table, "create set \(set.name)") { set.encode(into: &$0, id: id) }
    }

    /// Deletes the set; no rule may use it any more.
    package mutating func delete(_ set: NftSet) {
        append(.deleteSet, [], set.table, "delete set \(set.name)") { writer in
            writer.attribute(Nfta.Set.table, string: set.table.name)
            writer.attribute(Nfta.Set.name, string: set.name)
        }
    }

    /// Deletes the set's elements.
    package mutating func flush(_ set: NftSet) {
        append(.deleteElement, [], set.table, "flush set \(set.name)") { writer in
            writer.attribute(Nfta.ElementList.table, string: set.table.name)
            writer.attribute(Nfta.ElementList.set, string: set.name)
        }
    }

    /// Adds elements. One that is there with the same value is left alone; with another value it is an error
    /// (EEXIST).
    package mutating func add(_ elements: [NftElement], to set: NftSet) {
        change(.newElement, .create, elements, set, "add", "to", keyOnly: false)
    }

    /// Removes elements, found by their keys. One that is not there is an error (ENOENT).
    package mutating func remove(_ elements: [NftElement], from set: NftSet) {
        change(.deleteElement, [], elements, set, "remove", "from", keyOnly: true)
    }

    /// What a nest holds at most: its length is 16 bits wide, header included.
    private static let nestLimit = 65_535 - 4

    /// Spreads elements over as many messages as their lists need.
    private mutating func change(
        _ kind: NftMessage, _ flags: MessageFlags, _ elements: [NftElement], _ set: NftSet, _ verb: String,
        _ preposition: String, keyOnly: Bool
    ) {
        func message(_ list: ArraySlice<UInt8>, _ count: Int) {
            guard count > 0 else { return }
            let subject =
                "\(verb) \(count) element\(count == 1 ? "" : "s") \(preposition) set \(set.name)"
            append(kind, flags, set.table, subject, capacity: list.count + 128) { writer in
                writer.attribute(Nfta.ElementList.table, string: set.table.name)
                writer.attribute(Nfta.ElementList.set, string: set.name)
                writer.nested(Nfta.ElementList.elements) { $0.append(list) }
            }
        }
        var list = PayloadWriter(capacity: min(elements.count * 64, NftBatch.nestLimit))
        var count = 0
        for element in elements {
            let start = list.buffer.count
            list.nested(Nfta.List.element) { element.encode(into: &$0, keyOnly: keyOnly) }
            if list.buffer.count > NftBatch.nestLimit {
                let full = list.buffer.bytes
                message(full[..<start], count)
                list = PayloadWriter(capacity: NftBatch.nestLimit)
                list.append(full[start...])
                count = 0
            }
            count += 1
        }
        message(list.buffer.bytes[...], count)
    }

    // MARK: Encoding

    private mutating func append(
        _ kind: NftMessage, _ flags: MessageFlags, _ table: NftTable, _ subject: String, capacity: Int = 256,
        _ build: (inout PayloadWriter) -> Void
    ) {
        messages.append(
            Request(kind.type, flags, subject: subject, capacity: capacity) { writer in
                writer.netfilterHeader(family: table.family.rawValue)
                build(&writer)
            })
    }

    /// The datagram: a begin message, the changes, an end message, with sequence numbers in a row.
    /// The last change asks for an acknowledgement; the kernel answers any that failed unasked.
    func encoded(firstSequence: UInt32, port: UInt32, generation: UInt32?) -> [UInt8] {
        var buffer = ByteWriter(capacity: messages.reduce(64) { $0 + $1.encodedLength })
        var sequence = firstSequence
        func bound(_ type: UInt16, _ build: (inout PayloadWriter) -> Void) {
            let request = Request(MessageType(rawValue: type), .request, subject: "") { writer in
                writer.netfilterHeader(family: 0, resource: NftMessage.subsystem)
                build(&writer)
            }
            request.encode(into: &buffer, sequence: sequence, port: port)
            sequence &+= 1
        }
        // NFNL_MSG_BATCH_BEGIN, NFNL_BATCH_GENID
        bound(16) { writer in if let generation { writer.attributeBE(1, generation) } }
        for (index, message) in messages.enumerated() {
            var message = message
            message.flags.insert(.request)
            if index == messages.count - 1 { message.flags.insert(.acknowledge) }
            message.encode(into: &buffer, sequence: sequence, port: port)
            sequence &+= 1
        }
        // NFNL_MSG_BATCH_END
        bound(17) { _ in }
        return buffer.bytes
    }
}

extension PayloadWriter {
    /// `struct nfgenmsg`, which every netfilter message begins with.
    mutating func netfilterHeader(family: UInt8, resource: UInt16 = 0) {
        header { writer in
            writer.integer(family)
            // NFNETLINK_V0
            writer.integer(UInt8(0))
            writer.integerBE(resource)
        }
    }
}
