/// What a policy is called. Policies of different dialects never have the same id.
public struct PolicyID: Hashable, Sendable, Codable, Comparable, CustomStringConvertible {
    /// The language that a policy is written in.
    public enum Dialect: String, Hashable, Sendable, CaseIterable, Codable {
        case native = "policy"
        /// Kubernetes, `networking.k8s.io/v1`.
        case networkPolicy = "NetworkPolicy"
        /// Kubernetes, `policy.networking.k8s.io/v1alpha2`.
        case clusterNetworkPolicy = "ClusterNetworkPolicy"
    }

    public let dialect: Dialect
    /// Of a `NetworkPolicy` only: the network whose endpoints it is for.
    public let namespace: String?
    /// The name inside dialect and namespace.
    public let name: String

    private init(_ dialect: Dialect, _ namespace: String?, _ name: String) {
        self.dialect = dialect
        self.namespace = namespace
        self.name = name
    }

    public static func native(_ name: String) -> PolicyID { PolicyID(.native, nil, name) }
    public static func networkPolicy(_ name: String, in namespace: String) -> PolicyID {
        PolicyID(.networkPolicy, namespace, name)
    }
    public static func clusterNetworkPolicy(_ name: String) -> PolicyID {
        PolicyID(.clusterNetworkPolicy, nil, name)
    }

    /// `web`, `shop/web` or `ClusterNetworkPolicy/web`: a network's name has no capitals and a native name no
    /// slash, so these three are different.
    public var description: String {
        switch dialect {
        case .native: name
        case .networkPolicy: "\(namespace ?? "")/\(name)"
        case .clusterNetworkPolicy: "\(dialect.rawValue)/\(name)"
        }
    }

    /// By description.
    public static func < (a: PolicyID, b: PolicyID) -> Bool { a.description < b.description }

    /// - Throws: `ModelError.invalid` naming the field.
    func check() throws(ModelError) {
        switch dialect {
        case .native: try Name.check(name, field: "policy")
        case .networkPolicy:
            try Name.check(namespace ?? "", field: "metadata.namespace")
            try Name.checkSubdomain(name, field: "metadata.name")
        case .clusterNetworkPolicy: try Name.checkSubdomain(name, field: "metadata.name")
        }
    }
}
