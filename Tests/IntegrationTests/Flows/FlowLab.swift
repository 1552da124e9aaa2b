import LabSupport
import Model
import Namespaces
import NetworkManager
import Synchronization
import Sys
import Testing
import Wire

/// A manager with a network, `shop`, and containers in it.
final class FlowLab {
    let manager: NetworkManager
    private let directory: TemporaryDirectory
    private var containers: [String: FlowContainer] = [:]

    static func with(_ body: (FlowLab) async throws -> Void) async throws {
        let lab = try await FlowLab()
        do { try await body(lab) } catch {
            try? await lab.manager.tearDown()
            throw error
        }
        try await lab.manager.tearDown()
    }

    private init() async throws {
        directory = try TemporaryDirectory()
        manager = try await NetworkManager(.init(stateDirectory: directory.path, ownsNamespace: true))
        try await manager.createNetwork(NetworkRequest(name: "shop"))
    }

    /// Attaches a new container.
    @discardableResult
    func attach(_ name: String, to network: String = "shop", labels: Labels = [:]) async throws
        -> FlowContainer
    {
        let namespace = try LabNamespace()
        let assigned = try await manager.assign(
            containerID: "c-\(name)", network: network, namespace: .path(namespace.path), name: name,
            labels: labels)
        let container = FlowContainer(namespace, assigned.addresses, assigned.endpoint.hostInterfaceName)
        containers[name] = container
        return container
    }

    /// Packets that the kernel has counted as denied to an endpoint.
    func denied(_ name: String) async throws -> UInt64 {
        try await manager.statistics([name]).flatMap(\.denials).reduce(0) { $0 + $1.packets }
    }

    func read(_ watch: FlowWatch) async throws -> FlowCollector {
        FlowCollector(try await manager.watchFlows(watch))
    }
}

final class FlowContainer {
    let namespace: LabNamespace
    let addresses: [IPAddress]
    let hostInterface: String

    init(_ namespace: consuming LabNamespace, _ addresses: [IPAddress], _ hostInterface: String) {
        self.namespace = namespace
        self.addresses = addresses
        self.hostInterface = hostInterface
    }

    var address: IPAddress { addresses[0] }

    /// Sends the first packet of something, from this address or its own.
    func send(_ kind: Probe.Kind, to other: IPAddress, from source: IPAddress? = nil) throws {
        let own = source ?? addresses.first { $0.family == other.family } ?? address
        try namespace.inside {
            _ = try Probe(kind, from: own.description, to: other.description, token: 7)
        }
    }

    /// Sends so many datagrams as fast as they go.
    func flood(_ count: Int, to other: IPAddress, port: UInt16) throws {
        let socket = try namespace.inside {
            try LabSockets.connect(.udp, other.description, port: port)
        }
        for _ in 0..<count { try LabSockets.send(socket, "x") }
    }

    func ip(_ line: String) throws {
        let result = try namespace.plan(["ip"] + line.split(separator: " ").map(String.init)).run(
            timeoutSeconds: 10)
        try #require(result.status.code == 0, "ip \(line): \(result.errors)")
    }
}

/// Reads a stream of flows to its end, and keeps what came.
final class FlowCollector: Sendable {
    private final class Kept: Sendable {
        let state = Mutex<(events: [FlowEvent], isOver: Bool)>(([], false))
    }

    private let kept = Kept()
    private let task: Task<Void, Never>

    init(_ stream: AsyncStream<FlowEvent>) {
        task = Task { [kept] in
            for await event in stream { kept.state.withLock { $0.events.append(event) } }
            kept.state.withLock { $0.isOver = true }
        }
    }

    deinit { task.cancel() }

    var events: [FlowEvent] { kept.state.withLock { $0.events } }
    var isOver: Bool { kept.state.withLock { $0.isOver } }

    var records: [FlowRecord] {
        events.compactMap { if case .flow(let record) = $0 { record } else { nil } }
    }

    var losses: [FlowLoss] {
        events.compactMap { if case .lost(let loss) = $0 { loss } else { nil } }
    }

    /// Waits until what came is so, at most some seconds by this task's own time.
    func wait(seconds: Double = 5, until isSo: (FlowCollector) -> Bool) async -> Bool {
        let clock = ContinuousClock()
        // Where other tests keep every thread busy, a task has its turn when they have done.
        let limit = clock.now + .seconds(20 * seconds)
        while !isSo(self) {
            guard clock.now < limit else { return false }
            try? await Task.sleep(for: .milliseconds(10))
        }
        return true
    }

    /// The first flow that is so, once it has come.
    func first(where isSo: @escaping (FlowRecord) -> Bool) async -> FlowRecord? {
        _ = await wait { $0.records.contains(where: isSo) }
        return records.first(where: isSo)
    }
}
