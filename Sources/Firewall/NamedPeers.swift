internal import Model
package import Wire

/// By which names an endpoint knows an address outside; none where it does not know it.
package struct NamedPeer: Hashable, Sendable {
    package let endpointID: String
    package let address: IPAddress
    package let names: Set<String>

    package init(endpointID: String, address: IPAddress, names: Set<String>) {
        self.endpointID = endpointID
        self.address = address
        self.names = names
    }
}

/// Addresses outside that endpoints reach by name: those that the resolver told them, for names that some
/// rule's domain is of.
extension PolicyCompiler {
    /// Says by which names an endpoint knows an address; none where it does not any more.
    package mutating func setNames(_ names: Set<String>, of peer: IPAddress, toldTo endpointID: String)
        -> RulesetDelta
    {
        setNames([NamedPeer(endpointID: endpointID, address: peer, names: names)])
    }

    /// As above, of many as one change.
    package mutating func setNames(_ peers: [NamedPeer]) -> RulesetDelta {
        for peer in peers { record(peer.names, of: peer.address, toldTo: peer.endpointID) }
        return ledger.takeDelta()
    }

    private mutating func record(_ names: Set<String>, of peer: IPAddress, toldTo endpointID: String) {
        if names.isEmpty {
            told[endpointID]?[peer] = nil
            if told[endpointID]?.isEmpty ?? false { told[endpointID] = nil }
        } else {
            told[endpointID, default: [:]][peer] = names
        }
        for address in endpoints[endpointID]?.addresses ?? [] { setNamed(address, peer, names) }
    }

    /// The ports of each protocol that an endpoint may reach at an address that it knows by these names;
    /// nil where no rule speaks of any.
    func portsNamed(_ names: Set<String>, _ address: IPAddress, _ peer: IPAddress) -> PortClass? {
        guard address.family == peer.family, owners[peer] == nil,
            let subject = ledger[.identity(address)].flatMap({ subjects[$0] })
        else { return nil }
        var rules: [CompiledRule] = []
        var isNamed = false
        let blocks = blocks.containing(peer)
        for selector in subject.matched {
            let side = selectors[selector].book.egress
            if side.collect(names, into: &rules) { isNamed = true }
            side.collect(peer, blocks, into: &rules)
        }
        guard isNamed else { return nil }
        return PortClass(rules, [], chain(subjectNumber(address), .egress).chain)
    }

    private func subjectNumber(_ address: IPAddress) -> UInt32 { ledger[.identity(address)] ?? 0 }

    /// Whether an endpoint may begin a connection to an address outside that it knows by these names.
    ///
    /// - Parameter isVerified: the connection is led to the proxy, which sees to it that it asks for one of them.
    package func allows(
        from source: IPAddress, to destination: IPAddress, l4proto: UInt8, port: UInt16,
        named names: Set<String>, isVerified: Bool = false
    ) -> Bool {
        guard let owner = owners[source], quarantines[owner] == nil else { return false }
        let point = UInt32(l4proto) << 16 | UInt32(port)
        guard let outcome = portsNamed(names, source, destination)?.outcome(point) else { return false }
        return !outcome.isDenial || isVerified && outcome == .unverifiedHost
    }

    /// How far an endpoint's egress goes outside, as far as names are concerned.
    package struct DomainReach: Hashable, Sendable {
        /// Some rule's domain is of the name.
        package var speaksOfName = false
        /// Some rule speaks of domains.
        package var speaksOfDomains = false
        /// It may go anywhere outside, by a rule for anyone or for all addresses, or by default.
        package var isEverywhere = false
    }

    package func domainReach(ofEndpoint id: String, name: String) -> DomainReach {
        var reach = DomainReach()
        for address in endpoints[id]?.addresses ?? [] {
            let number = subjectNumber(address)
            guard let subject = subjects[number] else { continue }
            let chain = chain(number, .egress).chain
            if !chain.isSelected, chain.allowsByDefault { reach.isEverywhere = true }
            for selector in subject.matched {
                let side = selectors[selector].book.egress
                let wide = side.byBlock.filter { $0.key.prefixLength == 0 }.values.joined().map(\.rule)
                if (side.anyone + wide).contains(where: \.isAllowance) { reach.isEverywhere = true }
                if !side.byDomain.isEmpty { reach.speaksOfDomains = true }
                if side.byDomain.keys.contains(where: { $0.matches(name) }) { reach.speaksOfName = true }
            }
        }
        return reach
    }

    mutating func setNamed(ofIdentity number: UInt32) {
        for address in subjects[number]?.members ?? [] { setNamed(of: address) }
    }

    /// Makes the rows of one address of an endpoint, after its identity or its rules have changed.
    mutating func setNamed(of address: IPAddress) {
        guard let owner = owners[address], let peers = told[owner] else { return }
        for (peer, names) in peers { setNamed(address, peer, names) }
    }

    /// Removes the rows of an address that is about to be nobody's.
    mutating func dropNamed(_ address: IPAddress, of endpointID: String) {
        for peer in told[endpointID]?.keys.map(\.self) ?? [] { setClass(.named(address, peer), nil) }
    }

    private mutating func setNamed(_ address: IPAddress, _ peer: IPAddress, _ names: Set<String>) {
        guard address.family == peer.family else { return }
        setClass(.named(address, peer), names.isEmpty ? nil : portsNamed(names, address, peer))
    }
}
