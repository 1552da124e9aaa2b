package import Netlink
internal import Sys
package import Wire

/// What the fabric's kernel must do so that an endpoint's answers to a client come to the forwarder's socket,
/// which has the client's address.
///
/// ```
/// endpoint ──> prerouting: in reply direction, from an address of ours to one that is not?
///                  └─ mark ──> rule: mark → table ──> "all is local" ──> forwarder's socket
/// ```
///
/// A connection whose answers leave the fabric for an address that is not of ours was begun by the forwarder:
/// nothing else comes in by which a stranger could begin one. So answers are told by their addresses and their
/// direction, with no mark on the connection and nothing to keep for each port. Clients whose address is one of
/// ours by accident do not come in with it (``ForwardOrder/own(_:)``), and the same subnets belong here.
///
/// Of use where endpoints are reached from outside by the forwarder alone.
package struct PortRouting: Hashable, Sendable {
    /// The subnets of all networks.
    package var own: [CIDR]
    /// Families that the kernel has.
    package var families: [IPFamily]
    /// How the nftables table is made: that nobody else may change it, for instance.
    package var tableFlags: NftTable.Flags

    package init(own: [CIDR], families: [IPFamily] = IPFamily.allCases, tableFlags: NftTable.Flags = []) {
        self.own = own
        self.families = families
        self.tableFlags = tableFlags
    }

    package static let tableName = "forge_ports"
    /// The packet's mark between prerouting and the routing decision; nothing else in the fabric's prerouting has
    /// one.
    package static let mark: UInt32 = 0xf06e
    /// The routing table in which every address is this host's.
    package static let routingTable: UInt32 = 0xf06e
    /// Behind the local table, before all others.
    package static let priority: UInt32 = 100

    /// Settings of the fabric's network namespace, below /proc/sys.
    package static let settings: [(path: String, value: String)] = [
        // A client's port may be below 1024 (RFC 6335 section 6 asks nobody's leave), and the forwarder has no
        // capability.
        ("net/ipv4/ip_unprivileged_port_start", "0"),
        // Where clients cannot have their own ports, one endpoint may see 64,000 connections a minute.
        ("net/ipv4/ip_local_port_range", "1024\t65535"),
        ("net/ipv4/tcp_tw_reuse", "1"),
        // An endpoint that has gone without a word is noticed within six minutes.
        ("net/ipv4/tcp_keepalive_time", "240"),
        ("net/ipv4/tcp_keepalive_intvl", "30"),
        ("net/ipv4/tcp_keepalive_probes", "4"),
        // As long as the forwarder remembers a client of UDP, an answer to it is an answer.
        ("net/netfilter/nf_conntrack_udp_timeout", "60"),
        ("net/netfilter/nf_conntrack_udp_timeout_stream", "180"),
    ]

    private var table: NftTable {
        NftTable(family: .inet, name: PortRouting.tableName, flags: tableFlags)
    }

    private func set(_ family: IPFamily) -> NftSet {
        NftSet(
            table: table, name: "own\(family.rawValue)", keyType: [family == .v4 ? .ipv4Addr : .ipv6Addr],
            keyLength: family.width / 8, flags: .interval)
    }

    /// The table, in place of the one that is there, in one transaction.
    package var batch: NftBatch {
        var batch = NftBatch()
        batch.destroy(table)
        batch.create(table)
        // NF_INET_PRE_ROUTING; behind connection tracking (-200), before the routing decision.
        let chain = NftChain(
            table: table, name: "prerouting", hook: NftHook(number: 0, priority: -150, type: "filter"))
        batch.create(chain)
        let ranges = AddressRanges(own).ranges
        for family in IPFamily.allCases {
            guard let ranges = ranges[family] else { continue }
            let set = set(family)
            batch.create(set)
            batch.add(ranges.flatMap { elements(family, $0) }, to: set)
            batch.add(rule(family, set))
        }
        return batch
    }

    /// A range as the kernel keeps it: its first address, and the first one behind it.
    private func elements(_ family: IPFamily, _ range: ClosedRange<UInt128>) -> [NftElement] {
        let first = NftElement(key: IPAddress(family, bits: range.lowerBound).bytes)
        let all = IPAddress(family, bits: .max).bits
        guard range.upperBound < all else { return [first] }
        return [
            first,
            NftElement(key: IPAddress(family, bits: range.upperBound + 1).bytes, isIntervalEnd: true),
        ]
    }

    private func rule(_ family: IPFamily, _ set: NftSet) -> NftRule {
        // RFC 791 section 3.1, RFC 8200 section 3
        let (source, destination): (UInt32, UInt32) = family == .v4 ? (12, 16) : (8, 24)
        let length = UInt32(family.width / 8)
        return NftRule(
            table: table, chain: "prerouting",
            expressions: [
                // NFPROTO_IPV4, NFPROTO_IPV6
                .meta(.nfproto, .r(0)), .cmp(.eq, .r(0), [family == .v4 ? 2 : 10]),
                // IP_CT_DIR_REPLY; what speaks of a connection, such as an ICMP error, has a direction, too.
                .ct(.direction, .r(0)), .cmp(.eq, .r(0), [1]),
                .payload(base: .network, offset: source, length: length, .r(0)),
                .lookup(set: set.name, key: .r(0)),
                .payload(base: .network, offset: destination, length: length, .r(0)),
                .lookup(set: set.name, key: .r(0), inverted: true),
                .immediate(.r(0), PortRouting.bytes(PortRouting.mark)), .metaSet(.mark, .r(0)),
            ], comment: "answers to clients of published ports")
    }

    /// In host order, as registers hold a mark.
    private static func bytes(_ value: UInt32) -> [UInt8] {
        var writer = ByteWriter(capacity: 4)
        writer.integer(value)
        return writer.bytes
    }

    private func rule(_ family: IPFamily) -> RoutingRule {
        RoutingRule(
            family: family, priority: PortRouting.priority, mark: PortRouting.mark,
            table: PortRouting.routingTable)
    }

    /// LOOPBACK_IFINDEX of include/net/net_namespace.h: the first link of every namespace.
    private static let loopback: UInt32 = 1

    /// Makes it so, whatever is there, in the namespace of the sockets and of the calling thread. To be called
    /// again when the subnets change.
    package func apply(
        netfilter: inout NetlinkSocket<NetfilterProtocol>, route: inout NetlinkSocket<RouteProtocol>
    ) throws {
        for setting in Self.settings { try Self.apply(setting.path, setting.value) }
        try netfilter.commit(batch)
        for family in families {
            try route.perform([
                .routeToSelf(family, table: Self.routingTable, loopback: Self.loopback)
            ])
            try route.perform([.addRule(rule(family))]) { $1 == .exists }
        }
    }

    /// Takes table, rules and routes back; settings stay.
    package func remove(
        netfilter: inout NetlinkSocket<NetfilterProtocol>, route: inout NetlinkSocket<RouteProtocol>
    ) throws {
        var batch = NftBatch()
        batch.destroy(table)
        try netfilter.commit(batch)
        for family in families {
            try route.perform([
                .deleteRule(rule(family)),
                .deleteRouteToSelf(family, table: Self.routingTable, loopback: Self.loopback),
            ]) { $1 == .noEntry || $1 == .noProcess }
        }
    }

    /// What is right already is not written: /proc/sys may be read-only.
    private static func apply(_ path: String, _ value: String) throws(SystemError) {
        let file = "/proc/sys/" + path
        let now = try readFile(file, limit: 64)
        if now.prefix(while: { $0 != "\n" }) != value { try writeFile(file, value + "\n") }
    }
}
