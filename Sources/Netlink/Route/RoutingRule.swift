package import Wire

/// A rule that sends packets with a mark to a table of their own (`ip rule`).
package struct RoutingRule: Hashable, Sendable {
    package var family: IPFamily
    /// The lower, the earlier it is asked; the local table is asked at 0, the main one at 32766.
    package var priority: UInt32
    /// The packets' mark, all 32 bits of it.
    package var mark: UInt32
    package var table: UInt32

    package init(family: IPFamily, priority: UInt32, mark: UInt32, table: UInt32) {
        self.family = family
        self.priority = priority
        self.mark = mark
        self.table = table
    }

    /// Reads an RTM_NEWRULE; nil for what this type does not describe.
    package init?(_ message: Message) throws(DecodeError) {
        var reader = ByteReader(message.payload)
        // struct fib_rule_hdr
        let rawFamily: UInt8 = try reader.integer("family")
        try reader.skip(3, "dst_len, src_len, tos")
        let shortTable: UInt8 = try reader.integer("table")
        try reader.skip(2, "res1, res2")
        let action: UInt8 = try reader.integer("action")
        try reader.skip(4, "flags")
        let attributes = try Attribute.parse(reader.rest)
        switch AddressFamily(rawValue: rawFamily) {
        case .ipv4: family = .v4
        case .ipv6: family = .v6
        default: return nil
        }
        guard action == toTable,
            let mark = try attributes[type: RuleAttribute.mark]?.integer(as: UInt32.self),
            try attributes[type: RuleAttribute.mask]?.integer(as: UInt32.self) ?? .max == .max
        else { return nil }
        self.mark = mark
        priority = try attributes[type: RuleAttribute.priority]?.integer() ?? 0
        table = try attributes[type: RuleAttribute.table]?.integer() ?? UInt32(shortTable)
    }
}

extension Request {
    package static func addRule(_ rule: RoutingRule) -> Request {
        rule.request(.newRule, [.create, .exclusive], "add rule")
    }

    package static func deleteRule(_ rule: RoutingRule) -> Request {
        rule.request(.deleteRule, [], "delete rule")
    }

    /// Reads the rules of a family, for `NetlinkSocket.dump`.
    package static func listRules(_ family: IPFamily) -> Request {
        Request(.getRule, [], subject: "list rules") { message in
            message.header { header in
                header.integer(AddressFamily(family).rawValue)
                header.zeros(11)
            }
        }
    }

    /// Makes every packet that is looked up in a table one for this host, whatever its destination; replaces
    /// what the table says of them.
    package static func routeToSelf(_ family: IPFamily, table: UInt32, loopback: UInt32) -> Request {
        selfRoute(.newRoute, [.create, .replace], "replace", family, table: table, loopback: loopback)
    }

    /// Takes that back.
    package static func deleteRouteToSelf(_ family: IPFamily, table: UInt32, loopback: UInt32) -> Request {
        selfRoute(.deleteRoute, [], "delete", family, table: table, loopback: loopback)
    }

    private static func selfRoute(
        _ type: MessageType, _ flags: MessageFlags, _ verb: String, _ family: IPFamily, table: UInt32,
        loopback: UInt32
    ) -> Request {
        Request(type, flags, subject: "\(verb) \(family) route to this host in table \(table)") { message in
            message.header { header in
                // struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags.
                header.integer(AddressFamily(family).rawValue)
                header.zeros(3)
                // RT_TABLE_UNSPEC: the number is in the attribute. RTPROT_STATIC, RT_SCOPE_HOST, RTN_LOCAL.
                header.append([0, 4, 254, 2])
                header.zeros(4)
            }
            message.attribute(RouteAttribute.table, table)
            message.attribute(RouteAttribute.outputInterface, loopback)
        }
    }
}

// FR_ACT_TO_TBL of linux/fib_rules.h.
private let toTable: UInt8 = 1

/// Attributes of a rule (linux/fib_rules.h, `FRA_*`).
private enum RuleAttribute {
    static let priority: UInt16 = 6
    static let mark: UInt16 = 10
    static let table: UInt16 = 15
    static let mask: UInt16 = 16
}

extension MessageType {
    package static let newRule = MessageType(rawValue: 32)
    package static let deleteRule = MessageType(rawValue: 33)
    package static let getRule = MessageType(rawValue: 34)
}

extension RoutingRule {
    fileprivate func request(_ type: MessageType, _ flags: MessageFlags, _ verb: String) -> Request {
        Request(type, flags, subject: "\(verb) \(priority) of \(family)") { message in
            message.header { header in
                // struct fib_rule_hdr: family, dst_len, src_len, tos, table, res1, res2, action, flags.
                header.integer(AddressFamily(family).rawValue)
                header.zeros(6)
                header.integer(toTable)
                header.zeros(4)
            }
            message.attribute(RuleAttribute.priority, priority)
            message.attribute(RuleAttribute.mark, mark)
            message.attribute(RuleAttribute.mask, UInt32.max)
            message.attribute(RuleAttribute.table, table)
        }
    }
}
