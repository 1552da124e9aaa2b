package import Model
internal import Netlink
package import Wire

/// A port of the host that leads to an endpoint, in one family.
package struct NATPublication: Hashable, Sendable {
    /// The host's address; nil for every one of its own.
    package let address: IPAddress?
    package let hostPort: UInt16
    package let transport: TransportProtocol
    package let target: IPAddress
    package let port: UInt16

    /// What a published port is in the families of an endpoint's addresses.
    package static func all(_ port: PublishedPort, to addresses: [IPAddress]) -> [NATPublication] {
        addresses.compactMap { target in
            if let address = port.address, address.family != target.family { return nil }
            return NATPublication(
                // "Any" of one family is every address, too.
                address: port.address.flatMap { $0.bits == 0 ? nil : $0 }, hostPort: port.hostPort,
                transport: port.transport, target: target, port: port.endpointPort)
        }
    }

    /// (host's address if it has one, protocol, port) → (endpoint's address, port), each part in registers of
    /// four bytes.
    var element: NftElement {
        NftElement(
            key: (address?.bytes ?? []) + [transport == .udp ? 17 : 6, 0, 0, 0] + Self.padded(hostPort),
            data: target.bytes + Self.padded(port))
    }

    private static func padded(_ port: UInt16) -> [UInt8] {
        [UInt8(port >> 8), UInt8(truncatingIfNeeded: port), 0, 0]
    }

    // MARK: Sets and rules

    /// The map that its element is in.
    var map: NftSet { Self.map(target.family, ofOneAddress: address != nil) }

    static func map(_ family: IPFamily, ofOneAddress: Bool) -> NftSet {
        let type: NftDataType = family == .v4 ? .ipv4Addr : .ipv6Addr
        let length = family.width / 8
        return NftSet(
            table: NATRuleset.table, name: "published\(ofOneAddress ? "_at" : "")\(family.rawValue)",
            keyType: (ofOneAddress ? [type] : []) + [.inetProto, .inetService],
            keyLength: (ofOneAddress ? length : 0) + 8,
            data: .value(.concatenation([type, .inetService]), length: length + 4), flags: .map,
            elementExpressions: [.counter])
    }

    /// An endpoint's address, twice: what it sends to a published port of its own.
    static func itself(_ family: IPFamily) -> NftSet {
        let type: NftDataType = family == .v4 ? .ipv4Addr : .ipv6Addr
        return NftSet(
            table: NATRuleset.table, name: "itself\(family.rawValue)", keyType: [type, type],
            keyLength: family.width / 4)
    }

    static var sets: [NftSet] {
        IPFamily.allCases.flatMap { family in
            [map(family, ofOneAddress: false), map(family, ofOneAddress: true), itself(family)]
        }
    }

    /// What endpoints send to themselves, by chain "postrouting".
    static var selfRules: [NftRule] {
        IPFamily.allCases.map { family in
            let (source, destination) = offsets(family)
            let (length, registers) = (UInt32(family.width / 8), family.width / 32)
            return NftRule(
                table: NATRuleset.table, chain: "postrouting",
                expressions: isFamily(family) + [
                    .payload(base: .network, offset: source, length: length, .r(0)),
                    .payload(base: .network, offset: destination, length: length, .r(registers)),
                    .lookup(set: itself(family).name, key: .r(0)), .masquerade,
                ],
                comment: "an endpoint to itself, by a published port")
        }
    }

    /// Chain "prerouting".
    static var rules: [NftRule] {
        IPFamily.allCases.flatMap { family in
            let (length, registers) = (UInt32(family.width / 8), family.width / 32)
            func port(from register: Int) -> [NftExpression] {
                [
                    .meta(.l4proto, .r(register)),
                    .payload(base: .transport, offset: 2, length: 2, .r(register + 1)),
                ]
            }
            func lead(_ map: NftSet) -> [NftExpression] {
                [
                    .lookup(set: map.name, key: .r(0), destination: .r(8)),
                    .destinationNAT(family, address: .r(8), port: .r(8 + registers)),
                ]
            }
            return [
                NftRule(
                    table: NATRuleset.table, chain: "prerouting",
                    expressions: isFamily(family)
                        + [
                            .payload(
                                base: .network, offset: offsets(family).destination, length: length, .r(0))
                        ]
                        + port(from: registers) + lead(map(family, ofOneAddress: true)),
                    comment: "to a published port of one address"),
                NftRule(
                    table: NATRuleset.table, chain: "prerouting",
                    expressions: isFamily(family)
                        // RTN_LOCAL
                        + [.destinationType(.r(0)), .cmp(.eq, .r(0), native(2))]
                        + port(from: 0) + lead(map(family, ofOneAddress: false)),
                    comment: "to a published port of every address"),
            ]
        }
    }

    private static func isFamily(_ family: IPFamily) -> [NftExpression] {
        // NFPROTO_IPV4, NFPROTO_IPV6
        [.meta(.nfproto, .r(0)), .cmp(.eq, .r(0), [family == .v4 ? 2 : 10])]
    }

    /// Of the addresses: RFC 791 section 3.1, RFC 8200 section 3.
    private static func offsets(_ family: IPFamily) -> (source: UInt32, destination: UInt32) {
        family == .v4 ? (12, 16) : (8, 24)
    }

    /// In host order, as registers hold it.
    private static func native(_ value: UInt32) -> [UInt8] {
        var writer = ByteWriter(capacity: 4)
        writer.integer(value)
        return writer.bytes
    }
}
