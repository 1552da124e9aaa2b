internal import Model
internal import Netlink
internal import Wire

/// Makes rules of one chain, and the few that several chains begin or end with.
struct RuleBuilder {
    let table: NftTable
    let chain: String

    func rule(_ comment: String?, _ expressions: NftExpression...) -> NftRule { rule(comment, expressions) }

    func rule(_ comment: String?, _ expressions: [NftExpression]) -> NftRule {
        NftRule(table: table, chain: chain, expressions: expressions, comment: comment)
    }

    /// Packets of connections that were judged before, answered or not, and those that belong to none.
    var known: [NftRule] {
        [
            limited,
            rule("judged before", .isKnown + [.verdict(.accept)]),
            rule("in the middle of nothing", .connection(.invalid) + [.verdict(.goto("untracked"))]),
            // RFC 9293 section 3.5: a connection begins with SYN and without FIN, RST or ACK.
            rule(
                "no beginning of a connection",
                .meta(.l4proto, .r(0)), .cmp(.eq, .r(0), [6]),
                .payload(base: .transport, offset: 13, length: 1, .r(0)),
                .bitwise(source: .r(0), destination: .r(0), mask: [0x17], xor: [0]),
                .cmp(.neq, .r(0), [0x02]),
                .verdict(.goto("untracked"))),
        ]
    }

    /// Neighbour discovery (RFC 4861: 133 to 136) belongs to the link, not to a conversation. Listener
    /// reports (RFC 2710, RFC 3810: 130 to 132 and 143) are of no use where no port hears another: for each
    /// peer that the bridge answers for it would tell every port.
    var linkUpkeep: [NftRule] {
        let type: [NftExpression] = [
            .meta(.l4proto, .r(0)), .cmp(.eq, .r(0), [58]),
            .payload(base: .transport, offset: 0, length: 1, .r(0)),
        ]
        return [
            rule("neighbour discovery", type + [.range(.eq, .r(0), [133], [136]), .verdict(.accept)]),
            rule("listener reports", type + [.range(.eq, .r(0), [130], [132]), .verdict(.drop)]),
            rule(nil, type + [.cmp(.eq, .r(0), [143]), .verdict(.drop)]),
        ]
    }

    /// Questions to the resolver of the sender's own network, over UDP and TCP.
    func questions(_ family: IPFamily) -> [NftRule] {
        [UInt8(17), 6].map { transport in
            rule(
                "a question for a name",
                [.meta(.l4proto, .r(0)), .cmp(.eq, .r(0), [transport])]
                    + [
                        .payload(base: .transport, offset: 2, length: 2, .r(0)),
                        .cmp(.eq, .r(0), [0, UInt8(NameService.port)]), .meta(.iifname, .r(0)),
                    ] + .address(.destination, family, .r(4)) + [
                        .lookup(set: KernelLayout.resolvers(family).name, key: .r(0)),
                        .verdict(.goto("question")),
                    ])
        }
    }

    /// What is longer than any question, to a resolver over UDP: it would be thrown away unread, but takes of the
    /// socket's room as much as it is long. Of connections that were judged before, too. A hundred questions that the
    /// sender's kernel was given as one (UDP_SEGMENT) are one packet here, and as long as all of them.
    func tooLongQuestion(_ family: IPFamily) -> NftRule {
        let longest = 8 + UInt16(NameService.longestQuestion)
        let port = UInt8(NameService.port)
        return rule(
            "longer than a question",
            [
                .meta(.l4proto, .r(0)), .cmp(.eq, .r(0), [17]),
                // RFC 768: destination port, length.
                .payload(base: .transport, offset: 2, length: 4, .r(0)),
                .range(
                    .eq, .r(0), [0, port, UInt8((longest + 1) >> 8), UInt8(truncatingIfNeeded: longest + 1)],
                    [0, port, .max, .max]),
            ] + .isFamily(family) + [.meta(.iifname, .r(0))] + .address(.destination, family, .r(4)) + [
                .lookup(set: KernelLayout.resolvers(family).name, key: .r(0)), .verdict(.drop),
            ])
    }

    /// Counts the outcome in the mark for the endpoint on this side, if there is one there, and drops.
    func blame(_ side: Side, _ family: IPFamily) -> [NftRule] {
        [
            rule(
                nil,
                .isFamily(family) + .isEndpoint(side, family)
                    + [.verdict(.goto(side == .source ? "denied_egress" : "denied_ingress"))])
        ]
    }

    /// From the class of ports in the mark to the outcome, which replaces it there; then on with `tail`.
    func portLookups(_ tail: [NftExpression]) -> [NftRule] {
        let ported = KernelLayout.portedProtocols.name
        func rules(_ comment: String, inverted: Bool, _ port: NftExpression) -> [NftRule] {
            [KernelLayout.ports, KernelLayout.portRanges].map { set in
                rule(
                    comment + (set == KernelLayout.ports ? "" : ", in a run"),
                    [
                        .meta(.l4proto, .r(4)), .lookup(set: ported, key: .r(4), inverted: inverted),
                        .meta(.mark, .r(0)), .meta(.l4proto, .r(1)), port,
                        .lookup(set: set.name, key: .r(0), destination: .r(8)), .metaSet(.mark, .r(8)),
                    ] + tail)
            }
        }
        return rules(
            "protocols with ports", inverted: false,
            .payload(base: .transport, offset: 2, length: 2, .r(2)))
            + rules("protocols without", inverted: true, .immediate(.r(2), [0, 0, 0, 0]))
    }

    /// Counts the outcome in the mark for the endpoint that is judged in a direction.
    func count(_ direction: Direction, _ family: IPFamily, _ comment: String) -> NftRule {
        rule(
            comment,
            .isFamily(family) + .address(direction.subject, family, .r(0)) + [
                .meta(.mark, .r(family.registers)),
                .dynset(
                    set: KernelLayout.denied(family).name, operation: .update, key: .r(0),
                    expressions: [.counter]),
            ])
    }

    /// On to the chain of the packet's family.
    func families(_ name: String) -> [NftRule] {
        IPFamily.allCases.map { rule(nil, .isFamily($0) + [.verdict(.goto("\(name)\($0.rawValue)"))]) }
    }

    /// The end of a judgement: the marks that carried it are wiped.
    var accepted: [NftRule] {
        [
            rule(
                nil, .immediate(.r(0), nativeBytes(0)), .metaSet(.mark, .r(0)), .ctSet(.mark, .r(0)),
                .verdict(.accept))
        ]
    }
}

/// Which address of a packet.
enum Side {
    case source
    case destination

    func offset(_ family: IPFamily) -> UInt32 {
        switch (self, family) {
        // RFC 791 section 3.1
        case (.source, .v4): 12
        case (.destination, .v4): 16
        // RFC 8200 section 3
        case (.source, .v6): 8
        case (.destination, .v6): 24
        }
    }
}

extension Direction {
    /// The side of a packet that the judged endpoint is on.
    var subject: Side { self == .egress ? .source : .destination }
    var peer: Side { self == .egress ? .destination : .source }
}

/// NF_CT_STATE bits as nft's `ct state` register has them (linux/netfilter/nf_conntrack_common.h).
struct ConnectionState: OptionSet {
    let rawValue: UInt32

    static let invalid = ConnectionState(rawValue: 1)
}

extension [NftExpression] {
    static func isFamily(_ family: IPFamily) -> Self {
        // NFPROTO_IPV4, NFPROTO_IPV6
        [.meta(.nfproto, .r(0)), .cmp(.eq, .r(0), [family == .v4 ? 2 : 10])]
    }

    static func address(_ side: Side, _ family: IPFamily, _ register: NftRegister) -> Self {
        [.payload(base: .network, offset: side.offset(family), length: UInt32(family.width / 8), register)]
    }

    static func isEndpoint(_ side: Side, _ family: IPFamily) -> Self {
        address(side, family, .r(0)) + [.lookup(set: KernelLayout.identities(family).name, key: .r(0))]
    }

    /// The outcome in the mark allows, and a policy in audit mode would not.
    static var isAudit: Self {
        [
            .meta(.mark, .r(0)),
            .bitwise(
                source: .r(0), destination: .r(0), mask: nativeBytes(Outcome.denyBit | Outcome.auditBit),
                xor: [0, 0, 0, 0]),
            .cmp(.eq, .r(0), nativeBytes(Outcome.auditBit)),
        ]
    }

    static func setMark(_ outcome: Outcome) -> Self {
        [.immediate(.r(0), nativeBytes(outcome.rawValue)), .metaSet(.mark, .r(0))]
    }

    /// The packet's connection is on record: its first packet passed a judgement, and it has not been cut since.
    ///
    /// Not only where it was answered: every datagram of a flow one way would be judged otherwise, at once on
    /// several processors, which share the connection's mark.
    static var isKnown: Self {
        [
            .ct(.status, .r(0)),
            // IPS_CONFIRMED (linux/netfilter/nf_conntrack_common.h)
            .bitwise(source: .r(0), destination: .r(0), mask: nativeBytes(1 << 3), xor: nativeBytes(0)),
            .cmp(.neq, .r(0), nativeBytes(0)),
        ]
    }

    static func connection(_ states: ConnectionState) -> Self {
        [
            .ct(.state, .r(0)),
            .bitwise(
                source: .r(0), destination: .r(0), mask: nativeBytes(states.rawValue), xor: [0, 0, 0, 0]),
            .cmp(.neq, .r(0), [0, 0, 0, 0]),
        ]
    }
}
