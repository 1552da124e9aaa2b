internal import Model
internal import Netlink
internal import Wire

/// How denials are told to the manager, in the rules that lead to a drop.
///
/// Each endpoint has a share of what is told. What is beyond it is dropped by a rule that counts it, so that one
/// container that floods neither keeps others' denials from being told nor the manager busy, and how many were
/// not told is known exactly.
extension DenialLog {
    /// The nfnetlink_log group that denials are told to: the fabric's own in its namespace.
    package static let group: UInt16 = 0xf06e

    /// Bytes of a packet that are told: addresses and ports behind any sensible extension headers.
    static let snaplen: UInt32 = 128

    /// What an element of the `unlogged` sets evaluates: matches, and counts, past an endpoint's share.
    static let share: [NftExpression] = [
        .limit(rate: 1000, unitSeconds: 1, burst: 2000, kind: .packets, over: true), .counter,
    ]

    /// How long an endpoint's share is remembered when nothing is denied.
    fileprivate static let forgottenAfterMs: UInt64 = 3_600_000

    /// The rules that tell have this comment and a counter, which says how many were told.
    static let comment = "tell the manager"

    /// The word in front of a packet that says which chain told of it.
    enum Prefix: String {
        case egress
        case ingress
        case spoofed
    }
}

extension RuleBuilder {
    /// Tells of a packet that the endpoint on the judged side is denied, or would be if an audit were no audit,
    /// its outcome in the mark.
    /// - Parameter end: what becomes of it where the endpoint has used up its share.
    func told(_ direction: Direction, end: NftVerdict) -> [NftRule] {
        IPFamily.allCases.map { family in
            beyondShare(
                .isFamily(family) + .address(direction.subject, family, .r(0)), KernelLayout.unlogged(family),
                end: end)
        } + [told(direction == .egress ? .egress : .ingress)]
    }

    /// Tells of a frame that its port may not send.
    var toldSpoofed: [NftRule] {
        [beyondShare([.meta(.iifname, .r(0))], KernelLayout.unloggedSpoofed, end: .drop), told(.spoofed)]
    }

    /// Tells of a packet that the limit of a port stops, its outcome in the mark.
    func toldPort(_ direction: Direction) -> [NftRule] {
        let port: NftMetaKey = direction == .egress ? .iifname : .oifname
        return [
            beyondShare([.meta(port, .r(0))], KernelLayout.unloggedSpoofed, end: .drop),
            told(direction == .egress ? .egress : .ingress),
        ]
    }

    private func beyondShare(_ key: [NftExpression], _ set: NftSet, end: NftVerdict) -> NftRule {
        rule(
            "beyond the endpoint's share",
            key + [
                .dynset(
                    set: set.name, operation: .update, key: .r(0), timeoutMs: DenialLog.forgottenAfterMs,
                    expressions: DenialLog.share),
                .verdict(end),
            ])
    }

    private func told(_ prefix: DenialLog.Prefix) -> NftRule {
        rule(
            DenialLog.comment, .counter,
            .log(group: DenialLog.group, prefix: prefix.rawValue, snaplen: DenialLog.snaplen))
    }
}
