package import Model
package import Netlink
package import Wire

/// The table that endpoints' way out goes by, and with `--host` the way in of published ports: an inert value, a
/// function of the networks and ports.
///
/// What an endpoint of a network with NAT sends out by an interface that is none of our bridges' gets the
/// address of that interface (RFC 3022 section 2.2). Whether it may be sent at all was decided in `inet forge`
/// before: translation comes last.
package struct NATRuleset: Hashable, Sendable {
    package static let table = NftTable(family: .inet, name: "forge_nat")

    /// Subnets of the networks that may be left; they never overlap.
    package let sources: Set<CIDR>
    /// The link group that our bridges are in, and nothing else that packets leave by.
    package let bridgeGroup: UInt32
    /// Ports of the host that lead to endpoints; no two have the same port of the same address.
    package let published: Set<NATPublication>

    package init(
        _ networks: some Sequence<Network>, published: Set<NATPublication> = [], bridgeGroup: UInt32
    ) {
        self.published = published
        sources = Set(networks.lazy.filter(\.nat).flatMap(\.subnets))
        self.bridgeGroup = bridgeGroup
    }

    /// Nobody is translated: there is no table either.
    package var isEmpty: Bool { sources.isEmpty && published.isEmpty }

    package static let chains = [
        // NF_INET_POST_ROUTING; NF_IP_PRI_NAT_SRC of linux/netfilter_ipv4.h
        NftChain(
            table: table, name: "postrouting", hook: NftHook(number: 4, priority: 100, type: "nat"),
            policy: .accept),
        // NF_INET_PRE_ROUTING; NF_IP_PRI_NAT_DST
        NftChain(
            table: table, name: "prerouting", hook: NftHook(number: 0, priority: -100, type: "nat"),
            policy: .accept),
    ]

    package static let sets = IPFamily.allCases.map(sourceSet) + NATPublication.sets

    package var rules: [NftRule] {
        var group = ByteWriter(capacity: 4)
        group.integer(bridgeGroup)
        return IPFamily.allCases.map { family in
            NftRule(
                table: Self.table, chain: "postrouting",
                expressions: [
                    // NFPROTO_IPV4, NFPROTO_IPV6
                    .meta(.nfproto, .r(0)), .cmp(.eq, .r(0), [family == .v4 ? 2 : 10]),
                    .meta(.oifgroup, .r(0)), .cmp(.neq, .r(0), group.bytes),
                    // The source address: RFC 791 section 3.1, RFC 8200 section 3.
                    .payload(
                        base: .network, offset: family == .v4 ? 12 : 8, length: UInt32(family.width / 8),
                        .r(0)),
                    .lookup(set: Self.sourceSet(family).name, key: .r(0)),
                    .masquerade,
                ],
                comment: "from a network that may be left, to the outside")
        } + NATPublication.selfRules + NATPublication.rules
    }

    /// The elements of every set.
    package var elements: [(set: NftSet, elements: [NftElement])] {
        IPFamily.allCases.map { family in
            (Self.sourceSet(family), Self.intervals(sources.filter { $0.family == family }))
        } + Self.elements(published)
    }

    private static func elements(_ published: Set<NATPublication>) -> [(set: NftSet, elements: [NftElement])]
    {
        var elements: [String: Set<NftElement>] = [:]
        for one in published {
            elements[one.map.name, default: []].insert(one.element)
            elements[NATPublication.itself(one.target.family).name, default: []].insert(
                NftElement(key: one.target.bytes + one.target.bytes))
        }
        return NATPublication.sets.map { set in
            (set, (elements[set.name] ?? []).sorted { $0.key.lexicographicallyPrecedes($1.key) })
        }
    }

    private static func sourceSet(_ family: IPFamily) -> NftSet {
        NftSet(
            table: table, name: "sources\(family.rawValue)",
            keyType: [family == .v4 ? .ipv4Addr : .ipv6Addr], keyLength: family.width / 8, flags: .interval)
    }

    /// The kernel's interval is open at its end. No network has the last address of its family.
    private static func intervals(_ blocks: Set<CIDR>) -> [NftElement] {
        blocks.sorted().flatMap { block in
            [
                NftElement(key: block.first.bytes),
                NftElement(
                    key: IPAddress(block.family, bits: block.last.bits + 1).bytes, isIntervalEnd: true),
            ]
        }
    }

    // MARK: Into the kernel

    /// Makes the table with everything in it.
    func build(_ table: NftTable, in batch: inout NftBatch) {
        batch.create(table)
        for set in Self.sets { batch.create(set) }
        for chain in Self.chains { batch.create(chain) }
        for rule in rules { batch.add(rule) }
        for part in elements { batch.add(part.elements, to: part.set) }
    }

    /// Makes another ruleset this one, where both have a table.
    func change(from old: NATRuleset, in batch: inout NftBatch) {
        for family in IPFamily.allCases {
            let gone = old.sources.subtracting(sources).filter { $0.family == family }
            batch.remove(Self.intervals(gone), from: Self.sourceSet(family))
        }
        let (before, after) = (Self.elements(old.published), Self.elements(published))
        for (part, other) in zip(before, after) {
            let kept = Set(other.elements)
            batch.remove(part.elements.filter { !kept.contains($0) }, from: part.set)
        }
        for (part, other) in zip(before, after) {
            let known = Set(part.elements)
            batch.add(other.elements.filter { !known.contains($0) }, to: other.set)
        }
        for family in IPFamily.allCases {
            let new = sources.subtracting(old.sources).filter { $0.family == family }
            batch.add(Self.intervals(new), to: Self.sourceSet(family))
        }
    }
}
