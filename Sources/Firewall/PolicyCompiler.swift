package import Model
package import Wire

/// Turns endpoints and policies into rows of the kernel's maps, keeping count of what changed.
///
/// A value without IO: every mutation returns the difference that it makes, and starting from nothing with
/// the same endpoints and policies gives the same rows. Equal label sets share rows, so attaching an endpoint
/// whose labels are known adds one row for each of its addresses.
package struct PolicyCompiler: Sendable {
    package private(set) var rows: [Row: UInt32] = [:]
    package private(set) var limits: [UInt32: LimitChain] = [:]

    private var networks: [String: Network] = [:]
    private var endpoints: [String: Endpoint] = [:]
    private var owners: [IPAddress: String] = [:]
    private var policies: [String: FirewallPolicy] = [:]

    private var identityNumbers = NumberAllocator<Identity>()
    private var subjects: [UInt32: Subject] = [:]
    private var blocks = BlockIndex()
    private var pins: [String: Int] = [:]

    private var classNumbers = NumberAllocator<PortClass>()
    private var classUses: [UInt32: Int] = [:]
    private var ruleNumbers = NumberAllocator<RuleReference>()
    private var limitUses: [UInt32: Int] = [:]

    /// What each row was before the current mutation touched it.
    private var journal: [Row: UInt32?] = [:]
    private var limitJournal: [UInt32: LimitChain?] = [:]

    /// An identity in its role as the judged side of a flow.
    private struct Subject {
        let identity: Identity
        let defaultVerdict: DefaultVerdict
        /// The addresses that have the identity.
        var members: Set<IPAddress> = []
        /// The policies that select it, by name in order.
        var selecting: [String] = []
        /// Rules by direction; nil where no policy selects it.
        var rules: [Direction: [CompiledRule]] = [:]
        /// Rows that are about it as the judged side.
        var rows: Set<Row> = []
        var segments: [Direction: [AddressSegment]] = [:]
    }

    package init() {}

    // MARK: Input

    package mutating func setNetwork(_ network: Network) { networks[network.id] = network }
    package mutating func removeNetwork(id: String) { networks[id] = nil }

    package var policyNames: [String] { policies.keys.sorted() }

    /// Adds an endpoint or changes one (by id). Its network must be known.
    package mutating func setEndpoint(_ endpoint: Endpoint) -> RulesetDelta {
        withdraw(endpoints[endpoint.id], except: endpoint)
        endpoints[endpoint.id] = endpoint
        for address in endpoint.addresses {
            owners[address] = endpoint.id
            assignIdentity(address, of: endpoint)
        }
        return takeDelta()
    }

    package mutating func removeEndpoint(id: String) -> RulesetDelta {
        withdraw(endpoints.removeValue(forKey: id), except: nil)
        return takeDelta()
    }

    /// Adds, replaces and removes policies by name, all at once.
    package mutating func setPolicies(_ changed: [FirewallPolicy], removing removed: [String] = [])
        -> RulesetDelta
    {
        var affectedPins: Set<String> = []
        var affectedBlocks: Set<CIDR> = []
        var touched: Set<String> = []

        for name in removed + changed.map(\.name) {
            guard let old = policies.removeValue(forKey: name) else { continue }
            touched.insert(name)
            for name in old.mentionedEndpoints {
                let count = (pins[name] ?? 1) - 1
                pins[name] = count == 0 ? nil : count
                if count == 0 { affectedPins.insert(name) }
            }
            for block in old.mentionedBlocks where blocks.remove(block) { affectedBlocks.insert(block) }
            for (list, rules) in [(RuleList.ingressDeny, old.ingressDeny), (.egressDeny, old.egressDeny)] {
                for index in rules.indices {
                    ruleNumbers.release(RuleReference(policy: name, list: list, number: index + 1))
                }
            }
        }
        for policy in changed {
            policies[policy.name] = policy
            touched.insert(policy.name)
            for name in policy.mentionedEndpoints {
                pins[name, default: 0] += 1
                if pins[name] == 1 { affectedPins.insert(name) }
            }
            for block in policy.mentionedBlocks where blocks.insert(block) { affectedBlocks.insert(block) }
        }

        // Identities that split or merge because policies tell addresses apart in another way.
        if !affectedPins.isEmpty || !affectedBlocks.isEmpty {
            for endpoint in endpoints.values {
                let named =
                    affectedPins.contains(endpoint.name) || affectedPins.contains(endpoint.containerID)
                for address in endpoint.addresses
                where named || affectedBlocks.contains(where: { $0.contains(address) }) {
                    assignIdentity(address, of: endpoint)
                }
            }
        }

        let changedNames = touched.sorted()
        for number in Array(subjects.keys) {
            guard let subject = subjects[number] else { continue }
            let before = subject.selecting.contains { touched.contains($0) }
            let now = changedNames.filter {
                policies[$0].map { subject.identity.matches($0.selector) } ?? false
            }
            guard before || !now.isEmpty else { continue }
            subjects[number]?.selecting = (subject.selecting.filter { !touched.contains($0) } + now).sorted()
            recompile(number)
        }
        return takeDelta()
    }

    // MARK: Output

    /// The rule behind a deny outcome, unless its policy is gone.
    package func rule(of outcome: Outcome) -> RuleReference? {
        ruleNumbers[outcome.rawValue]
    }

    /// What the kernel does with the first packet of a flow, by the same look-ups in the same order.
    package func judge(
        from source: IPAddress, to destination: IPAddress, l4proto: UInt8, port: UInt16
    ) -> Outcome {
        let sender = owners[source].flatMap { endpoints[$0] }
        let receiver = owners[destination].flatMap { endpoints[$0] }
        if let sender, sender.id == receiver?.id { return .allow }
        let from = sender.flatMap { networks[$0.networkID] }
        let to = receiver.flatMap { networks[$0.networkID] }
        if let from, let to, from.id == to.id {
            guard from.isolation == .peerOnly || from.isolation == .none else { return .isolation }
        } else if [from, to].contains(where: { $0.map { $0.isolation != .none } ?? false }) {
            return .isolation
        }
        let point = UInt32(l4proto) << 16 | UInt32(port)
        if sender != nil {
            let outcome = judge(.egress, subject: source, peer: destination, point)
            if outcome != .allow { return outcome }
        }
        return receiver == nil ? .allow : judge(.ingress, subject: destination, peer: source, point)
    }

    private func judge(_ direction: Direction, subject: IPAddress, peer: IPAddress, _ point: UInt32)
        -> Outcome
    {
        let byDefault: Outcome = direction == .egress ? .defaultDenyEgress : .defaultDenyIngress
        guard let subjectNumber = rows[.identity(subject)], let subject = subjects[subjectNumber] else {
            return byDefault
        }
        let ports: PortClass?
        if let peerNumber = rows[.identity(peer)],
            let number = rows[.pair(direction, subject: subjectNumber, peer: peerNumber)]
        {
            ports = classNumbers[number]
        } else {
            ports =
                subject.segments[direction]?.first {
                    $0.first.family == peer.family && $0.first <= peer && peer <= $0.last
                }?.ports
        }
        return ports?.segments.first { $0.range.contains(point) }?.outcome ?? byDefault
    }

    // MARK: Identities

    private mutating func withdraw(_ old: Endpoint?, except new: Endpoint?) {
        for address in old?.addresses ?? [] where !(new?.addresses.contains(address) ?? false) {
            owners[address] = nil
            leaveIdentity(address)
            set(.identity(address), nil)
        }
    }

    private mutating func assignIdentity(_ address: IPAddress, of endpoint: Endpoint) {
        guard let network = networks[endpoint.networkID] else { return }
        let isPinned = pins[endpoint.name] != nil || pins[endpoint.containerID] != nil
        let identity = Identity(
            networkID: network.id, networkName: network.name, labels: endpoint.labels,
            pinned: isPinned ? Identity.Pin(name: endpoint.name, containerID: endpoint.containerID) : nil,
            blocks: blocks.containing(address))
        // Zero is never an identity: an empty register must not look like one.
        let number = identityNumbers.number(for: identity, preferred: identity.stableHash, in: 1...UInt32.max)
        if rows[.identity(address)] == number { return }
        leaveIdentity(address)
        set(.identity(address), number)
        if subjects[number] == nil {
            var subject = Subject(identity: identity, defaultVerdict: network.defaultVerdict)
            subject.members = [address]
            subject.selecting = policies.values.filter { identity.matches($0.selector) }.map(\.name).sorted()
            subjects[number] = subject
            recompile(number)
            for other in Array(subjects.keys) where other != number { updatePairs(of: other, with: number) }
        } else {
            subjects[number]?.members.insert(address)
        }
    }

    private mutating func leaveIdentity(_ address: IPAddress) {
        guard let number = rows[.identity(address)] else { return }
        subjects[number]?.members.remove(address)
        guard let subject = subjects[number], subject.members.isEmpty else { return }
        for row in subject.rows { setClass(row, nil) }
        setLimit(number, [])
        subjects[number] = nil
        for other in Array(subjects.keys) {
            for direction in Direction.allCases {
                let row = Row.pair(direction, subject: other, peer: number)
                if subjects[other]?.rows.remove(row) != nil { setClass(row, nil) }
            }
        }
        identityNumbers.release(number)
    }

    // MARK: Rows of one subject

    private mutating func recompile(_ number: UInt32) {
        guard var subject = subjects[number] else { return }
        let selecting = subject.selecting.compactMap { policies[$0] }
        var desired: [Row: PortClass] = [:]
        subject.rules = [:]
        subject.segments = [:]
        for direction in Direction.allCases {
            guard selecting.contains(where: { $0.directions.contains(direction) }) else {
                // No policy selects the endpoint in this direction: the network's default holds.
                guard subject.defaultVerdict == .allow else { continue }
                subject.segments[direction] = IPFamily.allCases.map {
                    AddressSegment(
                        first: IPAddress($0, bits: 0), last: IPAddress($0, bits: .max), ports: .all)
                }
                continue
            }
            let rules = selecting.filter { $0.directions.contains(direction) }.flatMap {
                compiledRules($0, direction)
            }
            subject.rules[direction] = rules
            subject.segments[direction] = IPFamily.allCases.flatMap { addressSegments(rules, $0) }
        }
        subjects[number] = subject
        for (direction, segments) in subject.segments {
            for segment in segments {
                desired[.segment(direction, subject: number, first: segment.first, last: segment.last)] =
                    segment.ports
            }
        }
        for peer in subjects.keys {
            for (row, ports) in pairs(of: number, with: peer) { desired[row] = ports }
        }
        for row in subject.rows where desired[row] == nil { setClass(row, nil) }
        for (row, ports) in desired { setClass(row, ports) }
        subjects[number]?.rows = Set(desired.keys)
        setLimit(
            number,
            selecting.compactMap { policy in
                policy.directions.contains(.ingress)
                    ? policy.rateLimit.map { LimitChain.Bound(policy: policy.name, perSecond: $0) } : nil
            })
    }

    private mutating func updatePairs(of number: UInt32, with peer: UInt32) {
        for (row, ports) in pairs(of: number, with: peer) {
            setClass(row, ports)
            subjects[number]?.rows.insert(row)
        }
    }

    /// The rows that say more about a peer than its address does: only where some rule selects it as an
    /// endpoint.
    private func pairs(of number: UInt32, with peer: UInt32) -> [(Row, PortClass)] {
        guard let subject = subjects[number], let other = subjects[peer], let address = other.members.first
        else { return [] }
        return subject.rules.compactMap { direction, rules in
            guard rules.contains(where: { $0.selects(other.identity) }) else { return nil }
            let applicable = rules.filter { $0.selects(other.identity) || $0.reaches(address) }
            return (.pair(direction, subject: number, peer: peer), PortClass(rules: applicable))
        }
    }

    private mutating func compiledRules(_ policy: FirewallPolicy, _ direction: Direction) -> [CompiledRule] {
        let (allow, deny, list): ([PolicyRule], [PolicyRule], RuleList) =
            direction == .ingress
            ? (policy.ingress + (policy.shorthand.map { [$0] } ?? []), policy.ingressDeny, .ingressDeny)
            : (policy.egress, policy.egressDeny, .egressDeny)
        return deny.enumerated().map { index, rule in
            let reference = RuleReference(policy: policy.name, list: list, number: index + 1)
            var hash = StableHash()
            hash.combine(reference.policy)
            hash.combine(reference.list.rawValue)
            hash.combine(UInt32(truncatingIfNeeded: reference.number))
            let number = ruleNumbers.number(
                for: reference, preferred: hash.folded | Outcome.denyBit, in: Outcome.firstRule...UInt32.max)
            return CompiledRule(rule, outcome: Outcome(rawValue: number))
        } + allow.map { CompiledRule($0, outcome: .allow) }
    }

    // MARK: Journalled changes

    private mutating func set(_ row: Row, _ value: UInt32?) {
        let old = rows[row]
        guard old != value else { return }
        if journal[row] == nil { journal.updateValue(old, forKey: row) }
        rows[row] = value
    }

    /// Points a row at a class of ports, adding and removing the class's own rows with its first and last
    /// use.
    private mutating func setClass(_ row: Row, _ ports: PortClass?) {
        let old = rows[row]
        var new: UInt32?
        if let ports {
            let number = classNumbers.number(for: ports, preferred: ports.stableHash, in: 1...UInt32.max)
            new = number
            if old == number { return }
            classUses[number, default: 0] += 1
            if classUses[number] == 1 {
                for segment in ports.segments {
                    set(.port(class: number, range: segment.range), segment.outcome.rawValue)
                }
            }
        }
        set(row, new)
        if let old, let uses = classUses[old] {
            classUses[old] = uses == 1 ? nil : uses - 1
            if uses == 1, let ports = classNumbers[old] {
                for segment in ports.segments { set(.port(class: old, range: segment.range), nil) }
                classNumbers.release(old)
            }
        }
    }

    private mutating func setLimit(_ subject: UInt32, _ bounds: [LimitChain.Bound]) {
        let row = Row.limit(subject: subject)
        let old = rows[row]
        var new: UInt32?
        if !bounds.isEmpty {
            var hash = StableHash()
            for bound in bounds {
                hash.combine(bound.policy)
                hash.combine(UInt32(truncatingIfNeeded: bound.perSecond))
            }
            var number = hash.folded
            while let other = limits[number], other.bounds != bounds { number &+= 1 }
            new = number
            if old == number { return }
            limitUses[number, default: 0] += 1
            setLimitChain(number, LimitChain(number: number, bounds: bounds))
        }
        set(row, new)
        if let old, let uses = limitUses[old] {
            limitUses[old] = uses == 1 ? nil : uses - 1
            if uses == 1 { setLimitChain(old, nil) }
        }
    }

    private mutating func setLimitChain(_ number: UInt32, _ chain: LimitChain?) {
        guard limits[number] != chain else { return }
        if limitJournal[number] == nil { limitJournal.updateValue(limits[number], forKey: number) }
        limits[number] = chain
    }

    private mutating func takeDelta() -> RulesetDelta {
        var delta = RulesetDelta()
        for (row, old) in journal {
            let now = rows[row]
            guard old != now else { continue }
            if let old { delta.removed[row] = old }
            if let now { delta.added[row] = now }
        }
        for (number, old) in limitJournal where old != limits[number] {
            if let old { delta.removedLimits.append(old) }
            if let now = limits[number] { delta.addedLimits.append(now) }
        }
        journal.removeAll(keepingCapacity: true)
        limitJournal.removeAll(keepingCapacity: true)
        return delta
    }
}
