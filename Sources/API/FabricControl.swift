package import Model

/// What the API's services ask of the fabric, in the model's own values.
///
/// Names that refer to something existing may be a name, an id or an unambiguous prefix of an id; endpoints
/// also `network/name` or a container id. Calls come concurrently. A `ModelError` reaches the caller as its
/// status code; any other error as an internal one, with its description.
package protocol FabricControl: Sendable {
    func createNetwork(_ request: NetworkRequest) async throws -> Network
    /// Without `force` a network that has endpoints is `ModelError.precondition`.
    /// - Returns: the network as it was.
    func deleteNetwork(_ name: String, force: Bool) async throws -> Network
    func network(_ name: String) async throws -> Network
    func networks() async throws -> [Network]
    /// Ensures that the network's bridge is in the kernel and up; idempotent.
    func setUpBridge(network: String) async throws -> Network

    /// Idempotent for the same request; `ModelError.exists` for a different one of the same container.
    func assign(_ request: EndpointRequest) async throws -> NetworkMember
    /// Releases the container from one network, or from all where `network` is nil.
    /// - Returns: what was released; nothing is no error.
    func release(containerID: String, network: String?) async throws -> [NetworkMember]
    func endpoint(_ name: String) async throws -> NetworkMember
    /// Everything that limits an endpoint.
    func limits(_ endpoint: String) async throws -> EffectiveLimits
    /// Those of one network, or all where `network` is nil.
    func endpoints(network: String?) async throws -> [NetworkMember]

    /// Leads ports of the host to an endpoint: all of them, or none.
    func publish(_ ports: [PublishedPort], to endpoint: String) async throws -> NetworkMember
    /// Ends that. `ModelError.notFound` for a port that is not published there.
    func unpublish(_ ports: [PublishedPort], from endpoint: String) async throws -> NetworkMember
    /// Keys of `remove` that are not there are no error.
    func relabel(endpoint: String, set: Labels, remove: [String]) async throws -> NetworkMember
    func relabel(network: String, set: Labels, remove: [String]) async throws -> Network
    /// Cuts an endpoint off, for a time or (nil) until it is released.
    func quarantine(_ name: String, for duration: Duration?, allowing: [QuarantineException]) async throws
        -> NetworkMember
    /// - Returns: the endpoint, nil if it is gone.
    func endQuarantine(_ name: String) async throws -> NetworkMember?

    /// Creates or replaces policies by name: all or none.
    /// - Returns: what happened to each, in order.
    func apply(_ policies: [FirewallPolicy]) async throws -> [PolicyChange]
    /// What applying would do; nothing is changed.
    func preview(_ policies: [FirewallPolicy]) async throws -> PolicyEffect
    /// What these policies, which have been applied, speak of that is not there. One line each, not many.
    func warnings(_ policies: [FirewallPolicy]) async -> [String]
    /// - Returns: the policy as it was.
    func deletePolicy(_ name: String) async throws -> FirewallPolicy
    func policy(_ name: String) async throws -> FirewallPolicy
    func policies() async throws -> [FirewallPolicy]
    func explain(_ query: FlowQuery) async throws -> Explanation

    /// Those of the named endpoints, or of all where `names` is empty.
    func statistics(_ names: [String]) async throws -> [EndpointStatistics]
    /// Flows as they happen. The stream ends when its reader drops it, or with the fabric.
    func watchFlows(_ watch: FlowWatch) async throws -> AsyncStream<FlowEvent>
    func status() async throws -> FabricStatus
}
