internal import Bridge
internal import Firewall
internal import Logging
public import Model
internal import NAT
internal import Namespaces
internal import Store
internal import Sys
internal import VNet
internal import Wire

/// The fabric: networks, the endpoints in them and the policies between them.
///
/// One actor owns the desired state, the store and the sockets to the kernel. Every change is validated
/// whole, recorded, carried out, and undone if a step fails; between a call's first look at the state and its
/// last write nothing else runs, since no step suspends.
///
/// The manager works in the network namespace that its process is in. Killing the process changes nothing in
/// the kernel: the next manager on the same store adopts bridges, links and rules as they are.
public actor NetworkManager {
    /// What a fabric is told when it starts.
    public struct Configuration: Sendable {
        /// Where the database is kept; made if missing, readable by its owner alone.
        public var stateDirectory: String
        /// Whether the fabric has its network namespace to itself and may set namespace-wide switches, such
        /// as strict connection tracking, as it likes.
        public var ownsNamespace: Bool
        /// Keep others from changing our nf_tables, where the kernel can; false mends what they did instead.
        package var ownsTables = true
        /// What starts the proxy, which answers names and forwards ports; nil where there is none.
        package var proxyHost: (any ProxyHost)?
        /// Where endpoints' files are kept; made if missing. nil for nowhere.
        package var filesDirectory: String?
        /// Where the host itself asks for names; nil for nowhere.
        package var nameSocket: String?
        /// Told whether some network may be left, once at start and whenever that changes: whoever runs the
        /// fabric then sees to a way out of its namespace. Called on the manager's actor; must not wait.
        /// False where that could not be passed on, and has to be said again.
        package var uplinkWanted: (@Sendable (Bool) -> Bool)?

        public init(stateDirectory: String, ownsNamespace: Bool) {
            self.stateDirectory = stateDirectory
            self.ownsNamespace = ownsNamespace
        }
    }

    let configuration: Configuration
    let log: Logger
    let home: HomeNamespace
    let store: SQLiteStore
    var bridge: BridgePlane
    var firewall: FirewallPlane
    var nat: NATPlane
    /// What `uplinkWanted` was told last.
    var toldUplink: Bool?
    var connections: ConnectionTable
    /// By network id.
    var allocators: [String: EndpointAllocator] = [:]
    var directory = Directory()
    /// A change of what is allowed has been recorded, and connections have not been looked at since.
    var isCutDue = false
    /// Policies made ready for questions; nil after they have changed.
    var evaluation: PolicySet?
    /// Waits for the next quarantine to end.
    var quarantineExpiry: Task<Void, Never>?
    /// Interface numbers of bridges, by network id and segment.
    var bridges: [String: [UInt32]] = [:]
    /// Features that the kernel or the machine lacks, found at start.
    public internal(set) var missingFeatures: [FabricStatus.MissingFeature] = []
    /// How many there are, without looking at any.
    public var counts: (networks: Int, endpoints: Int, policies: Int) {
        (directory.networks.count, directory.endpoints.count, directory.policies.count)
    }
    /// The proxy, while one is needed.
    package var proxy: (pid: Int32, restarts: Int)? { names.proxy }
    /// What traffic control cannot do here, found at start.
    var missingShaping: [MissingShaping] = []
    private var watchers: [Task<Void, Never>] = []
    /// nil where flows cannot be watched, and once the manager has stopped.
    var flows: FlowMonitor?
    /// Packets that limits on bandwidth have dropped and that were told of, by endpoint id.
    var toldShaped: [String: [DenialReason: UInt64]] = [:]
    var shapedTelling: Task<Void, Never>?
    var departed = DepartedMembers()
    var names = NameDesk()
    var ports = PortDesk()
    var hosts = HostDesk()
    /// What the proxy's host was told last.
    var toldProxyHost: Bool?

    /// Opens the store, adopts what the kernel already holds, and mends what is not as recorded.
    ///
    /// - Throws: `ModelError` or an error whose description is one line for a person.
    public init(_ configuration: Configuration) async throws {
        self.configuration = configuration
        log = Logger(label: "manager")
        home = try HomeNamespace()
        store = try SQLiteStore(path: configuration.stateDirectory + "/fabric.db")
        bridge = try BridgePlane()
        firewall = try FirewallPlane(ownsTables: configuration.ownsTables)
        nat = try NATPlane(ownsTable: firewall.ownsTables, bridgeGroup: Ownership.group)
        connections = try ConnectionTable()
        directory.filesDirectory = configuration.filesDirectory
        try prepareNamespace()
        try probeLimits()
        try adopt()
        try startWatching()
        endExpiredQuarantines()
        startFlows()
        startProxy()
    }

    /// Stops watching the kernel. Networks and connections stay as they are, for the next manager to adopt.
    public func stop() async {
        for watcher in stopWatching() { await watcher.value }
        firewall.disown()
        nat.disown()
    }

    private func stopWatching() -> [Task<Void, Never>] {
        let stopped = watchers + [quarantineExpiry, names.expiry?.task].compactMap(\.self)
        for watcher in stopped { watcher.cancel() }
        watchers = []
        quarantineExpiry = nil
        flows?.stop()
        flows = nil
        return stopped
    }

    /// Stops, and removes everything that the fabric made in its namespace; the store keeps networks and
    /// policies.
    ///
    /// Endpoints are released. Failures are collected: what can be removed is.
    public func tearDown() throws {
        _ = stopWatching()
        var failures: [any Error] = []
        // All links in one go; what is left to do for each endpoint is to forget it.
        do { try bridge.removeEverything() } catch { failures.append(error) }
        for endpoint in directory.endpoints.values { failures += remove(endpoint) }
        do { try nat.destroy() } catch { failures.append(error) }
        do { try firewall.destroy() } catch { failures.append(error) }
        if !failures.isEmpty { throw TeardownError(failures: failures) }
    }

    func watch(_ task: Task<Void, Never>) { watchers.append(task) }
}

/// Everything that went wrong while something was taken apart, which did not stop at the first failure.
public struct TeardownError: Error, CustomStringConvertible {
    public let failures: [any Error]
    public var description: String { failures.map { "\($0)" }.joined(separator: "; ") }
}
