/// Selectors under small numbers, and which of them match an endpoint, without asking each one.
///
/// Every selector is filed under one of its conditions, the one that fewest endpoints fulfil; an endpoint
/// looks only under the names, labels and network that it has.
struct SelectorIndex: Sendable {
    private enum Condition: Hashable {
        case name(String)
        case label(String, String)
        case network(String)
        case always
    }

    private var numbers: [EndpointSelector: Int] = [:]
    private(set) var selectors: [EndpointSelector] = []
    private var filed: [Condition: [Int]] = [:]

    /// The selector's number; equal selectors share one.
    mutating func number(of selector: EndpointSelector) -> Int {
        if let known = numbers[selector] { return known }
        let number = selectors.count
        selectors.append(selector)
        numbers[selector] = number
        if let names = selector.endpoints {
            for name in names { filed[.name(name), default: []].append(number) }
        } else if let (key, value) = selector.matchLabels.min(by: { $0.key < $1.key }) {
            filed[.label(key, value), default: []].append(number)
        } else if let network = selector.network {
            filed[.network(network), default: []].append(number)
        } else {
            filed[.always, default: []].append(number)
        }
        return number
    }

    /// The numbers of the selectors that match, ascending.
    func matches(_ member: NetworkMember) -> [Int] {
        let endpoint = member.endpoint
        var conditions: Set<Condition> = [.always, .network(member.network.name)]
        conditions.formUnion([.name(endpoint.name), .name(endpoint.containerID)])
        conditions.formUnion(endpoint.labels.map { .label($0.key, $0.value) })
        // A selector that names both the endpoint's name and its container id is found twice.
        return Set(conditions.flatMap { filed[$0] ?? [] }).filter { selectors[$0].matches(member) }.sorted()
    }
}
