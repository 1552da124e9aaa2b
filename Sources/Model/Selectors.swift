/// One condition on labels, as Kubernetes writes it.
public struct LabelRequirement: Hashable, Sendable, Codable {
    public enum Operator: String, Hashable, Sendable, CaseIterable, Codable {
        /// The label is there and its value is one of `values`.
        case isIn = "In"
        /// The label is missing or its value is none of `values`.
        case isNotIn = "NotIn"
        case exists = "Exists"
        case doesNotExist = "DoesNotExist"
    }

    public let key: String
    public let condition: Operator
    /// Empty for `exists` and `doesNotExist`.
    public let values: Set<String>

    public init(_ key: String, _ condition: Operator, _ values: Set<String> = []) {
        self.key = key
        self.condition = condition
        self.values = values
    }

    /// - Parameter value: of the label with this key; nil where there is none.
    public func holds(for value: String?) -> Bool {
        switch condition {
        case .isIn: value.map(values.contains) ?? false
        case .isNotIn: !(value.map(values.contains) ?? false)
        case .exists: value != nil
        case .doesNotExist: value == nil
        }
    }
}

/// Conditions on labels that must all hold. Without any it matches everything; what is to match nothing has
/// no selector at all.
public struct LabelSelector: Hashable, Sendable, Codable {
    /// Every one of these labels with this value.
    public var matchLabels: Labels
    public var matchExpressions: [LabelRequirement]

    public init(_ matchLabels: Labels = [:], _ matchExpressions: [LabelRequirement] = []) {
        self.matchLabels = matchLabels
        self.matchExpressions = matchExpressions
    }

    public var matchesEverything: Bool { matchLabels.isEmpty && matchExpressions.isEmpty }

    /// - Parameter label: the value that a key has.
    public func matches(_ label: (String) -> String?) -> Bool {
        matchLabels.allSatisfy { label($0.key) == $0.value }
            && matchExpressions.allSatisfy { $0.holds(for: label($0.key)) }
    }
}

/// Which endpoints: all conditions must hold. An empty selector matches every endpoint.
public struct EndpointSelector: Hashable, Sendable {
    /// On the endpoint's labels.
    public var labels: LabelSelector
    /// On the labels of the endpoint's network, `kubernetes.io/metadata.name` among them.
    public var networkLabels: LabelSelector
    /// The endpoint's name or container id is one of these; nil asks nothing.
    public var endpoints: Set<String>?
    /// The name of the endpoint's network; nil asks nothing.
    public var network: String?

    public init(
        labels: LabelSelector, networkLabels: LabelSelector = LabelSelector(), endpoints: Set<String>? = nil,
        network: String? = nil
    ) {
        self.labels = labels
        self.networkLabels = networkLabels
        self.endpoints = endpoints
        self.network = network
    }

    public init(matchLabels: Labels = [:], endpoints: Set<String>? = nil, network: String? = nil) {
        self.init(labels: LabelSelector(matchLabels), endpoints: endpoints, network: network)
    }

    /// Every one of these labels with this value.
    public var matchLabels: Labels {
        get { labels.matchLabels }
        set { labels.matchLabels = newValue }
    }

    /// Whether every condition holds.
    public func matches(_ member: NetworkMember) -> Bool {
        let endpoint = member.endpoint
        if let network, network != member.network.name { return false }
        if let endpoints, !endpoints.contains(endpoint.name), !endpoints.contains(endpoint.containerID) {
            return false
        }
        return labels.matches { endpoint.labels[$0] } && networkLabels.matches(member.network.label)
    }
}

extension Network {
    /// The label that every network has, whatever its own labels say: its name.
    public static let nameLabel = "kubernetes.io/metadata.name"

    /// The value of a label as selectors see it.
    public func label(_ key: String) -> String? { key == Network.nameLabel ? name : labels[key] }
}
