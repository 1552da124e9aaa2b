internal import API
internal import CLinux
internal import Logging
internal import Model
internal import Namespaces
internal import NetworkManager
internal import Synchronization
internal import Sys

/// The manager at work: the network manager behind the API on the fabric's socket.
final class FabricService: Sendable {
    private let context: ManagerContext
    private let log: Logger
    private let parts = Mutex<(NetworkManager, APIServer)?>(nil)
    /// Ends when nothing is served any more.
    private let serving = AsyncStream<Never>.makeStream()

    init(_ context: ManagerContext) {
        self.context = context
        Self.startLogging()
        log = Logger(label: "forged")
    }

    /// FORGE_LOG names a level of swift-log; "notice" where it is unset or no level.
    private static func startLogging() {
        let level = FabricPaths.environment("FORGE_LOG").flatMap { Logger.Level(rawValue: $0) } ?? .notice
        LoggingSystem.bootstrap { label in
            var handler = StreamLogHandler.standardError(label: label)
            handler.logLevel = level
            return handler
        }
    }

    /// Adopts what is there, then serves until `stop`.
    /// - Parameter onReady: called once callers are answered.
    func run(onReady: @Sendable () -> Void) async throws {
        var configuration = NetworkManager.Configuration(
            stateDirectory: context.paths.stateDirectory, ownsNamespace: context.mode == .rootless)
        configuration.uplinkWanted = context.uplink?.want
        configuration.proxyHost = context.proxyHost
        configuration.filesDirectory = context.paths.endpointFiles
        configuration.nameSocket = context.paths.nameSocket
        let manager = try await NetworkManager(configuration)
        let (context, log) = (context, log)
        let server = try APIServer(
            control: FabricDesk(manager: manager, context: context),
            socket: Descriptor(owning: context.listener)
        ) { connection in
            do {
                if try context.isAllowed(connection) { return true }
                log.warning("a connection of another user was refused")
            } catch {
                log.warning("a connection was refused: \(error)")
            }
            return false
        }
        parts.withLock { $0 = (manager, server) }
        onReady()
        defer { serving.continuation.finish() }
        try await server.serve()
    }

    /// Answers what is under way, and ends `run`.
    /// - Parameter removeKernelState: take down bridges, links and rules; else they stay for the next
    ///   manager.
    func stop(removeKernelState: Bool) async {
        guard let (manager, server) = parts.withLock({ $0 }) else { return }
        if removeKernelState {
            do { try await manager.tearDown() } catch { log.error("not everything was removed: \(error)") }
        } else {
            await manager.stop()
        }
        // Last: once nothing is served any more the process may end.
        server.stop()
        await lastWords()
    }

    /// Those who watch hear that it is over, if they listen.
    private func lastWords() async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { [stream = serving.stream] in for await _ in stream {} }
            group.addTask { try? await Task.sleep(for: .milliseconds(500)) }
            await group.next()
            group.cancelAll()
        }
    }
}

/// The façade as the API knows it, and what only this process can say of the fabric.
private struct FabricDesk: FabricControl {
    let manager: NetworkManager
    let context: ManagerContext

    func createNetwork(_ request: NetworkRequest) async throws -> Network {
        // A gateway's sockets may be on their way out.
        await manager.portsClosed()
        return try await manager.createNetwork(request)
    }
    func deleteNetwork(_ name: String, force: Bool) async throws -> Network {
        let network = try await manager.deleteNetwork(name, force: force)
        await manager.portsClosed()
        return network
    }
    func network(_ name: String) async throws -> Network { try await manager.network(name) }
    func networks() async throws -> [Network] { await manager.networks() }
    func setUpBridge(network: String) async throws -> Network {
        try await manager.setUpBridge(network: network)
    }

    func assign(_ request: EndpointRequest) async throws -> NetworkMember {
        try await manager.assignWhenFree(request).member
    }
    func release(containerID: String, network: String?) async throws -> [NetworkMember] {
        let released = try await manager.release(containerID: containerID, network: network)
        await manager.portsClosed()
        return released
    }
    func endpoint(_ name: String) async throws -> NetworkMember { try await manager.endpoint(name) }
    func limits(_ endpoint: String) async throws -> EffectiveLimits { try await manager.limits(endpoint) }
    func endpoints(network: String?) async throws -> [NetworkMember] {
        try await manager.endpoints(network: network)
    }

    func publish(_ ports: [PublishedPort], to endpoint: String) async throws -> NetworkMember {
        try await manager.publish(ports, to: endpoint)
    }
    func unpublish(_ ports: [PublishedPort], from endpoint: String) async throws -> NetworkMember {
        try await manager.unpublish(ports, from: endpoint)
    }

    func relabel(endpoint: String, set: Labels, remove: [String]) async throws -> NetworkMember {
        let done = try await manager.relabel(endpoint: endpoint, set: set, remove: remove)
        await manager.portsClosed()
        return done
    }
    func relabel(network: String, set: Labels, remove: [String]) async throws -> Network {
        let done = try await manager.relabel(network: network, set: set, remove: remove)
        await manager.portsClosed()
        return done
    }
    func quarantine(_ name: String, for duration: Duration?, allowing: [QuarantineException]) async throws
        -> NetworkMember
    {
        let done = try await manager.quarantine(name, for: duration, allowing: allowing)
        await manager.portsClosed()
        return done
    }
    func endQuarantine(_ name: String) async throws -> NetworkMember? {
        try await manager.endQuarantine(name)
    }

    func apply(_ policies: [FirewallPolicy]) async throws -> [PolicyChange] {
        await manager.portsClosed()
        let done = try await manager.apply(policies)
        await manager.portsClosed()
        return done
    }
    func preview(_ policies: [FirewallPolicy]) async throws -> PolicyEffect {
        try await manager.preview(policies)
    }

    func warnings(_ policies: [FirewallPolicy]) async -> [String] { await manager.warnings(policies) }
    func deletePolicy(_ name: String) async throws -> FirewallPolicy {
        let policy = try await manager.deletePolicy(name)
        await manager.portsClosed()
        return policy
    }
    func policy(_ name: String) async throws -> FirewallPolicy { try await manager.policy(name) }
    func policies() async throws -> [FirewallPolicy] { await manager.policies() }
    func explain(_ query: FlowQuery) async throws -> Explanation { try await manager.explain(query) }

    func statistics(_ names: [String]) async throws -> [EndpointStatistics] {
        try await manager.statistics(names)
    }

    func watchFlows(_ watch: FlowWatch) async throws -> AsyncStream<FlowEvent> {
        try await manager.watchFlows(watch)
    }

    func status() async throws -> FabricStatus {
        var roles = [
            FabricStatus.Role(
                name: "manager", pid: getpid(), uptime: uptime(of: getpid()), restarts: context.restarts)
        ]
        if context.mode == .rootless {
            roles.insert(
                FabricStatus.Role(name: "anchor", pid: getppid(), uptime: uptime(of: getppid()), restarts: 0),
                at: 0)
        }
        if let proxy = await manager.proxy {
            roles.append(
                FabricStatus.Role(
                    name: "proxy", pid: proxy.pid, uptime: uptime(of: proxy.pid), restarts: proxy.restarts))
        }
        let counts = await manager.counts
        let uplink = await uplink()
        var missing = await manager.missingFeatures
        if let uplink, uplink.program == nil {
            missing.append(
                .init(
                    name: "uplink",
                    explanation: "networks made with --nat have no way out: \(uplink.trouble ?? "")"))
        }
        var status = FabricStatus(
            version: FabricVersion.text, mode: context.mode == .rootless ? .rootless : .host, roles: roles,
            networkCount: counts.networks, endpointCount: counts.endpoints, policyCount: counts.policies,
            missingFeatures: missing,
            socketPath: context.paths.socket, runtimeDirectory: context.paths.runtimeDirectory,
            stateDirectory: context.paths.stateDirectory)
        status.uplink = uplink
        return status
    }

    /// nil where no network may be left, or by the host's routes.
    private func uplink() async -> FabricStatus.Uplink? {
        guard let line = context.uplink, await manager.networks().contains(where: \.nat) else { return nil }
        let state: UplinkState
        do { state = try line.state() } catch { state = UplinkState(trouble: "\(error)") }
        return FabricStatus.Uplink(
            program: state.program?.description, pid: state.pid, restarts: Int(clamping: state.restarts),
            trouble: state.trouble.isEmpty ? nil : state.trouble)
    }

    private func uptime(of pid: Int32) -> Duration {
        // proc(5): field 22 of stat is the start in ticks of 1/100 s since boot; the name before may hold
        // anything.
        let fields = ((try? readFile("/proc/\(pid)/stat")) ?? "").split(separator: ")").last?.split(
            separator: " ")
        let now = ((try? readFile("/proc/uptime")) ?? "").split(separator: " ").first.flatMap { Double($0) }
        guard let fields, fields.count > 19, let start = Double(fields[19]), let now else { return .zero }
        return .seconds(max(0, now - start / 100))
    }
}
