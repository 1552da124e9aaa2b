internal import Model
internal import Netlink
internal import Wire

// How limits are kept.
//
// A limit is an element with a bucket of its own, in a map whose rule goes on only where the bucket is empty:
// so limits are elements like everything else, and another rate is another element.
//
// ```
// policy ─ egress ─ by a rule with a limit ──> limited ─ ingress ─┐
//             └─ ingress ─ by a rule with a limit ────────────> marked ─ limit ─ rule_limit ─ limited ─> accept
//                   └─ limit ─> accept
// judge ─ connection with a mark ─ limited ─> accept
// ```
//
// A connection that rules with limits allow has their numbers in its mark for as long as it lives; any other
// has none and pays one comparison a packet.

/// The buckets of limits. What may come at once is a choice: a second of new connections, a tenth of a second
/// of packets and bytes.
extension NftExpression {
    static func connections(_ perSecond: UInt32) -> NftExpression {
        .limit(rate: UInt64(perSecond), unitSeconds: 1, burst: perSecond, kind: .packets, over: true)
    }

    static func packets(_ perSecond: UInt32) -> NftExpression {
        .limit(
            rate: UInt64(perSecond), unitSeconds: 1, burst: max(perSecond / 10, min(perSecond, 10)),
            kind: .packets, over: true)
    }

    static func kilobits(_ perSecond: UInt32) -> NftExpression {
        // A sender that is cut short for the first time has 64 KiB in one piece under way.
        .limit(
            rate: UInt64(perSecond) * 125, unitSeconds: 1, burst: max(perSecond / 10 * 125, 64 * 1024),
            kind: .bytes, over: true)
    }
}

extension RuleBuilder {
    /// Packets of connections whose mark names limits.
    var limited: NftRule {
        rule(
            "of a limited connection",
            [.ct(.mark, .r(0)), .cmp(.neq, .r(0), nativeBytes(0))] + .isKnown + [.verdict(.jump("limited"))])
    }

    /// Leads on where the judgement just made is an allowance by a rule with a limit.
    func isLimited(_ expressions: NftExpression...) -> NftRule {
        rule(
            "by a rule with a limit",
            [.meta(.mark, .r(0)), .cmp(.neq, .r(0), nativeBytes(Outcome.allow.rawValue))] + expressions)
    }

    /// New connections of the endpoints themselves.
    func connectionLimits(_ family: IPFamily) -> [NftRule] {
        Direction.allCases.map { direction in
            rule(
                "connections of \(direction.rawValue)",
                endpoint(direction.subject, family) + [.immediate(.r(0), nativeBytes(direction.ownScope))]
                    + endpointNumber + exceeded(KernelLayout.connectionLimits, direction.subject))
        }
    }

    /// New connections that rules allow.
    func ruleConnectionLimits(_ family: IPFamily) -> [NftRule] {
        Direction.allCases.map { direction in
            rule(
                "connections by rules of \(direction.rawValue)",
                endpoint(direction.subject, family) + ruleNumber(direction) + endpointNumber
                    + exceeded(KernelLayout.connectionLimits, direction.subject))
        }
    }

    /// Packets and bytes of connections that rules allow, of each way by itself.
    func ruleLimits(_ family: IPFamily, isReply: Bool) -> [NftRule] {
        let rules = Direction.allCases.flatMap { direction in
            [KernelLayout.packetLimits, KernelLayout.byteLimits].map { set in
                let side = isReply ? direction.peer : direction.subject
                return rule(
                    "by rules of \(direction.rawValue)",
                    endpoint(side, family) + ruleNumber(direction) + endpointNumber
                        + [.immediate(.r(2), nativeBytes(isReply ? 1 : 0))] + exceeded(set, side))
            }
        }
        return rules + [rule(nil, .immediate(.r(0), nativeBytes(0)), .metaSet(.mark, .r(0)))]
    }

    /// Puts the number that the priority holds into the packet's mark, beside the one that is there.
    ///
    /// Bit by bit: kernels before 6.13 cannot combine two registers.
    var merged: [NftRule] {
        (0..<14).map { bit in
            let bit = nativeBytes(1 << bit)
            return rule(
                nil, .meta(.priority, .r(0)),
                .bitwise(source: .r(0), destination: .r(0), mask: bit, xor: nativeBytes(0)),
                .cmp(.neq, .r(0), nativeBytes(0)), .meta(.mark, .r(1)),
                .bitwise(source: .r(1), destination: .r(1), mask: nativeBytes(.max), xor: bit),
                .metaSet(.mark, .r(1)))
        }
    }

    /// The end of a judgement by rules with limits: their numbers stay in the connection's mark.
    func marked(_ family: IPFamily) -> [NftRule] {
        [
            rule("the numbers of its limits", .meta(.mark, .r(0)), .ctSet(.mark, .r(0))),
            rule(nil, .verdict(.jump("limit\(family.rawValue)"))),
            rule(nil, .verdict(.jump("rule_limit\(family.rawValue)"))),
            rule(nil, .verdict(.jump("limited\(family.rawValue)"))),
            rule(nil, .immediate(.r(0), nativeBytes(0)), .metaSet(.mark, .r(0)), .verdict(.accept)),
        ]
    }

    /// Puts the number of the endpoint on one side into the packet's mark, if limits hold for it.
    private func endpoint(_ side: Side, _ family: IPFamily) -> [NftExpression] {
        .address(side, family, .r(8)) + [
            .lookup(set: KernelLayout.limited(family).name, key: .r(8), destination: .r(0)),
            .metaSet(.mark, .r(0)),
        ]
    }

    /// The number from the mark: nft cannot print a key that holds the value of a map.
    private var endpointNumber: [NftExpression] { [.meta(.mark, .r(1))] }

    /// Loads the number of the rule of one direction into register 0, from the connection's mark.
    private func ruleNumber(_ direction: Direction) -> [NftExpression] {
        [
            .ct(.mark, .r(0)),
            .bitwise(
                source: .r(0), destination: .r(0), mask: nativeBytes(Outcome.limitMask(direction)),
                xor: nativeBytes(0)),
        ]
    }

    /// Denies what is past the limit of the element that registers from 0 on name.
    private func exceeded(_ set: NftSet, _ side: Side) -> [NftExpression] {
        [
            .lookup(set: set.name, key: .r(0), destination: .r(8)), .metaSet(.mark, .r(8)),
            .verdict(.goto(side == .source ? "denied_egress" : "denied_ingress")),
        ]
    }
}

/// Counts the packets that a port sends and gets, in `bridge forge`; there as long as some port has a limit.
///
/// A port is one endpoint in both families, and its packets pass here whatever becomes of them later.
struct PacketLimitChains {
    private(set) var chains: [NftChain] = []
    private(set) var rules: [NftRule] = []

    init() {
        let table = KernelLayout.spoofingTable
        // NF_BR_PRE_ROUTING, once the source is known to be right; NF_BR_LOCAL_OUT, where the bridge sends
        // what was routed.
        for (direction, hook, priority) in [(Direction.egress, 0, -299), (.ingress, 3, 0)]
            as [(_, UInt32, Int32)]
        {
            let name: NftMetaKey = direction == .egress ? .iifname : .oifname
            let base = "limit_\(direction.rawValue)"
            chains.append(
                NftChain(
                    table: table, name: base,
                    hook: NftHook(number: hook, priority: priority, type: "filter"), policy: .accept))
            chains.append(NftChain(table: table, name: "exceeded_\(direction.rawValue)"))
            rules.append(
                RuleBuilder(table: table, chain: base).rule(
                    "packets a second", .meta(name, .r(0)),
                    .lookup(
                        set: KernelLayout.portLimits(direction).name, key: .r(0), destination: .r(8)),
                    .metaSet(.mark, .r(8)), .verdict(.goto("exceeded_\(direction.rawValue)"))))
            let builder = RuleBuilder(table: table, chain: "exceeded_\(direction.rawValue)")
            rules +=
                [
                    builder.rule(
                        nil, .meta(name, .r(0)), .meta(.mark, .r(4)),
                        .dynset(
                            set: KernelLayout.exceeded.name, operation: .update, key: .r(0),
                            expressions: [.counter]))
                ] + builder.toldPort(direction) + [builder.rule(nil, .verdict(.drop))]
        }
    }
}
