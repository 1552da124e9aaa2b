internal import Model
internal import Netlink
internal import Wire

/// Leads a connection that is allowed only to hosts which its rule names to the proxy on its network's gateway
/// (destination NAT), as long as some rule verifies hosts.
///
/// It sees the first packet of each connection, before it is judged. What it does not lead away is denied where
/// it is judged, so that nothing passes unseen when the proxy or this chain is not there.
enum VerifiedHostChain {
    static let chain = NftChain(
        table: KernelLayout.policyTable, name: "verified_hosts",
        // NF_INET_PRE_ROUTING; just before NF_IP_PRI_NAT_DST, where published ports are translated.
        hook: NftHook(number: 0, priority: -101, type: "nat"), policy: .accept)

    static var chains: [NftChain] { [chain] }

    /// The proxy's port, as packets have it.
    static let port = [UInt8(VerifiedHost.port >> 8), UInt8(truncatingIfNeeded: VerifiedHost.port)]

    static var rules: [NftRule] {
        let builder = RuleBuilder(table: KernelLayout.policyTable, chain: chain.name)
        return IPFamily.allCases.flatMap { family in
            [KernelLayout.ports, KernelLayout.portRanges].map { ports in
                builder.rule(
                    "to a host that is verified" + (ports == KernelLayout.ports ? "" : ", in a run of ports"),
                    isToVerify(family, ports) + toProxy(family))
            }
        }
    }

    /// The outcome for a peer that the sender was told by name is `unverifiedHost`.
    private static func isToVerify(_ family: IPFamily, _ ports: NftSet) -> [NftExpression] {
        var expressions: [NftExpression] = .isFamily(family)
        expressions += [.meta(.l4proto, .r(0)), .cmp(.eq, .r(0), [6])]
        expressions += .address(.source, family, .r(0))
        expressions += .address(.destination, family, .r(family.registers))
        expressions += [
            .lookup(set: KernelLayout.named(family).name, key: .r(0), destination: .r(8)),
            .meta(.l4proto, .r(9)), .payload(base: .transport, offset: 2, length: 2, .r(10)),
            .lookup(set: ports.name, key: .r(8), destination: .r(0)),
            .cmp(.eq, .r(0), nativeBytes(Outcome.unverifiedHost.rawValue)),
        ]
        return expressions
    }

    private static func toProxy(_ family: IPFamily) -> [NftExpression] {
        return [
            .meta(.iifname, .r(8)),
            .lookup(set: KernelLayout.verifiers(family).name, key: .r(8), destination: .r(0)),
            .immediate(.r(4), port), .destinationNAT(family, address: .r(0), port: .r(4)),
        ]
    }
}
