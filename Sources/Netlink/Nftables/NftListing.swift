package import Wire

/// A rule as the kernel lists it.
package struct NftRuleInfo: Hashable, Sendable {
    package let chain: String
    package let handle: UInt64
    /// Names of the expressions, in order.
    package let expressions: [String]
    /// Of the first counter among them.
    package let counter: NftCounter?
    package let comment: String?
}

/// A set as the kernel lists it. Parts of the key are not told apart where nft does not do so either.
package struct NftSetInfo: Hashable, Sendable {
    package let name: String
    package let flags: NftSetFlags
    package let keyLength: Int
    package let comment: String?
}

extension NetlinkSocket where Proto == NetfilterProtocol {
    /// The tables of all families.
    package mutating func listTables() throws(NetlinkError) -> [NftTable] {
        try list(.getTable, family: NftFamily(rawValue: 0), "list tables") { _ in
        } decode: { family, attributes throws(DecodeError) in
            NftTable(
                family: family, name: attributes[type: Nfta.Table.name]?.string ?? "",
                flags: NftTable.Flags(rawValue: try attributes[type: Nfta.Table.flags]?.integerBE() ?? 0))
        }
    }

    package mutating func listChains(_ table: NftTable) throws(NetlinkError) -> [NftChain] {
        try list(.getChain, family: table.family, "list chains of table \(table.name)") { _ in
        } decode: { _, attributes throws(DecodeError) in
            guard attributes[type: Nfta.Chain.table]?.string == table.name else { return nil }
            return try NftChain(attributes, table)
        }
    }

    package mutating func listSets(_ table: NftTable) throws(NetlinkError) -> [NftSetInfo] {
        try list(.getSet, family: table.family, "list sets of table \(table.name)") { writer in
            writer.attribute(Nfta.Set.table, string: table.name)
        } decode: { _, attributes throws(DecodeError) in
            guard attributes[type: Nfta.Set.table]?.string == table.name else { return nil }
            return try NftSetInfo(attributes)
        }
    }

    package mutating func listRules(_ table: NftTable) throws(NetlinkError) -> [NftRuleInfo] {
        try list(.getRule, family: table.family, "list rules of table \(table.name)") { writer in
            writer.attribute(Nfta.Rule.table, string: table.name)
        } decode: { _, attributes throws(DecodeError) in
            guard attributes[type: Nfta.Rule.table]?.string == table.name else { return nil }
            return try NftRuleInfo(attributes)
        }
    }

    /// The set's elements, in the kernel's order.
    package mutating func elements(of set: NftSet) throws(NetlinkError) -> [NftElement] {
        let lists = try list(.getElement, family: set.table.family, "list elements of set \(set.name)") {
            writer in
            writer.attribute(Nfta.ElementList.table, string: set.table.name)
            writer.attribute(Nfta.ElementList.set, string: set.name)
        } decode: { _, attributes throws(DecodeError) in
            try NftElement.list(attributes)
        }
        return lists.flatMap(\.self)
    }

    /// A number that grows with every batch that anyone commits in this network namespace.
    package mutating func generationID() throws(NetlinkError) -> UInt32 {
        let subject = "read nftables generation"
        let answer = try perform(
            Request(NftMessage.getGeneration.type, [], subject: subject) {
                $0.netfilterHeader(family: 0)
            })
        do throws(DecodeError) {
            for message in answer {
                let attributes = try nftAttributes(message).attributes
                if let id: UInt32 = try attributes[type: Nfta.Generation.id]?.integerBE() { return id }
            }
        } catch {
            throw NetlinkError(.malformed(error), subject)
        }
        throw NetlinkError(.silent, subject)
    }

    /// Dumps one kind of object.
    private mutating func list<Value>(
        _ kind: NftMessage, family: NftFamily, _ subject: String, filter: (inout PayloadWriter) -> Void,
        decode: (NftFamily, [Attribute]) throws(DecodeError) -> Value?
    ) throws(NetlinkError) -> [Value] {
        let messages = try dump(
            Request(kind.type, [], subject: subject) { writer in
                writer.netfilterHeader(family: family.rawValue)
                filter(&writer)
            })
        var values: [Value] = []
        do throws(DecodeError) {
            for message in messages {
                let (family, attributes) = try nftAttributes(message)
                if let value = try decode(family, attributes) { values.append(value) }
            }
        } catch {
            throw NetlinkError(.malformed(error), subject)
        }
        return values
    }
}

/// What follows a message's `struct nfgenmsg`, and the family in it.
func nftAttributes(_ message: Message) throws(DecodeError) -> (family: NftFamily, attributes: [Attribute]) {
    var reader = ByteReader(message.payload)
    let family: UInt8 = try reader.integer("nfgen_family")
    try reader.skip(3, "nfgenmsg")
    return (NftFamily(rawValue: family), try Attribute.parse(reader.rest))
}

extension NftChain {
    package init(_ attributes: [Attribute], _ table: NftTable) throws(DecodeError) {
        var hook: NftHook?
        if let parts = try attributes[type: Nfta.Chain.hook]?.nested() {
            hook = NftHook(
                number: try parts[type: Nfta.Hook.number]?.integerBE() ?? 0,
                priority: try parts[type: Nfta.Hook.priority]?.integerBE() ?? 0,
                type: attributes[type: Nfta.Chain.type]?.string ?? "",
                device: parts[type: Nfta.Hook.device]?.string)
        }
        let policy: UInt32 = try attributes[type: Nfta.Chain.policy]?.integerBE() ?? NftPolicy.accept.rawValue
        self.init(
            table: table, name: attributes[type: Nfta.Chain.name]?.string ?? "", hook: hook,
            policy: NftPolicy(rawValue: policy) ?? .accept)
    }
}

extension NftSetInfo {
    package init(_ attributes: [Attribute]) throws(DecodeError) {
        name = attributes[type: Nfta.Set.name]?.string ?? ""
        flags = NftSetFlags(rawValue: try attributes[type: Nfta.Set.flags]?.integerBE() ?? 0)
        keyLength = Int(try attributes[type: Nfta.Set.keyLength]?.integerBE(as: UInt32.self) ?? 0)
        comment = attributes[type: Nfta.Set.userdata].flatMap {
            NftNote.comment(in: $0.payload, kind: NftNote.setComment)
        }
    }
}

extension NftRuleInfo {
    package init(_ attributes: [Attribute]) throws(DecodeError) {
        chain = attributes[type: Nfta.Rule.chain]?.string ?? ""
        handle = try attributes[type: Nfta.Rule.handle]?.integerBE() ?? 0
        var names: [String] = []
        var counter: NftCounter?
        for entry in try attributes[type: Nfta.Rule.expressions]?.nested() ?? [] {
            names.append(try entry.nested()[type: Nfta.Expression.name]?.string ?? "")
            if counter == nil { counter = try NftCounter(expression: entry) }
        }
        expressions = names
        self.counter = counter
        comment = attributes[type: Nfta.Rule.userdata].flatMap {
            NftNote.comment(in: $0.payload, kind: NftNote.ruleComment)
        }
    }
}

extension NftElement {
    /// The elements of one message.
    package static func list(_ attributes: [Attribute]) throws(DecodeError) -> [NftElement] {
        var elements: [NftElement] = []
        for entry in try attributes[type: Nfta.ElementList.elements]?.nested() ?? [] {
            elements.append(try NftElement(entry.nested()))
        }
        return elements
    }
}
