package import Wire

/// Which link a request means.
package enum LinkTarget: Hashable, Sendable, CustomStringConvertible {
    case index(UInt32)
    case name(String)

    package var description: String {
        switch self {
        case .index(let index): "\(index)"
        case .name(let name): name
        }
    }
}

/// Flags of a link (linux/if.h, `IFF_*`).
package struct LinkFlags: OptionSet, Hashable, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Someone wants it up.
    package static let up = LinkFlags(rawValue: 1 << 0)
    package static let loopback = LinkFlags(rawValue: 1 << 3)
    /// It is up and the other side too (RFC 2863).
    package static let running = LinkFlags(rawValue: 1 << 6)
    /// The driver sees a carrier.
    package static let lowerUp = LinkFlags(rawValue: 1 << 16)
}

/// How a link gets its IPv6 link-local address by itself (linux/if_link.h, `IN6_ADDR_GEN_MODE_*`).
package struct AddressGeneration: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }

    package static let modifiedEUI64 = AddressGeneration(rawValue: 0)
    package static let none = AddressGeneration(rawValue: 1)
}

/// What a bridge is told of itself. A field that is nil stays as it is.
package struct BridgeOptions: Hashable, Sendable {
    /// In hundredths of a second.
    package var forwardDelay: UInt32?
    package var spanningTree: Bool?
    package var multicastSnooping: Bool?

    package init(forwardDelay: UInt32? = nil, spanningTree: Bool? = nil, multicastSnooping: Bool? = nil) {
        self.forwardDelay = forwardDelay
        self.spanningTree = spanningTree
        self.multicastSnooping = multicastSnooping
    }

    func write(to info: inout PayloadWriter) {
        info.nested(LinkInfoAttribute.data) { data in
            if let forwardDelay { data.attribute(BridgeAttribute.forwardDelay, forwardDelay) }
            if let spanningTree { data.attribute(BridgeAttribute.spanningTree, UInt32(spanningTree ? 1 : 0)) }
            if let multicastSnooping {
                data.attribute(BridgeAttribute.multicastSnooping, UInt8(multicastSnooping ? 1 : 0))
            }
        }
    }
}

/// What a bridge is told of one of its ports. A field that is nil stays as it is.
package struct PortOptions: Hashable, Sendable {
    /// Frames never pass between two isolated ports.
    package var isolated: Bool?
    /// Source addresses of frames are learnt.
    package var learning: Bool?
    /// Frames to unknown addresses are sent out here.
    package var unicastFlood: Bool?
    package var multicastFlood: Bool?
    package var broadcastFlood: Bool?

    package init(
        isolated: Bool? = nil, learning: Bool? = nil, unicastFlood: Bool? = nil, multicastFlood: Bool? = nil,
        broadcastFlood: Bool? = nil
    ) {
        self.isolated = isolated
        self.learning = learning
        self.unicastFlood = unicastFlood
        self.multicastFlood = multicastFlood
        self.broadcastFlood = broadcastFlood
    }

    /// Type of the attribute and value, for those that are set.
    private var settings: [(UInt16, Bool?)] {
        [
            (PortAttribute.learning, learning), (PortAttribute.unicastFlood, unicastFlood),
            (PortAttribute.multicastFlood, multicastFlood), (PortAttribute.broadcastFlood, broadcastFlood),
            (PortAttribute.isolated, isolated),
        ]
    }

    func write(to info: inout PayloadWriter) {
        info.attribute(LinkInfoAttribute.masterKind, string: "bridge")
        info.nested(LinkInfoAttribute.portData) { data in
            for case (let type, let value?) in settings { data.attribute(type, UInt8(value ? 1 : 0)) }
        }
    }

    init(_ attributes: [Attribute]) {
        isolated = attributes[type: PortAttribute.isolated]?.isTrue
        learning = attributes[type: PortAttribute.learning]?.isTrue
        unicastFlood = attributes[type: PortAttribute.unicastFlood]?.isTrue
        multicastFlood = attributes[type: PortAttribute.multicastFlood]?.isTrue
        broadcastFlood = attributes[type: PortAttribute.broadcastFlood]?.isTrue
    }
}

extension Attribute {
    /// A number of any width that is not zero.
    var isTrue: Bool { payload.contains { $0 != 0 } }
}

/// The other end of a veth pair: it is born where it is going to live, with the name it is going to have.
package struct VethPeer: Hashable, Sendable {
    package var name: String
    /// Zero lets the kernel choose; otherwise the pair's own index must be chosen too.
    package var index: UInt32
    package var mac: MACAddress?
    package var mtu: UInt32?
    /// The number of an open descriptor of the network namespace; nil is the socket's own.
    package var namespace: Int32?

    package init(
        name: String, index: UInt32 = 0, mac: MACAddress? = nil, mtu: UInt32? = nil, namespace: Int32? = nil
    ) {
        self.name = name
        self.index = index
        self.mac = mac
        self.mtu = mtu
        self.namespace = namespace
    }
}

/// A link to be made.
package struct LinkSpec: Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
        case bridge(BridgeOptions)
        case veth(peer: VethPeer)
        /// Takes what is redirected to it, queues it, and gives it back to where it came from.
        case ifb
    }

    package var name: String
    /// Zero lets the kernel choose.
    package var index: UInt32
    package var mac: MACAddress?
    package var mtu: UInt32?
    package var group: UInt32?
    package var master: UInt32?
    /// Transmit and receive queues, of both ends of a pair; nil is one a processor.
    package var queues: UInt32?
    package var kind: Kind

    package init(
        name: String, index: UInt32 = 0, mac: MACAddress? = nil, mtu: UInt32? = nil, group: UInt32? = nil,
        master: UInt32? = nil, queues: UInt32? = nil, kind: Kind
    ) {
        self.name = name
        self.index = index
        self.mac = mac
        self.mtu = mtu
        self.group = group
        self.master = master
        self.queues = queues
        self.kind = kind
    }
}

/// What shall be different about a link. A field that is nil stays as it is.
package struct LinkChange: Hashable, Sendable {
    package var isUp: Bool?
    package var mac: MACAddress?
    package var mtu: UInt32?
    package var alias: String?
    package var group: UInt32?
    /// Zero takes it out of its bridge.
    package var master: UInt32?
    /// Takes effect after `isUp` when both are in one change.
    package var addressGeneration: AddressGeneration?
    /// The link is a bridge.
    package var bridge: BridgeOptions?
    /// The link is a port of a bridge already.
    package var port: PortOptions?

    package init(
        isUp: Bool? = nil, mac: MACAddress? = nil, mtu: UInt32? = nil, alias: String? = nil,
        group: UInt32? = nil,
        master: UInt32? = nil, addressGeneration: AddressGeneration? = nil, bridge: BridgeOptions? = nil,
        port: PortOptions? = nil
    ) {
        self.isUp = isUp
        self.mac = mac
        self.mtu = mtu
        self.alias = alias
        self.group = group
        self.master = master
        self.addressGeneration = addressGeneration
        self.bridge = bridge
        self.port = port
    }

    /// It asks for nothing.
    package var isEmpty: Bool { self == LinkChange() }
}
