/// Selectors under small numbers, and which of them match an endpoint, without asking each one.
///
/// Every selector is filed under one of its conditions, that under which fewest others are; an endpoint looks
/// only under the names, labels and network that it has.
package struct SelectorIndex: Sendable {
    private enum Condition: Hashable {
        case name(String)
        case label(String, String)
        case key(String)
        case network(String)
        case networkLabel(String, String)
        case networkKey(String)
        case always
    }

    private var numbers: [EndpointSelector: Int] = [:]
    package private(set) var selectors: [EndpointSelector] = []
    private var filed: [Condition: Set<Int>] = [:]
    /// Where each selector is filed.
    private var places: [[Condition]] = []
    /// Numbers of selectors that have been removed.
    private var free: [Int] = []

    package init() {}

    /// The number that a selector has, if it has one.
    package func known(_ selector: EndpointSelector) -> Int? { numbers[selector] }

    /// The selector's number; equal selectors share one.
    package mutating func number(of selector: EndpointSelector) -> Int {
        if let known = numbers[selector] { return known }
        let places = place(selector)
        let number: Int
        if let reused = free.popLast() {
            number = reused
            selectors[number] = selector
            self.places[number] = places
        } else {
            number = selectors.count
            selectors.append(selector)
            self.places.append(places)
        }
        numbers[selector] = number
        for condition in places { filed[condition, default: []].insert(number) }
        return number
    }

    /// Forgets a selector; its number may be given to another.
    package mutating func remove(_ number: Int) {
        numbers[selectors[number]] = nil
        for condition in places[number] {
            filed[condition]?.remove(number)
            if filed[condition]?.isEmpty ?? false { filed[condition] = nil }
        }
        places[number] = []
        free.append(number)
    }

    /// Conditions of which an endpoint that the selector matches fulfils one at least.
    private func place(_ selector: EndpointSelector) -> [Condition] {
        if let names = selector.endpoints { return names.map { .name($0) } }
        var best: [Condition]?
        var fewest = Int.max
        func offer(_ conditions: [Condition]) {
            let others = conditions.reduce(0) { $0 + (filed[$1]?.count ?? 0) }
            if others < fewest { (best, fewest) = (conditions, others) }
        }
        for (key, value) in selector.labels.matchLabels { offer([.label(key, value)]) }
        for one in selector.labels.matchExpressions where one.condition == .isIn {
            offer(one.values.map { .label(one.key, $0) })
        }
        if let best { return best }
        if let network = selector.network { return [.network(network)] }
        for (key, value) in selector.networkLabels.matchLabels { offer([.networkLabel(key, value)]) }
        for one in selector.networkLabels.matchExpressions where one.condition == .isIn {
            offer(one.values.map { .networkLabel(one.key, $0) })
        }
        for one in selector.labels.matchExpressions where one.condition == .exists {
            offer([.key(one.key)])
        }
        for one in selector.networkLabels.matchExpressions where one.condition == .exists {
            offer([.networkKey(one.key)])
        }
        return best ?? [.always]
    }

    /// The numbers of the selectors that match, ascending.
    package func matches(_ member: NetworkMember) -> [Int] {
        candidates(
            names: [member.endpoint.name, member.endpoint.containerID], labels: member.endpoint.labels,
            network: member.network.name, networkLabels: member.network.labels
        ).filter { selectors[$0].matches(member) }.sorted()
    }

    /// Selectors that may match an endpoint with these properties; no others do.
    package func candidates(
        names: some Sequence<String>, labels: Labels, network: String, networkLabels: Labels
    ) -> Set<Int> {
        // A selector that names both the endpoint's name and its container id is found twice.
        var found = filed[.always] ?? []
        func look(_ condition: Condition) {
            if let numbers = filed[condition] { found.formUnion(numbers) }
        }
        for name in names { look(.name(name)) }
        for (key, value) in labels {
            look(.label(key, value))
            look(.key(key))
        }
        look(.network(network))
        look(.networkLabel(Network.nameLabel, network))
        look(.networkKey(Network.nameLabel))
        for (key, value) in networkLabels where key != Network.nameLabel {
            look(.networkLabel(key, value))
            look(.networkKey(key))
        }
        return found
    }
}
