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

    var work: [UInt32: [Direction: Work]] = [:]
    /// Identities whose endpoints may be limited otherwise.
    var limits: Set<UInt32> = []
    /// Selectors that may be out of use.
    var released: [Int] = []
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
        if selectors[number] == nil {
            var state = SelectorState()
            for identity in identities.candidates(selector)
            where subjects[identity]?.identity.matches(selector) ?? false {
                state.identities.insert(identity)
                subjects[identity]?.matched.insert(number)
            }
            selectors[number] = state
        }
        selectors[number]?.uses += 1
        return number
    }

    mutating func release(_ number: Int, _ change: inout PolicyChange) {
        selectors[number]?.uses -= 1
        if selectors[number]?.uses == 0 { change.released.append(number) }
    }

    // MARK: Noting

    /// Notes the rows that a policy's rules have a say in, while the policy stands in its book.
    func note(_ policy: CompiledPolicy, isNew: Bool, _ change: inout PolicyChange) {
        guard let state = selectors[policy.subject] else { return }
        for subject in state.identities {
            if policy.limits != nil { change.limits.insert(subject) }
            // The first or the last to select the endpoint.
            let first =
                policy.selecting.filter { chain(subject, $0).selecting == 1 }
                + policy.auditing.filter { chain(subject, $0).auditing == 1 }
            for direction in first {
                change.work[subject, default: [:]][direction, default: .init()].isFull = true
            }
            for (direction, rule) in policy.rules {
                var work = change.work[subject, default: [:]][direction, default: .init()]
                if rule.speaksOfAddresses { work.isFull = true }
                if rule.speaksOfDomains { work.isOfDomains = true }
                // Whatever a rule selects now is found by working on everything.
                if !isNew || !work.isFull {
                    if case .some(let numbers, _, _) = rule.peers {
                        for number in numbers {
                            work.peers.formUnion(selectors[number]?.identities ?? [])
                        }
                    }
                    if direction == .egress {
                        for name in rule.names { work.peers.formUnion(portIdentities[name.name] ?? []) }
                    }
                }
                change.work[subject, default: [:]][direction] = work
            }
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
        for (subject, directions) in change.work {
            for (direction, work) in directions {
                var peers = work.peers
                if work.isFull {
                    peers.formUnion(self.peers(of: subject, direction))
                    setSegments(of: subject, direction)
                }
                for peer in peers { setPair(direction, subject, peer) }
                if direction == .egress, work.isFull || work.isOfDomains { setNamed(ofIdentity: subject) }
            }
        }
        for subject in change.limits { setLimits(ofIdentity: subject) }
    }

    /// What holds for an identity in one direction, and how many policies select it there.
    func chain(_ number: UInt32, _ direction: Direction) -> (chain: Chain, selecting: Int, auditing: Int) {
        guard let subject = subjects[number] else { return (Chain(direction: direction), 0, 0) }
        var selecting = 0
        var auditing = 0
        for selector in subject.matched {
            guard let side = selectors[selector]?.book[direction] else { continue }
            selecting += side.selecting
            auditing += side.auditing
        }
        let chain = Chain(
            direction: direction, isSelected: selecting > 0, isAudited: auditing > 0,
            allowsByDefault: subject.identity.defaultVerdict == .allow,
            withholdsNames: direction == .egress && subject.identity.hasNames)
        return (chain, selecting, auditing)
    }

    /// The identities that some rule of a subject tells from what is outside.
    func peers(of number: UInt32, _ direction: Direction) -> Set<UInt32> {
        var found: Set<UInt32> = []
        for selector in subjects[number]?.matched ?? [] {
            guard let side = selectors[selector]?.book[direction] else { continue }
            for peer in side.bySelector.keys { found.formUnion(selectors[peer]?.identities ?? []) }
            for name in side.portNames.keys { found.formUnion(portIdentities[name] ?? []) }
        }
        return found
    }

    /// What holds for addresses, whoever has them.
    mutating func setSegments(of number: UInt32, _ direction: Direction) {
        guard let subject = subjects[number] else { return }
        let chain = chain(number, direction).chain
        let sides = subject.matched.compactMap { selectors[$0]?.book[direction] }.filter(\.speaksOfAddresses)
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
        var selecting = 0
        var auditing = 0
        for selector in subject.matched {
            guard let state = selectors[selector], !state.book.isEmpty else { continue }
            let side = state.book[direction]
            selecting += side.selecting
            auditing += side.auditing
            if side.collect(other.matched, into: &rules) { isSelected = true }
            if side.portNames.keys.contains(where: { portIdentities[$0]?.contains(peer) ?? false }) {
                isSelected = true
            }
            guard side.speaksOfAddresses else { continue }
            let blocks = known ?? (side.byBlock.isEmpty ? [] : self.blocks.containing(address))
            if !side.byBlock.isEmpty { known = blocks }
            side.collect(address, blocks, into: &rules)
        }
        guard isSelected else {
            setClass(row, nil)
            return
        }
        let destination = direction == .ingress ? subject.identity.ports : other.identity.ports
        let chain = Chain(
            direction: direction, isSelected: selecting > 0, isAudited: auditing > 0,
            allowsByDefault: subject.identity.defaultVerdict == .allow,
            withholdsNames: direction == .egress && subject.identity.hasNames)
        setClass(row, PortClass(rules, destination, chain))
    }
}
