package import Wire

/// One direction of a connection as connection tracking sees it.
package struct ConntrackTuple: Hashable, Sendable, CustomStringConvertible {
    /// What tells connections of one protocol between two addresses apart.
    package enum Selector: Hashable, Sendable {
        case ports(source: UInt16, destination: UInt16)
        case icmp(type: UInt8, code: UInt8, id: UInt16)
        /// A protocol without ports.
        case none
    }

    package var source: IPAddress
    package var destination: IPAddress
    /// The number of the protocol above IP: 6 for TCP, 17 for UDP.
    package var l4proto: UInt8
    package var selector: Selector
    /// Set where a zone counts for this direction only.
    package var zone: UInt16?

    package init(
        source: IPAddress, destination: IPAddress, l4proto: UInt8, selector: Selector, zone: UInt16? = nil
    ) {
        self.source = source
        self.destination = destination
        self.l4proto = l4proto
        self.selector = selector
        self.zone = zone
    }

    package var sourcePort: UInt16? {
        if case .ports(let source, _) = selector { source } else { nil }
    }

    package var destinationPort: UInt16? {
        if case .ports(_, let destination) = selector { destination } else { nil }
    }

    package var description: String {
        switch selector {
        case .ports(let from, let to):
            "protocol \(l4proto) \(source) port \(from) to \(destination) port \(to)"
        case .icmp(let type, let code, let id):
            "protocol \(l4proto) \(source) to \(destination) type \(type) code \(code) id \(id)"
        case .none: "protocol \(l4proto) \(source) to \(destination)"
        }
    }
}

/// `enum ip_conntrack_status`.
package struct ConntrackStatus: OptionSet, Hashable, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    package static let expected = ConntrackStatus(rawValue: 1 << 0)
    package static let seenReply = ConntrackStatus(rawValue: 1 << 1)
    package static let assured = ConntrackStatus(rawValue: 1 << 2)
    package static let confirmed = ConntrackStatus(rawValue: 1 << 3)
    package static let sourceNAT = ConntrackStatus(rawValue: 1 << 4)
    package static let destinationNAT = ConntrackStatus(rawValue: 1 << 5)
    package static let dying = ConntrackStatus(rawValue: 1 << 9)
    package static let offloaded = ConntrackStatus(rawValue: 1 << 14)
}

/// A connection that the kernel keeps track of.
package struct ConntrackEntry: Hashable, Sendable {
    /// Of the first packet.
    package var original: ConntrackTuple
    /// Of packets that come back: the original turned round, but for address translation.
    package var reply: ConntrackTuple
    package var status: ConntrackStatus
    package var mark: UInt32
    /// Tells the entry from a later one with the same tuple.
    package var id: UInt32?
    /// Seconds until the entry goes unless packets come. Absent in events of the entry's end.
    package var timeoutSeconds: UInt32?
    package var zone: UInt16
    /// Present where the sysctl `net.netfilter.nf_conntrack_acct` was on when the connection began.
    package var originalCounter: NftCounter?
    package var replyCounter: NftCounter?

    package init(
        original: ConntrackTuple, reply: ConntrackTuple, status: ConntrackStatus = [], mark: UInt32 = 0,
        id: UInt32? = nil, timeoutSeconds: UInt32? = nil, zone: UInt16 = 0,
        originalCounter: NftCounter? = nil,
        replyCounter: NftCounter? = nil
    ) {
        self.original = original
        self.reply = reply
        self.status = status
        self.mark = mark
        self.id = id
        self.timeoutSeconds = timeoutSeconds
        self.zone = zone
        self.originalCounter = originalCounter
        self.replyCounter = replyCounter
    }
}

extension ConntrackEntry {
    /// Where the connection was led to: where it was begun to, but for destination NAT.
    package var destination: IPAddress {
        status.contains(.destinationNAT) ? reply.source : original.destination
    }
    package var destinationPort: UInt16? {
        status.contains(.destinationNAT) ? reply.sourcePort : original.destinationPort
    }
}

/// A connection's beginning, change or end.
package struct ConntrackEvent: Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
        case new
        case update
        case destroy
    }

    package let kind: Kind
    package let entry: ConntrackEntry
}
