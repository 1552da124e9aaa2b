internal import Model
internal import Wire

/// What has to be looked at again after policies changed.
struct PolicyChange {
    /// Rows of one identity as the judged side, in one direction.
    struct Work {
        /// Everything: what holds for addresses, and all peers.
        var isFull = false
        /// What endpoints may reach by name.
        var isOfDomains = false
        /// Peers that a rule selected or selects now.
        var peers: Set<UInt32> = []
    }

    struct Place: Hashable {
        let subject: UInt32
        let direction: Direction
    }

    var work: [Place: Work] = [:]
    /// Identities whose endpoints may be limited otherwise.
    var limits: Set<UInt32> = []
    /// Selectors that may be out of use.
    var released: Set<Int> = []
    /// What is mentioned for the first time, or not any more.
    var blocks: Set<CIDR> = []
    var pins: Set<String> = []
    var portNames: Set<String> = []
}

extension PolicyCompiler {
    // MARK: Selectors

    /// The number of a selector that a policy uses once more.
    mutating func use(_ selector: EndpointSelector) -> Int {
        let number = index.number(of: selector)
        if number == selectors.count { selectors.append(SelectorState()) }
        // New, or it matched nobody. One that was released in this change still has its identities.
        if selectors[number].uses == 0, selectors[number].identities.isEmpty {
            for identity in identities.candidates(selector)
            where subjects[identity]?.identity.matches(selector) ?? false {
                selectors[number].identities.insert(identity)
                subjects[identity]?.matched.insert(number)
            }
        }
        selectors[number].uses += 1
        return number
    }

    mutating func release(_ number: Int, _ change: inout PolicyChange) {
        selectors[number].uses -= 1
        if selectors[number].uses == 0 { change.released.insert(number) }
    }

    // MARK: Noting

    /// Notes the rows that a policy's rules have a say in, while the policy stands in its book.
    func note(_ policy: CompiledPolicy, isNew: Bool, _ change: inout PolicyChange) {
        for subject in selectors[policy.subject].identities {
            if policy.limits != nil { change.limits.insert(subject) }
            func place(_ direction: Direction) -> PolicyChange.Place {
                PolicyChange.Place(subject: subject, direction: direction)
            }
            // The first or the last to select the endpoint.
            for direction in policy.selecting where chain(subject, direction).counts.selecting == 1 {
                change.work[place(direction), default: .init()].isFull = true
            }
            for direction in policy.auditing where chain(subject, direction).counts.auditing == 1 {
                change.work[place(direction), default: .init()].isFull = true
            }
            for (direction, rule) in policy.rules {
                note(rule, direction, isNew, &change.work[place(direction), default: .init()])
            }
        }
    }

    private func note(
        _ rule: CompiledRule, _ direction: Direction, _ isNew: Bool, _ work: inout PolicyChange.Work
    ) {
        if rule.speaksOfAddresses { work.isFull = true }
        if rule.speaksOfDomains { work.isOfDomains = true }
        // Whatever a rule selects now is found by working on everything.
        guard !isNew || !work.isFull else { return }
        if case .some(let numbers, _, _) = rule.peers {
            for number in numbers { work.peers.formUnion(selectors[number].identities) }
        }
        if direction == .egress {
            for name in rule.names { work.peers.formUnion(portIdentities[name.name] ?? []) }
        }
    }

    /// Endpoints that have to be told apart in another way since policies mention other things.
    func endpointsToTell(_ change: PolicyChange) -> Set<String> {
        var found: Set<String> = []
        for name in change.pins { found.formUnion(namesakes[name] ?? []) }
        for name in change.portNames { found.formUnion(portOwners[name] ?? []) }
        guard !change.blocks.isEmpty else { return found }
        for network in networks.values where wideFamilies[network.id] != familiesToTell(network) {
            found.formUnion(residents[network.id] ?? [])
        }
        for block in change.blocks where !networks.values.allSatisfy({ block.holdsAll(of: $0) }) {
            for address in addresses.inside(block) {
                if let owner = owners[address], let endpoint = endpoints[owner],
                    let network = networks[endpoint.networkID], !block.holdsAll(of: network)
                {
                    found.insert(owner)
                }
            }
        }
        return found
    }

    /// Families of a network of which some mentioned block holds all subnets.
    func familiesToTell(_ network: Network) -> Set<IPFamily> {
        Set(
            network.subnets.lazy.filter { subnet in
                blocks.containing(subnet.first).contains { $0.holdsAll(of: network) }
            }.map(\.family))
    }

    // MARK: Working

    mutating func work(on change: PolicyChange) {
        for (place, work) in change.work {
            let (subject, direction) = (place.subject, place.direction)
            var peers = work.peers
            if work.isFull {
                peers.formUnion(self.peers(of: subject, direction))
                setSegments(of: subject, direction)
            }
            for peer in peers { setPair(direction, subject, peer) }
            if direction == .egress, work.isFull || work.isOfDomains { setNamed(ofIdentity: subject) }
        }
        for subject in change.limits { setLimits(ofIdentity: subject) }
    }

    /// What holds for an identity in one direction, and how many policies select it there.
    func chain(_ number: UInt32, _ direction: Direction) -> (chain: Chain, counts: RuleBook.Side.Counts) {
        guard let subject = subjects[number] else { return (Chain(direction: direction), .init()) }
        let counts = counts(subject, direction)
        return (Chain(direction, subject.identity, counts), counts)
    }

    /// How many policies select a subject. Only these numbers are read: a side as a whole would be copied, with all that
    /// it refers to.
    private func counts(_ subject: Subject, _ direction: Direction) -> RuleBook.Side.Counts {
        var counts = RuleBook.Side.Counts()
        for selector in subject.matched {
            counts +=
                direction == .ingress
                ? selectors[selector].book.ingress.counts : selectors[selector].book.egress.counts
        }
        return counts
    }

    /// The identities that some rule of a subject tells from what is outside.
    func peers(of number: UInt32, _ direction: Direction) -> Set<UInt32> {
        var found: Set<UInt32> = []
        for selector in subjects[number]?.matched ?? [] {
            for peer in selectors[selector].book[direction].bySelector.keys {
                found.formUnion(selectors[peer].identities)
            }
            for name in selectors[selector].book[direction].portNames.keys {
                found.formUnion(portIdentities[name] ?? [])
            }
        }
        return found
    }

    /// What holds for addresses, whoever has them.
    mutating func setSegments(of number: UInt32, _ direction: Direction) {
        guard let subject = subjects[number] else { return }
        let chain = chain(number, direction).chain
        let sides = subject.matched.map { selectors[$0].book[direction] }.filter(\.speaksOfAddresses)
        var segments: [AddressSegment] = []
        if !sides.isEmpty || (!chain.isSelected && chain.allowsByDefault) {
            // The ports of an outgoing flow's destination have no names here: endpoints with names that
            // rules use have pairs.
            let named = direction == .ingress ? subject.identity.ports : []
            segments = IPFamily.allCases.flatMap { addressSegments(sides, $0, named, chain) }
        }
        let old = subject.segments[direction] ?? []
        guard old != segments else { return }
        func row(_ segment: AddressSegment) -> Row {
            .segment(direction, subject: number, first: segment.first, last: segment.last)
        }
        let kept = Set(segments.map(row))
        for segment in old where !kept.contains(row(segment)) { setClass(row(segment), nil) }
        for segment in segments { setClass(row(segment), segment.ports) }
        subjects[number]?.segments[direction] = segments
    }

    /// The row that says more about a peer than its address does: only where some rule selects it as an
    /// endpoint, or calls its ports by name.
    mutating func setPair(_ direction: Direction, _ number: UInt32, _ peer: UInt32) {
        let row = Row.pair(direction, subject: number, peer: peer)
        guard let subject = subjects[number], let other = subjects[peer], let address = other.members.first
        else {
            setClass(row, nil)
            return
        }
        var rules: [CompiledRule] = []
        var isSelected = false
        var known: [CIDR]?
        func collect(_ side: RuleBook.Side) {
            if side.collect(other.matched, into: &rules) { isSelected = true }
            if side.portNames.keys.contains(where: { portIdentities[$0]?.contains(peer) ?? false }) {
                isSelected = true
            }
            guard side.speaksOfAddresses else { return }
            let blocks = known ?? (side.byBlock.isEmpty ? [] : self.blocks.containing(address))
            if !side.byBlock.isEmpty { known = blocks }
            side.collect(address, blocks, into: &rules)
        }
        for selector in subject.matched where !selectors[selector].book.isEmpty {
            switch direction {
            case .ingress: collect(selectors[selector].book.ingress)
            case .egress: collect(selectors[selector].book.egress)
            }
        }
        guard isSelected else {
            setClass(row, nil)
            return
        }
        let destination = direction == .ingress ? subject.identity.ports : other.identity.ports
        let chain = Chain(direction, subject.identity, counts(subject, direction))
        setClass(row, PortClass(rules, destination, chain))
    }
}

extension Chain {
    fileprivate init(_ direction: Direction, _ identity: Identity, _ counts: RuleBook.Side.Counts) {
        self.init(
            direction: direction, isSelected: counts.selecting > 0, isAudited: counts.auditing > 0,
            allowsByDefault: identity.defaultVerdict == .allow,
            withholdsNames: direction == .egress && identity.hasNames)
    }
}
