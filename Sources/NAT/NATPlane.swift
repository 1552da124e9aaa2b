package import Model
package import Netlink
internal import Sys

/// The fabric's address translation: the kernel's table that follows the networks and published ports.
///
/// The table is there while some network has NAT or some port is translated, and nothing at all otherwise. Owned by one actor. Each
/// mutation is one nf_tables transaction: it is in force when the call returns, or nothing has changed.
/// Connections that were translated before go on under their addresses, whatever becomes of the table.
package struct NATPlane: ~Copyable {
    private var socket: NetlinkSocket<NetfilterProtocol>
    /// Whether the table is ours alone to change (Linux 6.9).
    private let ownsTable: Bool
    private let bridgeGroup: UInt32
    private var wanted = Wanted()
    private struct Wanted {
        var networks: [String: Network] = [:]
        /// By what holds them.
        var published: [String: [NATPublication]] = [:]
    }
    /// A table is there that we could not take over as it is.
    private var isForeign = false

    /// Opens a socket in the calling thread's network namespace, which is the fabric's.
    ///
    /// - Parameters:
    ///   - ownsTable: keep others from changing our table; the kernel must be able to.
    ///   - bridgeGroup: the link group of our bridges.
    package init(ownsTable: Bool, bridgeGroup: UInt32) throws(NATError) {
        do throws(NetlinkError) { socket = try NetlinkSocket() } catch {
            throw NATError(context: "open nf_tables", cause: error)
        }
        self.ownsTable = ownsTable
        self.bridgeGroup = bridgeGroup
    }

    /// What the kernel should hold.
    package var ruleset: NATRuleset {
        NATRuleset(
            wanted.networks.values, published: Set(wanted.published.values.joined()), bridgeGroup: bridgeGroup
        )
    }

    private var table: NftTable {
        var table = NATRuleset.table
        if ownsTable { table.flags = [.owner, .persist] }
        return table
    }

    // MARK: Changes

    /// Takes over networks and ports, those by endpoint, and makes the kernel follow, changing only what differs.
    package mutating func start(
        _ networks: some Sequence<Network>, published: [String: [NATPublication]] = [:]
    ) throws(NATError) {
        for network in networks where network.nat { wanted.networks[network.id] = network }
        wanted.published = published
        try claim()
        try reconcile()
    }

    package mutating func addNetwork(_ network: Network) throws(NATError) {
        guard network.nat else { return }
        try change("network \(network.name)") { $0.networks[network.id] = network }
    }

    package mutating func removeNetwork(id: String) throws(NATError) {
        guard let network = wanted.networks[id] else { return }
        try change("network \(network.name)") { $0.networks[id] = nil }
    }

    /// Leads these ports, and no others, to an endpoint.
    package mutating func publish(_ ports: [NATPublication], to endpointID: String) throws(NATError) {
        guard ports != wanted.published[endpointID] ?? [] else { return }
        try change("published ports") { $0.published[endpointID] = ports.isEmpty ? nil : ports }
    }

    private mutating func change(_ context: String, _ edit: (inout Wanted) -> Void) throws(NATError) {
        let old = ruleset
        let before = wanted
        edit(&wanted)
        let new = ruleset
        do throws(NATError) {
            guard !new.isEmpty else { return old.isEmpty ? () : try remove(context) }
            var batch = NftBatch()
            if old.isEmpty { new.build(table, in: &batch) } else { new.change(from: old, in: &batch) }
            try commit(batch, context)
        } catch {
            wanted = before
            throw error
        }
    }

    /// Compares the kernel with what it should hold and mends the difference.
    /// - Returns: true if anything was amiss.
    @discardableResult
    package mutating func reconcile() throws(NATError) -> Bool {
        let wanted = ruleset
        do throws(NetlinkError) {
            let isThere = try tableIsThere()
            if !isThere, wanted.isEmpty { return false }
            if isThere, !isForeign, !wanted.isEmpty, try holds(wanted) { return false }
        } catch {
            throw NATError(context: "read table \(NATRuleset.table.name)", cause: error)
        }
        var batch = NftBatch()
        batch.destroy(isForeign ? NATRuleset.table : table)
        if !wanted.isEmpty { wanted.build(table, in: &batch) }
        try commit(batch, "build table \(NATRuleset.table.name)")
        isForeign = false
        return true
    }

    /// Removes the table: the namespace is as it was before us.
    package mutating func destroy() throws(NATError) { try remove("remove table \(NATRuleset.table.name)") }

    private mutating func remove(_ context: String) throws(NATError) {
        var batch = NftBatch()
        batch.destroy(isForeign ? NATRuleset.table : table)
        try commit(batch, context)
    }

    private mutating func commit(_ batch: NftBatch, _ context: String) throws(NATError) {
        do throws(NetlinkError) { try socket.commit(batch) } catch {
            throw NATError(context: context, cause: error)
        }
    }

    /// How many connections were translated of each published port since it is there. Clients of UDP are counted
    /// anew when the kernel has forgotten them.
    package mutating func connections() throws(NATError) -> [NATPublication: UInt64] {
        let published = ruleset.published
        var counts: [NATPublication: UInt64] = [:]
        do throws(NetlinkError) {
            for (map, members) in Dictionary(grouping: published, by: \.map) {
                var counters: [[UInt8]: UInt64] = [:]
                for element in try socket.elements(of: map) {
                    counters[element.key] = element.counter?.packets
                }
                for one in members { counts[one] = counters[one.element.key] }
            }
        } catch { throw NATError(context: "read counters", cause: error) }
        return counts
    }

    // MARK: What is there

    private mutating func tableIsThere() throws(NetlinkError) -> Bool {
        let table = NATRuleset.table
        return try socket.listTables().contains { $0.family == table.family && $0.name == table.name }
    }

    private mutating func holds(_ wanted: NATRuleset) throws(NetlinkError) -> Bool {
        let table = NATRuleset.table
        guard Set(try socket.listChains(table)) == Set(NATRuleset.chains) else { return false }
        let rules = try socket.listRules(table)
        let expected = wanted.rules
        guard rules.count == expected.count,
            zip(rules, expected).allSatisfy({
                $0.chain == $1.chain && $0.comment == $1.comment
                    && $0.expressions == $1.expressions.map(\.name)
            })
        else { return false }
        guard Set(try socket.listSets(table).map(\.name)) == Set(NATRuleset.sets.map(\.name)) else {
            return false
        }
        for (set, elements) in wanted.elements {
            func marks(_ elements: [NftElement]) -> Set<Mark> {
                Set(elements.map { Mark(key: $0.key, isEnd: $0.isIntervalEnd, data: $0.data) })
            }
            // The kernel may list the beginning of everything as the end of nothing.
            let present = marks(try socket.elements(of: set)).filter {
                !$0.isEnd || $0.key.contains { $0 != 0 }
            }
            guard present == marks(elements) else { return false }
        }
        return true
    }

    private struct Mark: Hashable {
        let key: [UInt8]
        let isEnd: Bool
        let data: [UInt8]?
    }

    // MARK: Whose the table is

    /// Takes over a table that an earlier manager has left.
    private mutating func claim() throws(NATError) {
        guard ownsTable else { return }
        do throws(NetlinkError) {
            guard try tableIsThere() else { return }
            var batch = NftBatch()
            batch.create(table)
            do throws(NetlinkError) { try socket.commit(batch) } catch {
                // EPERM: another socket has it. Anything else: it was made without an owner, and is replaced.
                guard error.errno != .notPermitted else { throw error }
                isForeign = true
            }
        } catch {
            throw NATError(
                context: "take over table \(NATRuleset.table.name); another manager may have it", cause: error
            )
        }
    }

    /// Lets another manager take the table over, though this plane is still there.
    package mutating func disown() {
        // An owner is a socket that is open; there is no other way to give its tables up.
        guard ownsTable, let other = try? NetlinkSocket<NetfilterProtocol>() else { return }
        socket = other
    }

    /// The netlink port that our transactions come from.
    package var port: UInt32 { socket.port }

    /// Whether an event concerns our table.
    package static func isAbout(_ event: NftEvent) -> Bool {
        let ours = NATRuleset.table
        return switch event.subject {
        case .table(let table), .chain(_, let table), .rule(_, _, let table), .set(_, let table),
            .elements(_, _, let table):
            table.family == ours.family && table.name == ours.name
        case .generation: false
        }
    }
}
