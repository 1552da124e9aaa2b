/// What applying a policy did to it.
public enum PolicyChange: String, Hashable, Sendable, CaseIterable {
    case created
    case updated
    case unchanged
}

/// The answer to a `FlowQuery`: the flow as the query was understood, and what decides it.
public struct Explanation: Hashable, Sendable {
    public var flow: Flow
    public var decision: Decision
    /// Why policies in audit mode would deny what is allowed.
    public var audit: DenialReason?

    public init(flow: Flow, decision: Decision, audit: DenialReason? = nil) {
        self.flow = flow
        self.decision = decision
        self.audit = audit
    }
}

/// Packets refused for one reason.
public struct DenialCount: Hashable, Sendable {
    public var reason: DenialReason
    public var packets: UInt64
    public var bytes: UInt64

    public init(reason: DenialReason, packets: UInt64, bytes: UInt64) {
        self.reason = reason
        self.packets = packets
        self.bytes = bytes
    }
}

/// An endpoint's counters since it was attached, as its container sees them: `received` is what came in to
/// it.
public struct EndpointStatistics: Hashable, Sendable {
    public var member: NetworkMember
    public var receivedBytes: UInt64
    public var receivedPackets: UInt64
    public var sentBytes: UInt64
    public var sentPackets: UInt64
    /// Packets that the kernel's link layer dropped on the way to the container.
    public var receivedDropped: UInt64
    /// Packets that the kernel's link layer dropped on the way from the container.
    public var sentDropped: UInt64
    /// What policy refused.
    public var denials: [DenialCount]
    /// First packets of connections that passed and that policies in audit mode would have refused.
    public var audited: [DenialCount] = []
    /// Ports of the host that lead to it.
    public var published: [PublishedTraffic] = []
    /// What it asked its network's resolver; nil where the network has none, or nobody can tell now.
    public var names: NameStatistics?

    public init(
        _ member: NetworkMember, receivedBytes: UInt64 = 0, receivedPackets: UInt64 = 0,
        sentBytes: UInt64 = 0,
        sentPackets: UInt64 = 0, receivedDropped: UInt64 = 0, sentDropped: UInt64 = 0,
        denials: [DenialCount] = []
    ) {
        self.member = member
        self.receivedBytes = receivedBytes
        self.receivedPackets = receivedPackets
        self.sentBytes = sentBytes
        self.sentPackets = sentPackets
        self.receivedDropped = receivedDropped
        self.sentDropped = sentDropped
        self.denials = denials
    }
}

/// What an endpoint asked its network's resolver since it was attached, or the resolver was started.
public struct NameStatistics: Hashable, Sendable {
    public var queries: UInt64 = 0
    /// Of those, answered from the fabric's own names.
    public var local: UInt64 = 0
    /// Answered from what others had asked.
    public var cached: UInt64 = 0
    /// Asked of a resolver outside.
    public var outside: UInt64 = 0
    /// Not answered, by reason: `peer`, `outside`, `flood`.
    public var refused: [String: UInt64] = [:]
    /// How random the names outside look that it has lately asked for: bits a character. Words have some 2.5 to 3.2,
    /// data in disguise 4.5 and more.
    public var entropy = 0.0
    /// Bytes of those names' labels, all in all: what could have been carried out in them.
    public var labelBytes: UInt64 = 0

    public init() {}
}

/// What a fabric says of itself.
public struct FabricStatus: Hashable, Sendable {
    /// How the fabric came to its network namespace.
    public enum Mode: String, Hashable, Sendable, CaseIterable {
        /// In namespaces of its own, made by an ordinary user.
        case rootless
        /// In the network namespace that it was started in.
        case host
    }

    /// A process of the fabric.
    public struct Role: Hashable, Sendable {
        /// `anchor`, `manager`.
        public var name: String
        public var pid: Int32
        public var uptime: Duration
        /// Times that it was started again after it died.
        public var restarts: Int

        public init(name: String, pid: Int32, uptime: Duration, restarts: Int) {
            self.name = name
            self.pid = pid
            self.uptime = uptime
            self.restarts = restarts
        }
    }

    /// The way out of a rootless fabric, while some network may be left.
    public struct Uplink: Hashable, Sendable {
        /// The program that is the way; nil where none runs.
        public var program: String?
        /// 0 where none runs.
        public var pid: Int32
        /// Times that it was started again after it ended.
        public var restarts: Int
        /// What is wrong, nil where nothing is.
        public var trouble: String?

        public init(program: String?, pid: Int32, restarts: Int, trouble: String?) {
            self.program = program
            self.pid = pid
            self.restarts = restarts
            self.trouble = trouble
        }
    }

    /// Something that the kernel or the machine lacks.
    public struct MissingFeature: Hashable, Sendable {
        public var name: String
        /// What does not work for lack of it, and what would help.
        public var explanation: String

        public init(name: String, explanation: String) {
            self.name = name
            self.explanation = explanation
        }
    }

    public var version: String
    public var mode: Mode
    public var roles: [Role]
    public var networkCount: Int
    public var endpointCount: Int
    public var policyCount: Int
    public var missingFeatures: [MissingFeature]
    /// nil where no network may be left, or by the host's own routes.
    public var uplink: Uplink?
    public var socketPath: String
    public var runtimeDirectory: String
    public var stateDirectory: String

    public init(
        version: String, mode: Mode, roles: [Role], networkCount: Int, endpointCount: Int, policyCount: Int,
        missingFeatures: [MissingFeature], socketPath: String, runtimeDirectory: String,
        stateDirectory: String
    ) {
        self.version = version
        self.mode = mode
        self.roles = roles
        self.networkCount = networkCount
        self.endpointCount = endpointCount
        self.policyCount = policyCount
        self.missingFeatures = missingFeatures
        self.socketPath = socketPath
        self.runtimeDirectory = runtimeDirectory
        self.stateDirectory = stateDirectory
    }
}
