internal import Wire

/// Message types of linux/rtnetlink.h.
extension MessageType {
    package static let newLink = MessageType(rawValue: 16)
    package static let deleteLink = MessageType(rawValue: 17)
    package static let getLink = MessageType(rawValue: 18)
    package static let newAddress = MessageType(rawValue: 20)
    package static let deleteAddress = MessageType(rawValue: 21)
    package static let getAddress = MessageType(rawValue: 22)
    package static let newRoute = MessageType(rawValue: 24)
    package static let deleteRoute = MessageType(rawValue: 25)
    package static let getRoute = MessageType(rawValue: 26)
    package static let newNeighbour = MessageType(rawValue: 28)
    package static let deleteNeighbour = MessageType(rawValue: 29)
    package static let getNeighbour = MessageType(rawValue: 30)
}

/// Multicast groups of linux/rtnetlink.h (`enum rtnetlink_groups`).
package struct RouteGroup: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    package static let link = RouteGroup(rawValue: 1)
    package static let neighbour = RouteGroup(rawValue: 3)
    package static let ipv4Address = RouteGroup(rawValue: 5)
    package static let ipv4Route = RouteGroup(rawValue: 7)
    package static let ipv6Address = RouteGroup(rawValue: 9)
    package static let ipv6Route = RouteGroup(rawValue: 11)
}

extension NetlinkSocket where Proto == RouteProtocol {
    /// Joins a group of notifications.
    package borrowing func subscribe(to group: RouteGroup) throws(NetlinkError) {
        try subscribe(to: group.rawValue)
    }
}

/// Address families of linux/socket.h, as rtnetlink's headers name them.
package struct AddressFamily: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }

    package static let unspecified = AddressFamily(rawValue: 0)
    package static let ipv4 = AddressFamily(rawValue: 2)
    package static let bridge = AddressFamily(rawValue: 7)
    package static let ipv6 = AddressFamily(rawValue: 10)

    init(_ family: IPFamily) { self = family == .v4 ? .ipv4 : .ipv6 }
}

/// Attributes of a link (linux/if_link.h, `IFLA_*`).
enum LinkAttribute {
    static let address: UInt16 = 1
    static let name: UInt16 = 3
    static let mtu: UInt16 = 4
    static let peer: UInt16 = 5
    static let master: UInt16 = 10
    static let operationalState: UInt16 = 16
    static let info: UInt16 = 18
    static let alias: UInt16 = 20
    static let statistics64: UInt16 = 23
    static let familySpecific: UInt16 = 26
    static let group: UInt16 = 27
    static let namespaceDescriptor: UInt16 = 28
    static let extensionMask: UInt16 = 29
    static let transmitQueues: UInt16 = 31
    static let receiveQueues: UInt16 = 32
    static let carrier: UInt16 = 33
}

/// Inside `IFLA_LINKINFO`.
enum LinkInfoAttribute {
    static let kind: UInt16 = 1
    static let data: UInt16 = 2
    static let masterKind: UInt16 = 4
    static let portData: UInt16 = 5
}

/// Inside a bridge's `IFLA_INFO_DATA` (`IFLA_BR_*`).
enum BridgeAttribute {
    static let forwardDelay: UInt16 = 1
    static let spanningTree: UInt16 = 5
    static let multicastSnooping: UInt16 = 23
}

/// Inside a bridge port's `IFLA_INFO_SLAVE_DATA` (`IFLA_BRPORT_*`).
enum PortAttribute {
    static let learning: UInt16 = 8
    static let unicastFlood: UInt16 = 9
    static let multicastFlood: UInt16 = 27
    static let broadcastFlood: UInt16 = 30
    static let isolated: UInt16 = 33
}

/// `VETH_INFO_PEER` of linux/veth.h.
let vethPeerAttribute: UInt16 = 1

/// `IFLA_INET6_ADDR_GEN_MODE` inside `IFLA_AF_SPEC`'s AF_INET6.
let addressGenerationAttribute: UInt16 = 8

/// Attributes of an address (linux/if_addr.h, `IFA_*`).
enum AddressAttribute {
    static let address: UInt16 = 1
    static let local: UInt16 = 2
    static let flags: UInt16 = 8
}

/// Attributes of a route (linux/rtnetlink.h, `RTA_*`).
enum RouteAttribute {
    static let destination: UInt16 = 1
    static let outputInterface: UInt16 = 4
    static let gateway: UInt16 = 5
    static let priority: UInt16 = 6
    static let table: UInt16 = 15
    static let expires: UInt16 = 23
}

/// Attributes of a neighbour (linux/neighbour.h, `NDA_*`).
enum NeighbourAttribute {
    static let destination: UInt16 = 1
    static let linkLayerAddress: UInt16 = 2
    static let master: UInt16 = 9
}

extension PayloadWriter {
    mutating func attribute(_ type: UInt16, _ address: IPAddress) {
        switch address {
        case .v4(let address): attributeBE(type, address.bits)
        case .v6(let address): attributeBE(type, address.bits)
        }
    }

    mutating func attribute(_ type: UInt16, _ mac: MACAddress) { attribute(type, bytes: mac.bytes) }
}

extension Attribute {
    /// An address of four or sixteen bytes.
    func address() throws(DecodeError) -> IPAddress {
        guard let address = IPAddress(bytes: payload) else {
            throw DecodeError("attribute \(type)", at: 0, "\(payload.count) bytes are no IP address")
        }
        return address
    }

    /// A link-layer address; nil where the link's are not Ethernet's (a tunnel's are shorter or longer).
    var mac: MACAddress? { MACAddress(bytes: payload) }
}
