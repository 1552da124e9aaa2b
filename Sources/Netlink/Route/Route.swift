package import Wire

/// A route: to elsewhere, in the main table, or to this host itself, in the local one.
package struct Route: Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
        case unicast
        /// Packets to the destination are for this host.
        case local
    }

    package var kind: Kind
    /// Nil is the default route.
    package var destination: CIDR?
    package var family: IPFamily
    package var gateway: IPAddress?
    package var link: UInt32
    /// The lower, the earlier it is asked; zero is the kernel's default (0 for IPv4, 1024 for IPv6).
    package var metric: UInt32
    /// The gateway is reached over the link even if no subnet there holds it.
    package var onLink: Bool

    /// Seconds after which it vanishes; IPv6 only, and not told when routes are read.
    package var lifetime: UInt32?

    package init(
        _ kind: Kind = .unicast, destination: CIDR?, family: IPFamily, gateway: IPAddress? = nil,
        link: UInt32,
        metric: UInt32 = 0, onLink: Bool = false, lifetime: UInt32? = nil
    ) {
        self.kind = kind
        self.destination = destination
        self.family = family
        self.gateway = gateway
        self.link = link
        self.metric = metric
        self.onLink = onLink
        self.lifetime = lifetime
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
        let type: UInt8 = try reader.integer("rtm_type")
        let flags: UInt32 = try reader.integer("rtm_flags")
        let attributes = try Attribute.parse(reader.rest)
        switch AddressFamily(rawValue: rawFamily) {
        case .ipv4: family = .v4
        case .ipv6: family = .v6
        default: return nil
        }
        let table = try attributes[type: RouteAttribute.table]?.integer() ?? UInt32(shortTable)
        switch (table, type) {
        case (UInt32(Kind.unicast.table), Kind.unicast.type): kind = .unicast
        case (UInt32(Kind.local.table), Kind.local.type): kind = .local
        default: return nil
        }
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

    /// Adds a route, in place of one with the same destination and metric.
    package static func replaceRoute(_ route: Route) -> Request {
        route.request(.newRoute, [.create, .replace], "replace route")
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

// linux/rtnetlink.h: RTPROT_STATIC, RTNH_F_ONLINK.
private let staticRoute: UInt8 = 4
private let onLinkFlag: UInt32 = 4

extension Route.Kind {
    /// RT_TABLE_MAIN, RT_TABLE_LOCAL.
    fileprivate var table: UInt8 { self == .unicast ? 254 : 255 }
    /// RTN_UNICAST, RTN_LOCAL.
    fileprivate var type: UInt8 { self == .unicast ? 1 : 2 }
}

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
                header.integer(kind.table)
                header.integer(staticRoute)
                header.integer(scope)
                header.integer(kind.type)
                header.integer(onLink ? onLinkFlag : 0)
            }
            if let destination { message.attribute(RouteAttribute.destination, destination.first) }
            if let gateway { message.attribute(RouteAttribute.gateway, gateway) }
            message.attribute(RouteAttribute.outputInterface, link)
            if metric != 0 { message.attribute(RouteAttribute.priority, metric) }
            if let lifetime { message.attribute(RouteAttribute.expires, lifetime) }
        }
    }

    /// RT_SCOPE_HOST, RT_SCOPE_LINK, RT_SCOPE_UNIVERSE.
    private var scope: UInt8 { kind == .local ? 254 : gateway == nil ? 253 : 0 }
}
