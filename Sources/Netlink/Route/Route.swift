package import Wire

/// A unicast route of the main table.
package struct Route: Hashable, Sendable {
    /// Nil is the default route.
    package var destination: CIDR?
    package var family: IPFamily
    package var gateway: IPAddress?
    package var link: UInt32
    /// The lower, the earlier it is asked; zero is the kernel's default (0 for IPv4, 1024 for IPv6).
    package var metric: UInt32
    /// The gateway is reached over the link even if no subnet there holds it.
    package var onLink: Bool

    package init(
        destination: CIDR?, family: IPFamily, gateway: IPAddress?, link: UInt32, metric: UInt32 = 0,
        onLink: Bool = false
    ) {
        self.destination = destination
        self.family = family
        self.gateway = gateway
        self.link = link
        self.metric = metric
        self.onLink = onLink
    }

    /// The default route through a gateway.
    package static func standard(
        via gateway: IPAddress, link: UInt32, metric: UInt32 = 0, onLink: Bool = false
    ) -> Route {
        Route(
            destination: nil, family: gateway.family, gateway: gateway, link: link, metric: metric,
            onLink: onLink)
    }

    /// Reads an RTM_NEWROUTE or RTM_DELROUTE; nil for what this type does not describe: other families,
    /// tables and kinds.
    package init?(_ message: Message) throws(DecodeError) {
        var reader = ByteReader(message.payload)
        // struct rtmsg
        let rawFamily: UInt8 = try reader.integer("rtm_family")
        let length: UInt8 = try reader.integer("rtm_dst_len")
        try reader.skip(2, "rtm_src_len, rtm_tos")
        let shortTable: UInt8 = try reader.integer("rtm_table")
        try reader.skip(2, "rtm_protocol, rtm_scope")
        let kind: UInt8 = try reader.integer("rtm_type")
        let flags: UInt32 = try reader.integer("rtm_flags")
        let attributes = try Attribute.parse(reader.rest)
        switch AddressFamily(rawValue: rawFamily) {
        case .ipv4: family = .v4
        case .ipv6: family = .v6
        default: return nil
        }
        let table = try attributes[type: RouteAttribute.table]?.integer() ?? UInt32(shortTable)
        guard table == mainTable, kind == unicastRoute else { return nil }
        if let address = try attributes[type: RouteAttribute.destination]?.address() {
            guard address.family == family, Int(length) <= family.width else {
                throw DecodeError("rtm_dst_len", at: 1, "\(length) does not fit \(address)")
            }
            destination = CIDR(containing: address, prefixLength: Int(length))
        }
        gateway = try attributes[type: RouteAttribute.gateway]?.address()
        link = try attributes[type: RouteAttribute.outputInterface]?.integer() ?? 0
        metric = try attributes[type: RouteAttribute.priority]?.integer() ?? 0
        onLink = flags & onLinkFlag != 0
    }
}

extension Request {
    package static func addRoute(_ route: Route) -> Request {
        route.request(.newRoute, [.create, .exclusive], "add route")
    }

    package static func deleteRoute(_ route: Route) -> Request {
        route.request(.deleteRoute, [], "delete route")
    }

    /// Reads the routes of a family, for `NetlinkSocket.dump`.
    package static func listRoutes(_ family: IPFamily) -> Request {
        Request(.getRoute, [], subject: "list routes") { message in
            message.header { header in
                header.integer(AddressFamily(family).rawValue)
                header.zeros(11)
            }
        }
    }
}

// linux/rtnetlink.h: RT_TABLE_MAIN, RTPROT_STATIC, RTN_UNICAST, RTNH_F_ONLINK, RT_SCOPE_LINK.
private let mainTable: UInt32 = 254
private let staticRoute: UInt8 = 4
private let unicastRoute: UInt8 = 1
private let onLinkFlag: UInt32 = 4
private let linkScope: UInt8 = 253

extension Route {
    fileprivate func request(_ type: MessageType, _ flags: MessageFlags, _ verb: String) -> Request {
        let name = destination?.description ?? "default"
        return Request(type, flags, subject: "\(verb) \(name)" + (gateway.map { " via \($0)" } ?? "")) {
            message in
            message.header { header in
                // struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags.
                header.integer(AddressFamily(family).rawValue)
                header.integer(UInt8(destination?.prefixLength ?? 0))
                header.zeros(2)
                header.integer(UInt8(mainTable))
                header.integer(staticRoute)
                header.integer(gateway == nil ? linkScope : 0)
                header.integer(unicastRoute)
                header.integer(onLink ? onLinkFlag : 0)
            }
            if let destination { message.attribute(RouteAttribute.destination, destination.first) }
            if let gateway { message.attribute(RouteAttribute.gateway, gateway) }
            message.attribute(RouteAttribute.outputInterface, link)
            if metric != 0 { message.attribute(RouteAttribute.priority, metric) }
        }
    }
}
