internal import Model
internal import Netlink
internal import Wire

/// How rows look as elements of the kernel's sets.
enum KernelRows {
    /// An element of a set, or the two that begin and end an interval.
    static func elements(_ row: Row, _ value: UInt32) -> (set: NftSet, elements: [NftElement]) {
        switch row {
        case .identity(let address):
            return (
                KernelLayout.identities(address.family),
                [NftElement(key: address.bytes, data: nativeBytes(value))]
            )
        case .pair(let direction, let subject, let peer):
            return (
                KernelLayout.pairs(direction),
                [NftElement(key: nativeBytes(subject, peer), data: nativeBytes(value))]
            )
        case .segment(let direction, let subject, let first, let last):
            let prefix = nativeBytes(subject)
            return (
                KernelLayout.segments(direction, first.family),
                interval(from: prefix + first.bytes, to: prefix + last.bytes, value)
            )
        case .named(let address, let peer):
            return (
                KernelLayout.named(address.family),
                [NftElement(key: address.bytes + peer.bytes, data: nativeBytes(value))]
            )
        case .quarantined(let address):
            return (
                KernelLayout.quarantined(address.family),
                [NftElement(key: address.bytes, data: nativeBytes(value))]
            )
        case .exception(let quarantine, let first, let last):
            let prefix = nativeBytes(quarantine)
            return (
                KernelLayout.exceptions(first.family),
                interval(from: prefix + first.bytes, to: prefix + last.bytes, value)
            )
        case .port(let portClass, let range) where range.count == 1:
            let key = portKey(portClass, range.lowerBound, padding: 0)
            return (KernelLayout.ports, [NftElement(key: key, data: nativeBytes(value))])
        case .port(let portClass, let range):
            return (
                KernelLayout.portRanges,
                interval(
                    from: portKey(portClass, range.lowerBound, padding: 0),
                    to: portKey(portClass, range.upperBound, padding: 0xff), value)
            )
        case .limited(let address):
            return (
                KernelLayout.limited(address.family),
                [NftElement(key: address.bytes, data: nativeBytes(value))]
            )
        case .connections(let scope, let endpoint):
            let own = Direction.allCases.first { $0.ownScope == scope }
            let direction = own ?? direction(ofRule: scope)
            return (
                KernelLayout.connectionLimits,
                [
                    limit(
                        nativeBytes(scope, endpoint),
                        .exceeded(.connections, direction, rule: own == nil ? scope : nil),
                        .connections(value))
                ]
            )
        case .rulePackets(let rule, let endpoint, let isReply):
            return (
                KernelLayout.packetLimits,
                [
                    limit(
                        ruleKey(rule, endpoint, isReply),
                        .exceeded(.packets, direction(ofRule: rule), rule: rule), .packets(value))
                ]
            )
        case .ruleBandwidth(let rule, let endpoint, let isReply):
            return (
                KernelLayout.byteLimits,
                [
                    limit(
                        ruleKey(rule, endpoint, isReply),
                        .exceeded(.bandwidth, direction(ofRule: rule), rule: rule), .kilobits(value))
                ]
            )
        case .packets(let direction, let port):
            return (
                KernelLayout.portLimits(direction),
                [limit(port.bytes, .exceeded(.packets, direction), .packets(value))]
            )
        }
    }

    private static func limit(_ key: [UInt8], _ outcome: Outcome, _ bucket: NftExpression) -> NftElement {
        NftElement(key: key, data: nativeBytes(outcome.rawValue), expressions: [bucket])
    }

    private static func ruleKey(_ rule: UInt32, _ endpoint: UInt32, _ isReply: Bool) -> [UInt8] {
        nativeBytes(rule, endpoint, isReply ? 1 : 0)
    }

    private static func direction(ofRule number: UInt32) -> Direction {
        number & Outcome.limitMask(.egress) != 0 ? .egress : .ingress
    }

    /// Class, protocol and port, each in a register of its own, zero-padded behind the value as the kernel
    /// loads them.
    ///
    /// The last key of a run has ones there instead, so that its successor is the next port.
    static func portKey(_ portClass: UInt32, _ point: UInt32, padding: UInt8) -> [UInt8] {
        var writer = ByteWriter(capacity: 12)
        writer.integer(portClass)
        writer.integer(UInt8(truncatingIfNeeded: point >> 16))
        writer.zeros(3)
        writer.integerBE(UInt16(truncatingIfNeeded: point))
        writer.integer(padding)
        writer.integer(padding)
        return writer.bytes
    }

    /// The kernel's interval is open at its end: the end element is the key after the last one.
    private static func interval(from first: [UInt8], to last: [UInt8], _ value: UInt32) -> [NftElement] {
        let start = NftElement(key: first, data: nativeBytes(value))
        guard let end = successor(last) else { return [start] }
        return [start, NftElement(key: end, isIntervalEnd: true)]
    }

    /// The next key in byte order; nil after the last there is.
    static func successor(_ key: [UInt8]) -> [UInt8]? {
        var key = key
        for index in key.indices.reversed() {
            key[index] &+= 1
            if key[index] != 0 { return key }
        }
        return nil
    }

    static func interfaceName(_ name: String) -> [UInt8] { LinkName(name).bytes }

    /// What pins an endpoint's port to its addresses.
    static func portElements(_ endpoint: Endpoint) -> [(set: NftSet, elements: [NftElement])] {
        let port = interfaceName(endpoint.hostInterfaceName)
        var all = [
            (KernelLayout.guardedPorts, [NftElement(key: port)]),
            // A MAC fills one register and half of the next.
            (KernelLayout.portMACs, [NftElement(key: port + endpoint.mac.bytes + [0, 0])]),
        ]
        for address in endpoint.addresses {
            all.append((KernelLayout.portAddresses(address.family), [NftElement(key: port + address.bytes)]))
        }
        if endpoint.address(.v6) != nil {
            all.append(
                (KernelLayout.portAddresses(.v6), [NftElement(key: port + endpoint.mac.linkLocalIPv6.bytes)]))
        }
        return all
    }

    /// One of a network's bridges in the sets that isolation is judged by.
    static func bridgeElements(
        _ network: Network, number: UInt32, segment: Int
    ) -> [(set: NftSet, elements: [NftElement])] {
        let bridge = interfaceName(network.bridgeName(segment: segment))
        var all = [
            (KernelLayout.bridges, [NftElement(key: bridge)]),
            (KernelLayout.networks, [NftElement(key: bridge, data: nativeBytes(number))]),
        ]
        if network.isolation == .peerOnly || network.isolation == .none {
            all.append((KernelLayout.peerLinks, [NftElement(key: nativeBytes(number) + bridge)]))
        }
        if network.dns != nil {
            for address in IPFamily.allCases.compactMap(network.gateway) {
                all.append(
                    (KernelLayout.resolvers(address.family), [NftElement(key: bridge + address.bytes)]))
                guard network.nat || network.isolation == .none else { continue }
                all.append(
                    (KernelLayout.verifiers(address.family), [NftElement(key: bridge, data: address.bytes)]))
            }
        }
        if network.isolation != .none { all.append((KernelLayout.closedBridges, [NftElement(key: bridge)])) }
        if network.nat { all.append((KernelLayout.exitBridges, [NftElement(key: bridge)])) }
        return all
    }
}

/// Numbers as registers hold them.
func nativeBytes(_ numbers: UInt32...) -> [UInt8] {
    var writer = ByteWriter(capacity: 4 * numbers.count)
    for number in numbers { writer.integer(number) }
    return writer.bytes
}
