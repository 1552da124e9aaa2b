internal import Model
internal import Netlink
internal import Wire

/// The chains of `inet forge`, the same for every fabric.
///
/// ```
/// forward ─ from or to our bridges ─> judge ─ known connection ─> accept
///                                       │ isolation
///                                       └─> policy4|6 ─ egress ─ ingress ─ limit ─> accept
/// input   ─ from our bridges ──> gateway ─ longer than a question, to a resolver ─> drop
///                                  │ known connection ─> accept
///                                  │ a question for a name, or led here to be verified ─> accept
///                                  └─ egress ─> accept
/// output  ─ to our bridges ────> outbound ─ ingress ─ limit ─> accept
/// ```
///
/// The chains of a direction return where the packet may pass and drop it otherwise. Established connections
/// never get past the first rule, so all that follows is paid once a connection.
///
/// What is known so far travels from rule to rule in the packet's mark (the judged endpoint's identity, then
/// the port class, then the outcome) and in the connection's mark (the peer's identity). Both are cleared
/// when the packet is accepted; see `LimitChains.swift` for what a limit leaves there.
struct PolicyChains {
    private(set) var chains: [NftChain] = []
    private(set) var rules: [NftRule] = []

    private let table = KernelLayout.policyTable

    init() {
        let bridges = KernelLayout.bridges.name
        base("forward", hook: 2) {
            [
                $0.rule(
                    "from an endpoint", .meta(.iifname, .r(0)), .lookup(set: bridges, key: .r(0)),
                    .verdict(.goto("judge"))),
                $0.rule(
                    "to an endpoint", .meta(.oifname, .r(0)), .lookup(set: bridges, key: .r(0)),
                    .verdict(.goto("judge"))),
            ]
        }
        base("input", hook: 1) {
            [
                $0.rule(
                    "to the gateway", .meta(.iifname, .r(0)), .lookup(set: bridges, key: .r(0)),
                    .verdict(.goto("gateway")))
            ]
        }
        base("output", hook: 3) {
            [
                $0.rule(
                    "from the gateway", .meta(.oifname, .r(0)), .lookup(set: bridges, key: .r(0)),
                    .verdict(.goto("outbound")))
            ]
        }

        chain("judge") {
            $0.known + [
                $0.rule(nil, .immediate(.r(0), nativeBytes(0)), .metaSet(.mark, .r(0))),
                $0.rule(
                    "the network that it comes from", .meta(.iifname, .r(0)),
                    .lookup(set: KernelLayout.networks.name, key: .r(0), destination: .r(8)),
                    .metaSet(.mark, .r(8))),
                $0.rule(
                    "within a network whose endpoints may talk",
                    .meta(.mark, .r(0)), .meta(.oifname, .r(1)),
                    .lookup(set: KernelLayout.peerLinks.name, key: .r(0)), .verdict(.goto("policy"))),
                $0.rule(
                    "to the outside, from a network that may be left",
                    .meta(.iifname, .r(0)), .lookup(set: KernelLayout.exitBridges.name, key: .r(0)),
                    .meta(.oifname, .r(0)), .lookup(set: bridges, key: .r(0), inverted: true),
                    .verdict(.goto("policy"))),
                $0.rule(
                    "out of an isolated network", .meta(.iifname, .r(0)),
                    .lookup(set: KernelLayout.closedBridges.name, key: .r(0)), .verdict(.goto("isolated"))),
                // IPS_DST_NAT: somebody outside asked for a port of the host's. In a rootless fabric no packet has it.
                $0.rule(
                    "from outside, to a published port",
                    .meta(.iifname, .r(0)), .lookup(set: bridges, key: .r(0), inverted: true),
                    .ct(.status, .r(0)),
                    .bitwise(
                        source: .r(0), destination: .r(0), mask: nativeBytes(1 << 5), xor: nativeBytes(0)),
                    .cmp(.neq, .r(0), nativeBytes(0)), .verdict(.goto("policy"))),
                $0.rule(
                    "into an isolated network", .meta(.oifname, .r(0)),
                    .lookup(set: KernelLayout.closedBridges.name, key: .r(0)), .verdict(.goto("isolated"))),
                $0.rule(nil, .verdict(.goto("policy"))),
            ]
        }
        chain("policy") { $0.families("policy") }
        chain("question") { $0.accepted }
        chain("gateway") { builder in
            builder.linkUpkeep + IPFamily.allCases.map(builder.tooLongQuestion) + builder.known
                + builder.families("gateway")
        }
        chain("outbound") { $0.linkUpkeep + $0.known + $0.families("outbound") }
        // The endpoint that a denial is counted for is the sender, or the receiver where the sender is
        // outside.
        for (name, outcome) in [("isolated", Outcome.isolation), ("untracked", .notTracked)] {
            chain(name) { builder in
                [builder.rule(nil, .setMark(outcome))]
                    + IPFamily.allCases.flatMap { builder.blame(.source, $0) }
                    + IPFamily.allCases.flatMap { builder.blame(.destination, $0) }
                    + [builder.rule(nil, .verdict(.drop))]
            }
        }

        for family in IPFamily.allCases {
            let suffix = "\(family.rawValue)"
            let egress = NftExpression.verdict(.jump("egress" + suffix))
            let ingress = NftExpression.verdict(.jump("ingress" + suffix))
            let limit = NftExpression.verdict(.jump("limit" + suffix))
            let quarantine = NftExpression.verdict(.jump("quarantine" + suffix))
            let marked = NftExpression.verdict(.goto("policy\(suffix)_marked"))
            self.quarantine(family)
            chain("policy" + suffix) {
                [
                    $0.rule(nil, quarantine), $0.rule(nil, egress),
                    $0.isLimited(
                        .metaSet(.priority, .r(0)), .verdict(.goto("policy\(suffix)_limited"))),
                    $0.rule(nil, ingress), $0.isLimited(marked), $0.rule(nil, limit),
                ] + $0.accepted
            }
            // The judgement of ingress needs both marks: the number of egress's limit is in the priority so
            // long.
            chain("policy\(suffix)_limited") {
                [
                    $0.rule(nil, ingress),
                    // The outcome "allow" would be one of the bits.
                    $0.rule(
                        nil, .meta(.mark, .r(0)), .cmp(.eq, .r(0), nativeBytes(Outcome.allow.rawValue)),
                        .immediate(.r(1), nativeBytes(0)), .metaSet(.mark, .r(1))),
                ] + $0.merged + [
                    $0.rule(nil, .immediate(.r(0), nativeBytes(0)), .metaSet(.priority, .r(0)), marked)
                ]
            }
            chain("policy\(suffix)_marked") { $0.marked(family) }
            chain("gateway" + suffix) {
                [
                    $0.rule(nil, quarantine),
                    // IPS_DST_NAT. Others may translate too, to other ports; the proxy lets in only what was led to it.
                    $0.rule(
                        "to a host that is verified", .meta(.l4proto, .r(0)), .cmp(.eq, .r(0), [6]),
                        .payload(base: .transport, offset: 2, length: 2, .r(0)),
                        .cmp(.eq, .r(0), VerifiedHostChain.port), .ct(.status, .r(0)),
                        .bitwise(
                            source: .r(0), destination: .r(0), mask: nativeBytes(1 << 5), xor: nativeBytes(0)),
                        .cmp(.neq, .r(0), nativeBytes(0)), .verdict(.goto("verified\(suffix)"))),
                ] + $0.questions(family) + [
                    $0.rule(nil, egress), $0.isLimited(marked), $0.rule(nil, limit),
                ] + $0.accepted
            }
            chain("verified" + suffix) { [$0.rule(nil, limit)] + $0.accepted }
            chain("outbound" + suffix) {
                [$0.rule(nil, quarantine), $0.rule(nil, ingress), $0.isLimited(marked), $0.rule(nil, limit)]
                    + $0.accepted
            }
            for direction in Direction.allCases { addresses(direction, family) }
            chain("limit" + suffix) { $0.connectionLimits(family) }
            chain("rule_limit" + suffix) { $0.ruleConnectionLimits(family) }
            chain("limited" + suffix) {
                [
                    // IP_CT_DIR_REPLY
                    $0.rule(
                        nil, .ct(.direction, .r(0)), .cmp(.eq, .r(0), [1]),
                        .verdict(.goto("limited\(suffix)_reply")))
                ] + $0.ruleLimits(family, isReply: false)
            }
            chain("limited\(suffix)_reply") { $0.ruleLimits(family, isReply: true) }
        }
        chain("limited") { $0.families("limited") }
        for direction in Direction.allCases { outcomes(direction) }
    }

    /// Whether either side is quarantined and the other not excepted: then the packet is dropped.
    private mutating func quarantine(_ family: IPFamily) {
        let name = "quarantine\(family.rawValue)"
        let quarantined = KernelLayout.quarantined(family).name
        let exceptions = KernelLayout.exceptions(family).name
        chain(name) { builder in
            Direction.allCases.map { direction in
                builder.rule(
                    direction == .egress ? "a quarantined sender" : "a quarantined receiver",
                    .address(direction.subject, family, .r(8)) + [
                        .lookup(set: quarantined, key: .r(8), destination: .r(0)), .metaSet(.mark, .r(0)),
                        .verdict(.jump("\(name)_\(direction.rawValue)")),
                    ])
            }
        }
        for direction in Direction.allCases {
            let excepted: [NftExpression] =
                [.meta(.mark, .r(0))] + .address(direction.peer, family, .r(1)) + [
                    .lookup(set: exceptions, key: .r(0), destination: .r(8)), .metaSet(.mark, .r(8)),
                ]
            chain("\(name)_\(direction.rawValue)") {
                [
                    $0.rule("what peers are excepted", excepted + [.verdict(.jump("\(name)_ports"))]),
                    // The mark says now whether the port is excepted too.
                    $0.rule(
                        "excepted", .meta(.mark, .r(0)),
                        .cmp(.eq, .r(0), nativeBytes(Outcome.allow.rawValue)),
                        .verdict(.return)),
                    $0.rule(nil, .setMark(.quarantine)),
                    $0.rule(nil, .verdict(.goto("denied_" + direction.rawValue))),
                ]
            }
        }
        chain("\(name)_ports") { builder in
            // A class's number must not be taken for a verdict.
            builder.portLookups([.verdict(.return)])
                + [builder.rule(nil, .immediate(.r(0), nativeBytes(0)), .metaSet(.mark, .r(0)))]
        }
    }

    /// From addresses to the class of ports that is open between them.
    private mutating func addresses(_ direction: Direction, _ family: IPFamily) {
        let suffix = "\(family.rawValue)"
        let name = direction.rawValue + suffix
        let identities = KernelLayout.identities(family).name
        let blocks = KernelLayout.segments(direction, family).name
        let pairs = KernelLayout.pairs(direction).name
        let named = KernelLayout.named(family).name
        let ourSide: NftMetaKey = direction == .egress ? .iifname : .oifname

        chain(name) {
            [
                $0.rule(
                    "nobody's address",
                    .address(direction.subject, family, .r(0)) + [
                        .lookup(set: identities, key: .r(0), inverted: true),
                        .verdict(.goto(name + "_stranger")),
                    ]),
                $0.rule(
                    "identity of the judged endpoint",
                    .address(direction.subject, family, .r(8)) + [
                        .lookup(set: identities, key: .r(8), destination: .r(0)), .metaSet(.mark, .r(0)),
                    ]),
                $0.rule(nil, .immediate(.r(0), nativeBytes(0)), .ctSet(.mark, .r(0))),
                $0.rule(
                    "identity of its peer",
                    .address(direction.peer, family, .r(8)) + [
                        .lookup(set: identities, key: .r(8), destination: .r(0)), .ctSet(.mark, .r(0)),
                    ]),
                $0.rule(
                    "a peer that rules select as an endpoint",
                    .meta(.mark, .r(0)), .ct(.mark, .r(1)),
                    .lookup(set: pairs, key: .r(0), destination: .r(2)),
                    .metaSet(.mark, .r(2)), .verdict(.goto(direction.rawValue + "_ports"))),
            ]
                + (direction == .ingress
                    ? []
                    : [
                        $0.rule(
                            "a peer that the endpoint was told by name",
                            .address(.source, family, .r(0))
                                + .address(.destination, family, .r(family.registers)) + [
                                    .lookup(set: named, key: .r(0), destination: .r(8)),
                                    .metaSet(.mark, .r(8)), .verdict(.goto("egress_ports")),
                                ])
                    ]) + [
                    $0.rule(
                        "any other peer, by its address",
                        [.meta(.mark, .r(0))] + .address(direction.peer, family, .r(1)) + [
                            .lookup(set: blocks, key: .r(0), destination: .r(8)), .metaSet(.mark, .r(8)),
                            .verdict(.goto(direction.rawValue + "_ports")),
                        ]),
                    $0.rule(nil, .verdict(.goto(direction.rawValue + "_default"))),
                ]
        }
        // Outside the fabric an address that no endpoint has is not ours to judge. On our side nothing may
        // come from it (it can only be link-local: ports are pinned) or go to it; who asked for it is told
        // so.
        chain(name + "_stranger") {
            [
                $0.rule(
                    nil, .meta(ourSide, .r(0)),
                    .lookup(set: KernelLayout.bridges.name, key: .r(0), inverted: true),
                    .immediate(.r(0), nativeBytes(Outcome.allow.rawValue)), .metaSet(.mark, .r(0)),
                    .verdict(.return)),
                $0.rule(nil, .setMark(.noSuchPeer)),
            ] + $0.blame(.source, family) + [$0.rule(nil, .verdict(.drop))]
        }
    }

    /// From the class of ports to the outcome, for both families.
    private mutating func outcomes(_ direction: Direction) {
        let name = direction.rawValue
        chain(name + "_ports") { builder in
            builder.portLookups([.verdict(.goto(name + "_outcome"))])
                + [builder.rule(nil, .verdict(.goto(name + "_default")))]
        }
        chain(name + "_outcome") {
            [
                $0.rule(
                    "allowed", .meta(.mark, .r(0)),
                    .cmp(.eq, .r(0), nativeBytes(Outcome.allow.rawValue)), .verdict(.return)),
                $0.rule("allowed, but told", .isAudit + [.verdict(.jump("audited_" + name))]),
                $0.rule(nil, .isAudit + .setMark(.allow) + [.verdict(.return)]),
                $0.rule(
                    "allowed up to a limit",
                    [
                        .meta(.mark, .r(0)),
                        .bitwise(
                            source: .r(0), destination: .r(0), mask: nativeBytes(Outcome.denyBit),
                            xor: [0, 0, 0, 0]),
                        .cmp(.eq, .r(0), [0, 0, 0, 0]), .verdict(.return),
                    ]),
                $0.rule("denied by a rule", .verdict(.goto("denied_" + name))),
            ]
        }
        chain("audited_" + name) { builder in
            IPFamily.allCases.map { builder.count(direction, $0, "what audit would deny") }
                + builder.told(direction, end: .return)
        }
        chain(name + "_default") {
            [
                $0.rule(
                    "denied by default",
                    .setMark(direction == .egress ? .defaultDenyEgress : .defaultDenyIngress)),
                $0.rule(nil, .verdict(.goto("denied_" + name))),
            ]
        }
        // An element that cannot be added ends its rule, not the packet's life: the drop is a rule of its
        // own.
        chain("denied_" + name) { builder in
            IPFamily.allCases.map { builder.count(direction, $0, "count the reason") }
                + builder.told(direction, end: .drop) + [builder.rule(nil, .verdict(.drop))]
        }
    }

    private mutating func base(_ name: String, hook: UInt32, _ build: (RuleBuilder) -> [NftRule]) {
        chains.append(
            NftChain(
                table: table, name: name, hook: NftHook(number: hook, priority: 0, type: "filter"),
                policy: .accept))
        rules += build(RuleBuilder(table: table, chain: name))
    }

    private mutating func chain(_ name: String, _ build: (RuleBuilder) -> [NftRule]) {
        chains.append(NftChain(table: table, name: name))
        rules += build(RuleBuilder(table: table, chain: name))
    }
}
