public import Wire

/// What a change of policies would do, found out without doing it.
public struct PolicyEffect: Hashable, Sendable {
    /// What would happen to each policy, in the order of the request.
    public var changes: [PolicyChange] = []
    public var reach: [ReachChange] = []
    /// How many more changes of reach there are than are listed.
    public var omittedReach = 0
    public var cuts: [CutConnection] = []
    public var omittedCuts = 0

    /// How many of each are listed.
    public static let listLimit = 500

    public init() {}
}

/// Who gains or loses reach to whom, on which ports.
public struct ReachChange: Hashable, Sendable {
    /// One end: an endpoint, or a run of addresses outside the fabric.
    public enum End: Hashable, Sendable {
        case endpoint(NetworkMember)
        case outside(IPAddress, IPAddress)
    }

    public var from: End
    public var to: End
    public var ports: ReachPorts
    public var before: Decision
    public var after: Decision

    public init(from: End, to: End, ports: ReachPorts, before: Decision, after: Decision) {
        self.from = from
        self.to = to
        self.ports = ports
        self.before = before
        self.after = after
    }

    public var gains: Bool { after.isAllowed }
}

/// Ports as a change of reach speaks of them.
public enum ReachPorts: Hashable, Sendable, CustomStringConvertible {
    /// Every port of every protocol.
    case everything
    case range(PortRange)
    /// Protocols that policy has no names for.
    case otherProtocols

    public var description: String {
        switch self {
        case .everything: "everything"
        case .range(let range): range.description
        case .otherProtocols: "other protocols"
        }
    }
}

/// A live connection that would be cut, and why.
public struct CutConnection: Hashable, Sendable {
    public var flow: Flow
    public var reason: DenialReason

    public init(flow: Flow, reason: DenialReason) {
        self.flow = flow
        self.reason = reason
    }
}
