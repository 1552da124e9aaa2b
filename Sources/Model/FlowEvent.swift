public import Wire

/// What a reader of flows is told, in the order in which it happened.
public enum FlowEvent: Hashable, Sendable {
    /// Connections that began, or packets that were denied.
    case flow(FlowRecord)
    /// Something happened that cannot be told.
    case lost(FlowLoss)
    /// The reader was too slow for so many events, up to this time in microseconds since 1970.
    case missed(UInt64, time: UInt64)
}

/// Equal flows of about a second: new connections that were allowed, or packets that were not.
public struct FlowRecord: Hashable, Sendable {
    public enum Verdict: String, Hashable, Sendable, CaseIterable {
        case allow
        case deny
        /// Allowed, though a policy in audit mode would deny it.
        case audit
    }

    /// When the first of them was seen, in microseconds since 1970.
    public var time: UInt64
    public var verdict: Verdict
    /// Seen from `member`; from the sender where there is none.
    public var direction: Direction
    /// The endpoint whose side this is: of an allowed connection the one that began it, if that is an
    /// endpoint. nil where it is gone.
    public var member: NetworkMember?
    /// The endpoint at the other end, if it is one.
    public var peer: NetworkMember?
    /// The other end is the fabric itself.
    public var peerIsGateway: Bool
    /// What the frame says is in it: 0x0800 is IPv4.
    public var etherType: UInt16
    /// The protocol above IP, where there is one.
    public var l4proto: UInt8?
    /// nil in a frame that has no address that can be read.
    public var source: IPAddress?
    public var destination: IPAddress?
    /// nil where the protocol has none, or they had several.
    public var sourcePort: UInt16?
    public var destinationPort: UInt16?
    public var icmpType: UInt8?
    /// Why, if the verdict is to deny, or would be.
    public var reason: DenialReason?
    /// Connections, or packets that were denied.
    public var count: UInt64

    public init(
        time: UInt64, verdict: Verdict, direction: Direction, member: NetworkMember?, peer: NetworkMember?,
        peerIsGateway: Bool = false, etherType: UInt16, l4proto: UInt8?, source: IPAddress?,
        destination: IPAddress?, sourcePort: UInt16? = nil, destinationPort: UInt16? = nil,
        icmpType: UInt8? = nil, reason: DenialReason? = nil, count: UInt64 = 1
    ) {
        self.time = time
        self.verdict = verdict
        self.direction = direction
        self.member = member
        self.peer = peer
        self.peerIsGateway = peerIsGateway
        self.etherType = etherType
        self.l4proto = l4proto
        self.source = source
        self.destination = destination
        self.sourcePort = sourcePort
        self.destinationPort = destinationPort
        self.icmpType = icmpType
        self.reason = reason
        self.count = count
    }
}

extension FlowRecord {
    /// `tcp`, `icmpv6`, `arp`, `proto-47`; of a frame that is none of these its type, such as `0x88cc`.
    public var protocolName: String {
        switch (etherType, l4proto) {
        case (0x0806, _): return "arp"
        case (_, 1?): return "icmp"
        case (_, 6?): return "tcp"
        case (_, 17?): return "udp"
        case (_, 58?): return "icmpv6"
        case (_, 132?): return "sctp"
        case (_, let number?): return "proto-\(number)"
        case (let type, nil):
            let digits = String(type, radix: 16)
            return "0x" + String(repeating: "0", count: 4 - digits.count) + digits
        }
    }
}

/// Flows that happened and are not described.
public struct FlowLoss: Hashable, Sendable {
    public enum Cause: String, Hashable, Sendable, CaseIterable {
        /// The endpoint was denied more packets than its share of what is described.
        case share
        /// More was denied in the whole fabric than the manager could read.
        case denials
        /// More connections began than the manager could read.
        case connections
        /// They were denied before the manager began that tells of them.
        case earlier
        /// A limit on bandwidth dropped them, of which the kernel says nothing but how many.
        case bandwidth
    }

    /// In microseconds since 1970.
    public var time: UInt64
    public var cause: Cause
    /// Whose denials they were, if of one endpoint.
    public var member: NetworkMember?
    /// How many; nil where nobody knows, which connections alone can be.
    public var count: UInt64?
    /// Why they were denied, where all were for one reason.
    public var reason: DenialReason?

    public init(
        time: UInt64, cause: Cause, member: NetworkMember? = nil, count: UInt64?, reason: DenialReason? = nil
    ) {
        self.time = time
        self.cause = cause
        self.member = member
        self.count = count
        self.reason = reason
    }
}

/// Which flows a reader wants to be told of.
public struct FlowWatch: Hashable, Sendable {
    /// Those that one of these endpoints has a part in; all where there is none.
    public var endpoints: [String]
    public var deniedOnly: Bool
    /// What is remembered of the last while comes first.
    public var includesRecent: Bool
    /// Goes on with what happens from now on.
    public var follows: Bool

    public init(
        endpoints: [String] = [], deniedOnly: Bool = false, includesRecent: Bool = true, follows: Bool = true
    ) {
        self.endpoints = endpoints
        self.deniedOnly = deniedOnly
        self.includesRecent = includesRecent
        self.follows = follows
    }
}

/// Which events pass, once it is known what the names of a ``FlowWatch`` stand for.
public struct FlowFilter: Hashable, Sendable {
    /// Ids of endpoints; nil lets all pass.
    public var endpointIDs: Set<String>?
    public var deniedOnly: Bool

    public init(endpointIDs: Set<String>? = nil, deniedOnly: Bool = false) {
        self.endpointIDs = endpointIDs
        self.deniedOnly = deniedOnly
    }

    public func passes(_ event: FlowEvent) -> Bool {
        switch event {
        case .flow(let record):
            (!deniedOnly || record.verdict != .allow) && (isAsked(record.member) || isAsked(record.peer))
        case .lost(let loss):
            // A loss that is not of one endpoint may be of any.
            (!deniedOnly || loss.cause != .connections) && (loss.member == nil || isAsked(loss.member))
        case .missed: true
        }
    }

    private func isAsked(_ member: NetworkMember?) -> Bool {
        guard let endpointIDs else { return true }
        return member.map { endpointIDs.contains($0.endpoint.id) } ?? false
    }
}
