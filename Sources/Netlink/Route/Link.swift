package import Wire

/// Counters of a link (`struct rtnl_link_stats64`), seen from its own side.
package struct LinkStatistics: Hashable, Sendable {
    package var receivedPackets: UInt64 = 0
    package var sentPackets: UInt64 = 0
    package var receivedBytes: UInt64 = 0
    package var sentBytes: UInt64 = 0
    package var receiveErrors: UInt64 = 0
    package var sendErrors: UInt64 = 0
    package var receiveDrops: UInt64 = 0
    package var sendDrops: UInt64 = 0

    package init() {}

    init(_ payload: ArraySlice<UInt8>) throws(DecodeError) {
        var reader = ByteReader(payload)
        receivedPackets = try reader.integer("rx_packets")
        sentPackets = try reader.integer("tx_packets")
        receivedBytes = try reader.integer("rx_bytes")
        sentBytes = try reader.integer("tx_bytes")
        receiveErrors = try reader.integer("rx_errors")
        sendErrors = try reader.integer("tx_errors")
        receiveDrops = try reader.integer("rx_dropped")
        sendDrops = try reader.integer("tx_dropped")
    }
}

/// A link as the kernel describes it.
package struct Link: Hashable, Sendable {
    package var index: UInt32
    package var name: String
    /// "bridge", "veth", "ifb"; empty for hardware and loopback.
    package var kind: String
    package var flags: LinkFlags
    package var mtu: UInt32
    /// Nil where the link has no Ethernet address.
    package var mac: MACAddress?
    /// The bridge it is a port of; zero for none.
    package var master: UInt32
    package var group: UInt32
    /// Empty where there is none.
    package var alias: String
    package var hasCarrier: Bool
    /// What IPv6 does by itself; nil where the link has no IPv6 or the kernel did not say.
    package var addressGeneration: AddressGeneration?
    /// For a bridge.
    package var bridge: BridgeOptions?
    /// For a port of a bridge.
    package var port: PortOptions?
    /// Present if they were asked for.
    package var statistics: LinkStatistics?

    /// Reads an RTM_NEWLINK or RTM_DELLINK.
    package init(_ message: Message) throws(DecodeError) {
        var reader = ByteReader(message.payload)
        // struct ifinfomsg
        try reader.skip(4, "ifi_family, ifi_type")
        index = try reader.integer("ifi_index")
        flags = LinkFlags(rawValue: try reader.integer("ifi_flags"))
        try reader.skip(4, "ifi_change")
        let attributes = try Attribute.parse(reader.rest)
        name = attributes[type: LinkAttribute.name]?.string ?? ""
        mtu = try attributes[type: LinkAttribute.mtu]?.integer() ?? 0
        mac = attributes[type: LinkAttribute.address]?.mac
        master = try attributes[type: LinkAttribute.master]?.integer() ?? 0
        group = try attributes[type: LinkAttribute.group]?.integer() ?? 0
        alias = attributes[type: LinkAttribute.alias]?.string ?? ""
        hasCarrier = attributes[type: LinkAttribute.carrier]?.isTrue ?? flags.contains(.lowerUp)
        statistics =
            if let counters = attributes[type: LinkAttribute.statistics64] {
                try LinkStatistics(counters.payload)
            } else { nil }
        addressGeneration = try Self.addressGeneration(attributes)

        let info = try attributes[type: LinkAttribute.info]?.nested() ?? []
        kind = info[type: LinkInfoAttribute.kind]?.string ?? ""
        if kind == "bridge", let data = try info[type: LinkInfoAttribute.data]?.nested() {
            bridge = BridgeOptions(
                forwardDelay: try data[type: BridgeAttribute.forwardDelay]?.integer(),
                spanningTree: data[type: BridgeAttribute.spanningTree]?.isTrue,
                multicastSnooping: data[type: BridgeAttribute.multicastSnooping]?.isTrue)
        }
        if info[type: LinkInfoAttribute.masterKind]?.string == "bridge",
            let data = try info[type: LinkInfoAttribute.portData]?.nested()
        {
            port = PortOptions(data)
        }
    }

    private static func addressGeneration(_ attributes: [Attribute]) throws(DecodeError) -> AddressGeneration?
    {
        let families = try attributes[type: LinkAttribute.familySpecific]?.nested() ?? []
        guard let ipv6 = try families[type: UInt16(AddressFamily.ipv6.rawValue)]?.nested(),
            let mode = ipv6[type: addressGenerationAttribute]
        else { return nil }
        return AddressGeneration(rawValue: try mode.integer())
    }
}

/// What a listening socket (`RouteGroup.link`) is told.
package enum LinkEvent: Hashable, Sendable {
    /// New, or something about it is different.
    case changed(Link)
    case deleted(Link)

    /// Nil for a message that is about something else.
    package init?(_ message: Message) throws(DecodeError) {
        // A bridge also speaks of its ports with AF_BRIDGE: leaving a bridge looks like a deletion there.
        guard message.payload.first == AddressFamily.unspecified.rawValue else { return nil }
        switch message.type {
        case .newLink: self = .changed(try Link(message))
        case .deleteLink: self = .deleted(try Link(message))
        default: return nil
        }
    }

    package var link: Link {
        switch self {
        case .changed(let link), .deleted(let link): link
        }
    }
}
