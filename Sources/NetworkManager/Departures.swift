package import Model
internal import Namespaces
internal import VNet
internal import Wire

/// A container that has ended holds its name, its addresses and its ports until the kernel has taken its network
/// namespace apart, which is some time after its last process. Whoever starts it anew need not know.
extension NetworkManager {
    /// How long the kernel may take.
    private static let patience: Duration = .seconds(5)

    /// As `assign`, once what the request asks for is no longer held by a container that has ended.
    package func assignWhenFree(_ request: EndpointRequest) async throws -> Assignment {
        // Nobody waits for what would be refused.
        try request.validate()
        try removePredecessor(of: request)
        try await makeWay {
            guard let network = try? directory.network(named: request.network) else { return [] }
            let named = request.name.map { directory.endpoints(withName: $0) } ?? []
            return named.filter { $0.networkID == network.id }
                + request.addresses.compactMap { directory.endpoint(at: $0) } + holders(of: request.published)
        }
        return try assign(request)
    }

    /// Waits until ports are no longer held by containers that have ended, nor on their way out.
    func makeWay(for ports: [PublishedPort]) async throws { try await makeWay { holders(of: ports) } }

    /// - Parameter holders: who has what somebody asks for.
    private func makeWay(_ holders: () -> [Endpoint]) async throws {
        let deadline = ContinuousClock.now + Self.patience
        // Whose namespace is no longer where it was found may live on somewhere else: the kernel alone knows.
        while holders().contains(where: { reopen($0.namespace) == nil }), .now < deadline {
            try await Task.sleep(for: .milliseconds(2))
        }
        await portsClosed()
    }

    /// The same container with another namespace has been started anew.
    private func removePredecessor(of request: EndpointRequest) throws {
        guard let network = try? directory.network(named: request.network),
            let old = directory.endpoints[
                Identifier.endpoint(networkID: network.id, containerID: request.containerID)],
            reopen(old.namespace) == nil
        else { return }
        // What cannot be done leaves all as it is.
        _ = try open(request.namespace)
        let failures = remove(old)
        if !failures.isEmpty { throw TeardownError(failures: failures) }
    }

    private func holders(of ports: [PublishedPort]) -> [Endpoint] {
        ports.compactMap { self.ports.conflict(with: $0) }.compactMap { directory.endpoints[$0.endpointID] }
    }
}
