internal import Model
package import Netlink
internal import Wire

/// The names and shapes of our tables, sets and chains. Two tables, a fixed number of rules: what grows are
/// the elements of sets.
package enum KernelLayout {
    /// Judges routed packets, and those from and to the fabric's own namespace.
    package static let policyTable = NftTable(family: .inet, name: "forge")
    /// Pins the source addresses of every port.
    package static let spoofingTable = NftTable(family: .bridge, name: "forge")

    static let tables = [policyTable, spoofingTable]

    /// Tables of another layout are replaced, not mended; see `Generation.mark`.
    static let version = 16

    // MARK: Sets of the policy table

    /// Our bridges, by name.
    static let bridges = set("bridges", [.ifname], 16)
    /// Bridge → its network's number.
    static let networks = NftSet(
        table: policyTable, name: "networks", keyType: [.ifname], keyLength: 16,
        data: .value(.mark, length: 4), flags: .map)
    /// (network's number, any of its bridges) where its endpoints may talk to one another.
    static let peerLinks = set("peer_links", [.mark, .ifname], 20)
    /// Bridges of networks that nothing crosses the border of.
    static let closedBridges = set("closed_bridges", [.ifname], 16)
    /// (bridge of a network with names, gateway's address): where its endpoints may ask, whatever policy says.
    static func resolvers(_ family: IPFamily) -> NftSet {
        set("resolvers\(family.rawValue)", [.ifname, family.type], 16 + family.width / 8)
    }
    /// Bridge of a network with names that may be left → its gateway, where the proxy verifies hosts.
    static func verifiers(_ family: IPFamily) -> NftSet {
        NftSet(
            table: policyTable, name: "verifiers\(family.rawValue)", keyType: [.ifname], keyLength: 16,
            data: .value(family.type, length: family.width / 8), flags: .map)
    }
    /// Bridges of networks that may be left for the outside.
    static let exitBridges = set("exit_bridges", [.ifname], 16)
    /// Protocols whose header has the destination port at byte 2: TCP, UDP, SCTP, UDP-Lite, DCCP.
    static let portedProtocols = set("ported_protocols", [.inetProto], 1)
    static let portedNumbers: [UInt8] = [6, 17, 132, 136, 33]

    static func identities(_ family: IPFamily) -> NftSet {
        map("identity\(family.rawValue)", [family.type], family.width / 8)
    }

    static func pairs(_ direction: Direction) -> NftSet {
        map("\(direction.rawValue)_pairs", [.mark, .mark], 8)
    }

    /// Without the `concat` flag the kernel keeps the whole key in one ordered tree, so that (identity, run
    /// of addresses) is an interval. nft prints such keys as bytes when they are called Ethernet addresses,
    /// and dies of any concatenated type.
    static func segments(_ direction: Direction, _ family: IPFamily) -> NftSet {
        map(
            "\(direction.rawValue)_blocks\(family.rawValue)", [.etherAddr], 4 + family.width / 8,
            flags: .interval)
    }

    /// (address of an endpoint, address that it was told for a name) → class of ports.
    static func named(_ family: IPFamily) -> NftSet {
        map("named\(family.rawValue)", [family.type, family.type], family.width / 4)
    }

    /// Address of a quarantined endpoint → number of its quarantine.
    static func quarantined(_ family: IPFamily) -> NftSet {
        map("quarantined\(family.rawValue)", [family.type], family.width / 8)
    }

    /// (number of a quarantine, run of addresses) → class of ports.
    static func exceptions(_ family: IPFamily) -> NftSet {
        map("excepted\(family.rawValue)", [.etherAddr], 4 + family.width / 8, flags: .interval)
    }

    /// (class, protocol, port), each in a register of its own, for single ports, by far the most: what the
    /// kernel does for a change of a map with intervals grows with the map.
    static let ports = map("ports", [.mark, .inetProto, .inetService], 12)
    /// The same for runs of ports.
    static let portRanges = map("port_ranges", [.etherAddr], 12, flags: .interval)

    /// Address → number of the endpoint, where its connections are limited.
    static func limited(_ family: IPFamily) -> NftSet {
        map("limited\(family.rawValue)", [family.type], family.width / 8)
    }
    /// (rule or `ownScope`, endpoint) → outcome past the limit that the element has.
    static let connectionLimits = limits("connection_limits", [.etherAddr], 8)
    /// (rule, endpoint, 1 on the way back) → outcome past the limit that the element has.
    static let packetLimits = limits("packet_limits", [.etherAddr], 12)
    static let byteLimits = limits("byte_limits", [.etherAddr], 12, .bytes)

    /// (address of the endpoint, outcome), counting: written by the kernel alone.
    static func denied(_ family: IPFamily) -> NftSet {
        NftSet(
            table: policyTable, name: "denied\(family.rawValue)", keyType: [family.type, .mark],
            keyLength: family.width / 8 + 4, flags: .eval, size: 1 << 20, elementExpressions: [.counter])
    }

    /// Address of the endpoint → its share of denials that are told, and how many were not: written by the
    /// kernel alone. What nothing was denied to for an hour is forgotten.
    static func unlogged(_ family: IPFamily) -> NftSet {
        NftSet(
            table: policyTable, name: "unlogged\(family.rawValue)", keyType: [family.type],
            keyLength: family.width / 8, flags: [.eval, .timeout, .expressions], size: 1 << 20,
            elementExpressions: DenialLog.share)
    }

    // MARK: Sets of the spoofing table

    /// Host ends of our veth pairs.
    static let guardedPorts = NftSet(table: spoofingTable, name: "ports", keyType: [.ifname], keyLength: 16)
    static let portMACs = NftSet(
        table: spoofingTable, name: "port_mac", keyType: [.ifname, .etherAddr], keyLength: 24)
    static func portAddresses(_ family: IPFamily) -> NftSet {
        NftSet(
            table: spoofingTable, name: "port_ip\(family.rawValue)", keyType: [.ifname, family.type],
            keyLength: 16 + family.width / 8)
    }
    /// Host end → frames refused.
    static let spoofed = NftSet(
        table: spoofingTable, name: "spoofed", keyType: [.ifname], keyLength: 16, flags: .eval, size: 1 << 20,
        elementExpressions: [.counter])

    /// As `unlogged(_:)`, by host end.
    static let unloggedSpoofed = NftSet(
        table: spoofingTable, name: "unlogged", keyType: [.ifname], keyLength: 16,
        flags: [.eval, .timeout, .expressions],
        size: 1 << 20, elementExpressions: DenialLog.share)

    /// What an endpoint may send or get → outcome past the limit that the element has, by the host end of its
    /// link.
    static func portLimits(_ direction: Direction) -> NftSet {
        limits("\(direction.rawValue)_limits", [.ifname], 16, table: spoofingTable)
    }
    /// (host end, outcome), counting what was too much.
    static let exceeded = NftSet(
        table: spoofingTable, name: "exceeded", keyType: [.ifname, .mark], keyLength: 20, flags: .eval,
        size: 1 << 20, elementExpressions: [.counter])

    static let policySets: [NftSet] =
        IPFamily.allCases.map(resolvers) + IPFamily.allCases.map(verifiers)
        + [bridges, networks, peerLinks, closedBridges, exitBridges, portedProtocols, ports, portRanges]
        + [connectionLimits, packetLimits, byteLimits] + IPFamily.allCases.map(limited)
        + IPFamily.allCases.flatMap { [identities($0), named($0), quarantined($0), exceptions($0)] }
        + Direction.allCases.map(pairs)
        + Direction.allCases.flatMap { direction in IPFamily.allCases.map { segments(direction, $0) } }
        + IPFamily.allCases.map(denied) + IPFamily.allCases.map(unlogged)

    static let spoofingSets: [NftSet] =
        [guardedPorts, portMACs, spoofed, unloggedSpoofed, exceeded] + IPFamily.allCases.map(portAddresses)
        + Direction.allCases.map(portLimits)

    /// A map whose elements have a limit each: a lookup finds only what is past it. Of keys that are not all
    /// loaded from packets nft prints bytes only.
    private static func limits(
        _ name: String, _ keyType: [NftDataType], _ length: Int, _ kind: NftLimitKind = .packets,
        table: NftTable = policyTable
    ) -> NftSet {
        NftSet(
            table: table, name: name, keyType: keyType, keyLength: length, data: .value(.mark, length: 4),
            flags: .map,
            // For nft to print; every element brings its own.
            elementExpressions: [.limit(rate: 1, unitSeconds: 1, burst: 1, kind: kind, over: true)])
    }

    private static func set(_ name: String, _ keyType: [NftDataType], _ length: Int, flags: NftSetFlags = [])
        -> NftSet
    {
        NftSet(table: policyTable, name: name, keyType: keyType, keyLength: length, flags: flags)
    }

    private static func map(_ name: String, _ keyType: [NftDataType], _ length: Int, flags: NftSetFlags = [])
        -> NftSet
    {
        NftSet(
            table: policyTable, name: name, keyType: keyType, keyLength: length,
            data: .value(.mark, length: 4),
            flags: flags.union(.map))
    }
}

extension IPFamily {
    var type: NftDataType { self == .v4 ? .ipv4Addr : .ipv6Addr }

    /// Registers of four bytes that an address fills.
    var registers: Int { width / 32 }
}
