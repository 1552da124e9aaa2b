package import Wire

/// What stands in a link's table of neighbours, or in a bridge's of addresses.
package enum Neighbour: Hashable, Sendable {
    /// An address and its MAC, for good: it is never asked for on the wire.
    case permanent(IPAddress, MACAddress, link: UInt32)
    /// The link answers for this address as if it were its own.
    case proxy(IPAddress, link: UInt32)
    /// A bridge sends frames to this MAC out of this port, and never learns otherwise.
    case station(MACAddress, port: UInt32)

    /// Reads an RTM_NEWNEIGH or RTM_DELNEIGH; nil for what this type does not describe: entries that were
    /// learnt, and a port's own address.
    package init?(_ message: Message) throws(DecodeError) {
        var reader = ByteReader(message.payload)
        // struct ndmsg
        let family = AddressFamily(rawValue: try reader.integer("ndm_family"))
        try reader.skip(3, "padding")
        let link: UInt32 = try reader.integer("ndm_ifindex")
        let state: UInt16 = try reader.integer("ndm_state")
        let flags: UInt8 = try reader.integer("ndm_flags")
        try reader.skip(1, "ndm_type")
        let attributes = try Attribute.parse(reader.rest)
        let mac = attributes[type: NeighbourAttribute.linkLayerAddress]?.mac
        switch family {
        case .bridge:
            guard state == noARP, attributes[type: NeighbourAttribute.master] != nil, let mac else {
                return nil
            }
            self = .station(mac, port: link)
        case .ipv4, .ipv6:
            guard let address = try attributes[type: NeighbourAttribute.destination]?.address() else {
                return nil
            }
            if flags & proxyFlag != 0 {
                self = .proxy(address, link: link)
            } else if state == permanentState, let mac {
                self = .permanent(address, mac, link: link)
            } else {
                return nil
            }
        default: return nil
        }
    }

    /// The tables that can be read.
    package enum Table: Hashable, Sendable, CaseIterable {
        case neighbours, proxies, stations
    }
}

extension Request {
    /// Puts an entry in, in place of one for the same address.
    package static func addNeighbour(_ neighbour: Neighbour) -> Request {
        neighbour.request(.newNeighbour, [.create, .replace], "add")
    }

    package static func deleteNeighbour(_ neighbour: Neighbour) -> Request {
        neighbour.request(.deleteNeighbour, [], "delete")
    }

    /// Reads one table in full, for `NetlinkSocket.dump`.
    package static func listNeighbours(_ table: Neighbour.Table) -> Request {
        Request(.getNeighbour, [], subject: "list \(table)") { message in
            switch table {
            case .neighbours: message.neighbourHeader(.unspecified, 0, state: 0, flags: 0)
            case .proxies: message.neighbourHeader(.unspecified, 0, state: 0, flags: proxyFlag)
            case .stations: message.neighbourHeader(.bridge, 0, state: 0, flags: 0)
            }
        }
    }
}

// linux/neighbour.h: NUD_PERMANENT, NUD_NOARP, NTF_MASTER, NTF_PROXY.
private let permanentState: UInt16 = 0x80
private let noARP: UInt16 = 0x40
private let masterFlag: UInt8 = 0x04
private let proxyFlag: UInt8 = 0x08

extension Neighbour {
    fileprivate func request(_ type: MessageType, _ flags: MessageFlags, _ verb: String) -> Request {
        switch self {
        case .permanent(let address, let mac, let link):
            Request(type, flags, subject: "\(verb) neighbour \(address)") { message in
                message.neighbourHeader(AddressFamily(address.family), link, state: permanentState, flags: 0)
                message.attribute(NeighbourAttribute.destination, address)
                message.attribute(NeighbourAttribute.linkLayerAddress, mac)
            }
        case .proxy(let address, let link):
            Request(type, flags, subject: "\(verb) proxy neighbour \(address)") { message in
                message.neighbourHeader(
                    AddressFamily(address.family), link, state: permanentState, flags: proxyFlag)
                message.attribute(NeighbourAttribute.destination, address)
            }
        case .station(let mac, let port):
            Request(type, flags, subject: "\(verb) station \(mac)") { message in
                message.neighbourHeader(.bridge, port, state: noARP, flags: masterFlag)
                message.attribute(NeighbourAttribute.linkLayerAddress, mac)
            }
        }
    }
}

extension PayloadWriter {
    fileprivate mutating func neighbourHeader(
        _ family: AddressFamily, _ link: UInt32, state: UInt16, flags: UInt8
    ) {
        header { header in
            // struct ndmsg: family, pad, pad, ifindex, state, flags, type.
            header.integer(family.rawValue)
            header.zeros(3)
            header.integer(link)
            header.integer(state)
            header.integer(flags)
            header.integer(UInt8(0))
        }
    }
}
