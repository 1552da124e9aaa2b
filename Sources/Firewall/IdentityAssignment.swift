internal import Model
package import Wire

/// Which identity an address has, and what that means for the rows.
extension PolicyCompiler {
    // MARK: Endpoints

    mutating func register(_ endpoint: Endpoint) {
        residents[endpoint.networkID, default: []].insert(endpoint.id)
        namesakes[endpoint.name, default: []].insert(endpoint.id)
        namesakes[endpoint.containerID, default: []].insert(endpoint.id)
        for port in endpoint.ports { portOwners[port.name, default: []].insert(endpoint.id) }
    }

    /// Takes out what an endpoint was, but for the addresses that it keeps.
    mutating func withdraw(_ old: Endpoint?, except new: Endpoint?) {
        guard let old else { return }
        func leave(_ index: inout [String: Set<String>], _ key: String) {
            index[key]?.remove(old.id)
            if index[key]?.isEmpty ?? false { index[key] = nil }
        }
        leave(&residents, old.networkID)
        leave(&namesakes, old.name)
        leave(&namesakes, old.containerID)
        for port in old.ports { leave(&portOwners, port.name) }
        if new == nil { dropLimits(of: old.id) }
        for address in old.addresses where !(new?.addresses.contains(address) ?? false) {
            dropNamed(address, of: old.id)
            owners[address] = nil
            addresses.remove(address)
            leaveIdentity(address)
        }
    }

    /// Works out again which identities endpoints have.
    mutating func reassign(_ ids: Set<String>) {
        assign(ids.compactMap { endpoints[$0] })
        for network in networks.values where wideFamilies[network.id] != familiesToTell(network) {
            wideFamilies[network.id] = familiesToTell(network)
        }
    }

    // MARK: Identities

    private func identity(_ address: IPAddress, of endpoint: Endpoint, in network: Network) -> Identity {
        let isPinned = pins[endpoint.name] != nil || pins[endpoint.containerID] != nil
        let blocks = blocks.containing(address)
        let narrow = blocks.filter { !$0.holdsAll(of: network) }
        return Identity(
            networkID: network.id, networkName: network.name, networkLabels: network.labels,
            defaultVerdict: network.defaultVerdict, hasNames: network.dns != nil, labels: endpoint.labels,
            pinned: isPinned ? Identity.Pin(name: endpoint.name, containerID: endpoint.containerID) : nil,
            ports: portNames.isEmpty ? [] : endpoint.ports.filter { portNames[$0.name] != nil },
            blocks: narrow, family: narrow.count < blocks.count ? address.family : nil)
    }

    /// Gives the addresses of endpoints the identities that they should have.
    ///
    /// All leave before the first joins, and rows are made last: no row must be made for an identity that
    /// still has addresses which are no longer alike.
    mutating func assign(_ changed: [Endpoint]) {
        var joining: [(address: IPAddress, identity: Identity)] = []
        for endpoint in changed {
            guard let network = networks[endpoint.networkID] else { continue }
            for address in endpoint.addresses {
                let identity = identity(address, of: endpoint, in: network)
                let old = ledger[.identity(address)].flatMap { subjects[$0] }
                if old?.identity == identity { continue }
                leaveIdentity(address)
                joining.append((address, identity))
            }
        }
        var new: [UInt32] = []
        for (address, identity) in joining {
            // Zero is never an identity: an empty register must not look like one.
            let number = identityNumbers.number(
                for: identity, preferred: identity.stableHash, in: 1...UInt32.max)
            set(.identity(address), number)
            if subjects[number] == nil {
                addSubject(number, identity)
                new.append(number)
            }
            subjects[number]?.members.insert(address)
        }
        for number in new { makeRows(of: number) }
        for (address, _) in joining { setNamed(of: address) }
        for endpoint in changed { setLimits(of: endpoint) }
    }

    private mutating func addSubject(_ number: UInt32, _ identity: Identity) {
        var subject = Subject(identity)
        subject.matched = index.candidates(
            names: identity.names, labels: identity.labels, network: identity.networkName,
            networkLabels: identity.networkLabels
        ).filter { identity.matches(index.selectors[$0]) }
        for selector in subject.matched { selectors[selector].identities.insert(number) }
        subjects[number] = subject
        identities.insert(number, identity)
        for port in identity.ports { portIdentities[port.name, default: []].insert(number) }
    }

    /// Makes all rows of a new identity, as the judged side and as a peer.
    private mutating func makeRows(of number: UInt32) {
        for direction in Direction.allCases {
            setSegments(of: number, direction)
            for peer in peers(of: number, direction) { setPair(direction, number, peer) }
            for other in watchers(of: number) where other != number { setPair(direction, other, number) }
        }
    }

    /// The identities that have rules which may tell this one from what is outside.
    private func watchers(of number: UInt32) -> Set<UInt32> {
        guard let subject = subjects[number] else { return [] }
        var found: Set<UInt32> = []
        func add(_ books: [Int: Int]?) {
            for book in (books ?? [:]).keys { found.formUnion(selectors[book].identities) }
        }
        for selector in subject.matched { add(selectors[selector].mentions) }
        for port in subject.identity.ports { add(portBooks[port.name]) }
        return found
    }

    private mutating func leaveIdentity(_ address: IPAddress) {
        guard let number = ledger[.identity(address)] else { return }
        set(.identity(address), nil)
        subjects[number]?.members.remove(address)
        guard let subject = subjects[number], subject.members.isEmpty else { return }
        let watchers = watchers(of: number)
        for direction in Direction.allCases {
            for peer in peers(of: number, direction) {
                setClass(.pair(direction, subject: number, peer: peer), nil)
            }
            for other in watchers { setClass(.pair(direction, subject: other, peer: number), nil) }
            for segment in subject.segments[direction] ?? [] {
                setClass(
                    .segment(direction, subject: number, first: segment.first, last: segment.last), nil)
            }
        }
        for selector in subject.matched { selectors[selector].identities.remove(number) }
        identities.remove(number, subject.identity)
        for port in subject.identity.ports { portIdentities[port.name]?.remove(number) }
        subjects[number] = nil
        identityNumbers.release(number)
    }

    // MARK: Judging

    /// What the kernel does with the first packet of a flow, by the same look-ups in the same order.
    package func judge(
        from source: IPAddress, to destination: IPAddress, l4proto: UInt8, port: UInt16
    ) -> Outcome {
        let all = outcomes(from: source, to: destination, l4proto: l4proto, port: port)
        return all.first(where: \.isDenial) ?? all.first(where: \.isAudit) ?? .allow
    }

    /// What decides in each direction that is asked, up to the first denial.
    func outcomes(
        from source: IPAddress, to destination: IPAddress, l4proto: UInt8, port: UInt16
    ) -> [Outcome] {
        let sender = owners[source].flatMap { endpoints[$0] }
        let receiver = owners[destination].flatMap { endpoints[$0] }
        if let sender, sender.id == receiver?.id { return [.allow] }
        let isPublished =
            sender == nil && receiver?.publishes(FlowTransport(number: l4proto, port: port)) ?? false
        if !isPublished, isIsolated((source, sender), (destination, receiver)) { return [.isolation] }
        let point = UInt32(l4proto) << 16 | UInt32(port)
        for (side, peer) in [(sender, destination), (receiver, source)] {
            guard let side, quarantines[side.id] != nil else { continue }
            guard isExcepted(peer, point, of: side.id) else { return [.quarantine] }
        }
        if receiver == nil, let sender, let network = networks[sender.networkID],
            NameService.isAsked(
                of: network, at: destination, FlowTransport(number: l4proto, port: port))
        {
            return [.allow]
        }
        var outcomes: [Outcome] = []
        if sender != nil {
            outcomes.append(judge(.egress, subject: source, peer: destination, point))
            if outcomes[0].isDenial { return outcomes }
        }
        if receiver != nil { outcomes.append(judge(.ingress, subject: destination, peer: source, point)) }
        return outcomes
    }

    /// Whether isolation of either network forbids all traffic between two sides. The gateway is no other network.
    func isIsolated(
        _ sender: (address: IPAddress, endpoint: Endpoint?),
        _ receiver: (address: IPAddress, endpoint: Endpoint?)
    ) -> Bool {
        let from = sender.endpoint.flatMap { networks[$0.networkID] }
        let to = receiver.endpoint.flatMap { networks[$0.networkID] }
        if to == nil, from?.isGateway(receiver.address) ?? false { return false }
        if from == nil, to?.isGateway(sender.address) ?? false { return false }
        if to == nil, from?.nat ?? false { return false }
        if let from, let to, from.id == to.id {
            return from.isolation != .peerOnly && from.isolation != .none
        }
        return [from, to].contains { $0.map { $0.isolation != .none } ?? false }
    }

    private func isExcepted(_ peer: IPAddress, _ point: UInt32, of endpointID: String) -> Bool {
        (quarantineRows[endpointID] ?? []).contains { row in
            guard case .exception(_, let first, let last) = row, first.family == peer.family, first <= peer,
                peer <= last, let ports = ledger[row].flatMap(portClass)
            else { return false }
            return ports.segments.contains { $0.range.contains(point) }
        }
    }

    private func judge(_ direction: Direction, subject: IPAddress, peer: IPAddress, _ point: UInt32)
        -> Outcome
    {
        let byDefault: Outcome = direction == .egress ? .defaultDenyEgress : .defaultDenyIngress
        let ports = ports(direction, subject: subject, peer: peer)
        return ports?.segments.first { $0.range.contains(point) }?.outcome ?? byDefault
    }

    /// What a judged endpoint's rules say of a peer; nil where they are silent.
    func ports(_ direction: Direction, subject: IPAddress, peer: IPAddress) -> PortClass? {
        let address = subject
        guard let subjectNumber = ledger[.identity(address)], let subject = subjects[subjectNumber] else {
            return nil
        }
        if let peerNumber = ledger[.identity(peer)],
            let number = ledger[.pair(direction, subject: subjectNumber, peer: peerNumber)]
        {
            return portClass(number)
        }
        if direction == .egress, let number = ledger[.named(address, peer)] { return portClass(number) }
        return subject.segments[direction]?.first {
            $0.first.family == peer.family && $0.first <= peer && peer <= $0.last
        }?.ports
    }
}
