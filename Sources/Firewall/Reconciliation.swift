internal import Model
internal import Netlink
internal import Wire

/// Making the kernel hold what it should.
extension FirewallPlane {
    /// Compares the kernel with what it should hold and mends the difference.
    /// - Returns: true if anything was amiss.
    @discardableResult
    package mutating func reconcile() throws(FirewallError) -> Bool {
        var isIntact = false
        if unowned.isEmpty { isIntact = try structureIsIntact() }
        guard isIntact else {
            try rebuild()
            unowned = []
            return true
        }
        var changes = ElementChanges()
        for (set, desired) in desiredElements() {
            let observed: [NftElement]
            do throws(NetlinkError) { observed = try socket.elements(of: generation.set(set)) } catch {
                throw FirewallError(code: .kernel, context: "read set \(set.name)", cause: error)
            }
            let have = set.entries(observed)
            let want = set.entries(desired)
            let gone = have.filter { want[$0.key] == nil }.values.joined()
            let new = want.filter { have[$0.key] == nil }.values.joined()
            if !gone.isEmpty { changes.remove((set, Array(gone))) }
            if !new.isEmpty { changes.add((set, Array(new))) }
        }
        guard !changes.isEmpty else { return false }
        try apply(changes, RulesetDelta(), "reconcile")
        return true
    }

    /// Replaces both tables in one transaction that denies everything new, then fills the sets: at no moment
    /// is more allowed than should be.
    private mutating func rebuild() throws(FirewallError) {
        generation = .first
        var batch = NftBatch()
        for table in KernelLayout.tables {
            batch.destroy(unowned.contains(table) ? table : tables.marked(table))
            batch.create(tables.marked(table))
        }
        for set in KernelLayout.policySets + KernelLayout.spoofingSets { batch.create(set) }
        let policy = PolicyChains()
        let spoofing = SpoofingChains()
        for chain in policy.chains + spoofing.chains { batch.create(chain) }
        batch.create(generation.mark)
        batch.add(KernelLayout.portedNumbers.map { NftElement(key: [$0]) }, to: KernelLayout.portedProtocols)
        for rule in policy.rules + spoofing.rules { batch.add(rule) }
        for chains in compiler.ledger.neededChains { batch.create([chains: true], generation) }
        let elements = desiredElements().filter { $0.set.name != KernelLayout.portedProtocols.name }
        var whole = batch
        for (set, elements) in elements { whole.add(elements, to: set) }
        if whole.encodedSize <= ElementChanges.sizeLimit {
            try commit(whole, "build tables")
            return
        }
        // Bridges and ports come first: until their elements are there, packets between endpoints are not
        // judged at all.
        func guards(_ set: NftSet) -> Bool {
            [KernelLayout.bridges, KernelLayout.closedBridges, KernelLayout.guardedPorts].contains(set)
        }
        for (set, elements) in elements where guards(set) { batch.add(elements, to: set) }
        try commit(batch, "build tables")
        var rest = ElementChanges()
        for part in elements where !guards(part.set) { rest.add(part) }
        for batch in rest.parts(generation) { try commit(batch, "fill tables") }
    }

    /// Every chain is there with its number of rules, in the version of the layout that this program writes.
    private mutating func structureIsIntact() throws(FirewallError) -> Bool {
        let policy = PolicyChains()
        let spoofing = SpoofingChains()
        let optional = compiler.ledger.neededChains
        func chains(_ table: NftTable) -> [NftChain] {
            optional.flatMap(\.chains).filter { $0.table == table }
        }
        func rules(_ table: NftTable) -> [NftRule] { optional.flatMap(\.rules).filter { $0.table == table } }
        do throws(NetlinkError) {
            let present = try socket.listTables()
            for table in KernelLayout.tables
            where !present.contains(where: { $0.family == table.family && $0.name == table.name }) {
                return false
            }
            let known = Set(try socket.listChains(KernelLayout.policyTable).map(\.name))
            guard
                let current = [Generation.first, Generation.first.other].first(where: {
                    known.contains($0.mark.name)
                })
            else { return false }
            generation = current
            for (table, chains, rules, sets) in [
                (
                    KernelLayout.policyTable,
                    policy.chains + chains(KernelLayout.policyTable) + [current.mark],
                    policy.rules + rules(KernelLayout.policyTable),
                    KernelLayout.policySets.map(current.set)
                ),
                (
                    KernelLayout.spoofingTable, spoofing.chains + chains(KernelLayout.spoofingTable),
                    spoofing.rules + rules(KernelLayout.spoofingTable), KernelLayout.spoofingSets
                ),
            ] {
                let names = Set(try socket.listChains(table).map(\.name))
                guard names == Set(chains.map(\.name)) else { return false }
                let setNames = Set(try socket.listSets(table).map(\.name))
                guard setNames.isSuperset(of: sets.map(\.name)) else { return false }
                // Left by one who died while building the other copy.
                guard setNames.isDisjoint(with: leftovers(table)) else { return false }
                var counts: [String: Int] = [:]
                for rule in try socket.listRules(table) { counts[rule.chain, default: 0] += 1 }
                for rule in rules { counts[rule.chain, default: 0] -= 1 }
                guard counts.values.allSatisfy({ $0 == 0 }) else { return false }
            }
        } catch {
            throw FirewallError(code: .kernel, context: "read tables", cause: error)
        }
        return true
    }

    private func leftovers(_ table: NftTable) -> [String] {
        table == KernelLayout.policyTable ? Generation.sets.map { generation.other.set($0).name } : []
    }

    // MARK: Transactions

    /// Puts changes in force, all of them at once.
    mutating func apply(
        _ changes: ElementChanges, _ delta: RulesetDelta, _ context: String, isUrgent: Bool = false
    ) throws(FirewallError) {
        guard isUrgent || compiler.rowCount <= rowLimit || delta.added.count <= delta.removed.count else {
            throw FirewallError(
                code: .tooLarge,
                context:
                    "\(context): it comes to \(compiler.rowCount) elements of the kernel's sets, \(rowLimit) at most"
            )
        }
        let batch = changes.batch(delta, generation)
        guard batch.encodedSize > ElementChanges.sizeLimit else {
            try commit(batch, context)
            return
        }
        try stage(changes.ofSingleSets, delta, context)
    }

    /// Builds the other copy of the large sets in parts and turns the rules to it.
    ///
    /// - Parameter changes: of the other sets; they are small.
    private mutating func stage(
        _ changes: ElementChanges, _ delta: RulesetDelta, _ context: String
    ) throws(FirewallError) {
        let next = generation.other
        var first = NftBatch()
        for set in Generation.sets.map(next.set) {
            // What an earlier attempt may have left must not come into force.
            first.create(set)
            first.delete(set)
            first.create(set)
        }
        first.create(delta.chains, generation)
        try commit(first, context)
        do throws(FirewallError) {
            var content = ElementChanges()
            for part in desiredElements() where Generation.hasTwo(part.set) { content.add(part) }
            for part in content.parts(next) { try commit(part, context) }

            var turn = changes.batch(RulesetDelta(), generation)
            if turn.encodedSize > ElementChanges.sizeLimit / 2 {
                for part in changes.parts(generation) { try commit(part, context) }
                turn = NftBatch()
            }
            let policy = PolicyChains()
            for chain in policy.chains { turn.flush(chain) }
            for rule in policy.rules { turn.add(next.rule(rule)) }
            turn.turn(compiler.ledger.neededChains, to: next)
            turn.delete(generation.mark)
            turn.create(next.mark)
            for set in Generation.sets { turn.delete(generation.set(set)) }
            turn.delete(delta.chains, where: false)
            try commit(turn, context)
        } catch {
            var undo = NftBatch()
            for set in Generation.sets { undo.delete(next.set(set)) }
            undo.delete(delta.chains, where: true)
            try? commit(undo, context)
            throw error
        }
        generation = next
    }

    mutating func commit(_ batch: NftBatch, _ context: String) throws(FirewallError) {
        do throws(NetlinkError) { try socket.commit(batch) } catch {
            throw FirewallError(code: .kernel, context: context, cause: error)
        }
    }
}
