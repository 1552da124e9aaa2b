internal import Model
internal import Wire

/// Identities found by what selectors ask of them, so that a new selector need not try each.
struct IdentityIndex {
    private enum Property: Hashable {
        case name(String)
        case label(String, String)
        case network(String)
        case networkLabel(String, String)
    }

    private var all: Set<UInt32> = []
    private var having: [Property: Set<UInt32>] = [:]

    mutating func insert(_ number: UInt32, _ identity: Identity) {
        all.insert(number)
        for property in properties(identity) { having[property, default: []].insert(number) }
    }

    mutating func remove(_ number: UInt32, _ identity: Identity) {
        all.remove(number)
        for property in properties(identity) {
            having[property]?.remove(number)
            if having[property]?.isEmpty ?? false { having[property] = nil }
        }
    }

    /// Identities that may match a selector; no others do.
    func candidates(_ selector: EndpointSelector) -> Set<UInt32> {
        var best = all
        func narrow(_ properties: some Sequence<Property>) {
            var found: Set<UInt32> = []
            for property in properties {
                if let numbers = having[property] { found.formUnion(numbers) }
                guard found.count < best.count else { return }
            }
            best = found
        }
        if let names = selector.endpoints { narrow(names.lazy.map { .name($0) }) }
        if let network = selector.network { narrow([.network(network)]) }
        for (key, value) in selector.labels.matchLabels { narrow([.label(key, value)]) }
        for one in selector.labels.matchExpressions where one.condition == .isIn {
            narrow(one.values.lazy.map { .label(one.key, $0) })
        }
        for (key, value) in selector.networkLabels.matchLabels { narrow([.networkLabel(key, value)]) }
        for one in selector.networkLabels.matchExpressions where one.condition == .isIn {
            narrow(one.values.lazy.map { .networkLabel(one.key, $0) })
        }
        return best
    }

    private func properties(_ identity: Identity) -> Set<Property> {
        var properties: Set<Property> = [.network(identity.networkName)]
        properties.insert(.networkLabel(Network.nameLabel, identity.networkName))
        for name in identity.names { properties.insert(.name(name)) }
        for (key, value) in identity.labels { properties.insert(.label(key, value)) }
        for (key, value) in identity.networkLabels where key != Network.nameLabel {
            properties.insert(.networkLabel(key, value))
        }
        return properties
    }
}

/// Addresses in ascending order, found by block.
struct AddressIndex {
    private var numbers: [IPFamily: [UInt128]] = [.v4: [], .v6: []]

    mutating func insert(_ address: IPAddress) {
        let place = place(address.family, address.bits)
        if numbers[address.family]?.dropFirst(place).first == address.bits { return }
        numbers[address.family]?.insert(address.bits, at: place)
    }

    mutating func remove(_ address: IPAddress) {
        let place = place(address.family, address.bits)
        guard numbers[address.family]?.dropFirst(place).first == address.bits else { return }
        numbers[address.family]?.remove(at: place)
    }

    func inside(_ block: CIDR) -> [IPAddress] {
        let last = block.last.bits
        return (numbers[block.family] ?? []).dropFirst(place(block.family, block.first.bits)).prefix {
            $0 <= last
        }.map { IPAddress(block.family, bits: $0) }
    }

    /// The index of the first that is not below a bound.
    private func place(_ family: IPFamily, _ bound: UInt128) -> Int {
        guard let numbers = numbers[family] else { return 0 }
        var low = 0
        var high = numbers.count
        while low < high {
            let middle = (low + high) / 2
            if numbers[middle] < bound { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
