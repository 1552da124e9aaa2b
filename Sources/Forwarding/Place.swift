internal import CLinux
package import Wire

/// An address and a port.
struct Place: Hashable, Sendable {
    var address: IPAddress
    var port: UInt16
    /// The interface of a link-local address.
    var scope: UInt32 = 0

    init(_ address: IPAddress, _ port: UInt16) {
        self.address = address
        self.port = port
    }

    /// Nil for one that is not known.
    init?(_ place: cl_place) {
        switch place.family {
        case 4: address = .v4(IPv4Address(bits: UInt32(truncatingIfNeeded: place.low)))
        case 6: address = .v6(IPv6Address(bits: UInt128(place.high) << 64 | UInt128(place.low)))
        default: return nil
        }
        port = place.port
        scope = place.scope
    }

    var kernel: cl_place {
        let bits = address.bits
        return cl_place(
            high: UInt64(truncatingIfNeeded: bits >> 64), low: UInt64(truncatingIfNeeded: bits), scope: scope,
            port: port, family: address.family.rawValue)
    }
}

/// Addresses, as ranges in order that do not touch.
package struct AddressRanges: Hashable, Sendable {
    package let ranges: [IPFamily: [ClosedRange<UInt128>]]

    package init(_ blocks: [CIDR]) {
        var ranges: [IPFamily: [ClosedRange<UInt128>]] = [:]
        for block in blocks.sorted() {
            let (first, last) = (block.first.bits, block.last.bits)
            guard let before = ranges[block.family]?.last, first <= before.upperBound &+ 1,
                before.upperBound != .max
            else {
                if ranges[block.family]?.last?.upperBound != .max {
                    ranges[block.family, default: []].append(first...last)
                }
                continue
            }
            ranges[block.family]?.removeLast()
            ranges[block.family]?.append(before.lowerBound...max(before.upperBound, last))
        }
        self.ranges = ranges
    }

    package func contains(_ address: IPAddress) -> Bool {
        guard let ranges = ranges[address.family] else { return false }
        var (low, high) = (0, ranges.count)
        while low < high {
            let middle = (low + high) / 2
            if ranges[middle].upperBound < address.bits { low = middle + 1 } else { high = middle }
        }
        return low < ranges.count && ranges[low].contains(address.bits)
    }
}

/// How a client is led to an endpoint: as whom, and where.
struct Passage: Hashable, Sendable {
    /// What the endpoint sees; port 0 is any.
    let source: Place
    let target: Place
    /// The source is not the client.
    let isStandIn: Bool

    /// - Returns: nil if there is no address that the client could have.
    init?(_ client: Place, to port: ForwardedPort, own: AddressRanges) {
        let family = client.address.family
        guard let address = port.targets.first(where: { $0.family == family }) ?? port.targets.first else {
            return nil
        }
        target = Place(address, port.port)
        if address.family == family, Passage.canBeSource(client.address), !own.contains(client.address) {
            source = Place(client.address, client.port)
            isStandIn = false
        } else {
            guard let standIn = port.standIns.first(where: { $0.family == address.family }) else {
                return nil
            }
            source = Place(standIn, 0)
            isStandIn = true
        }
    }

    /// Whether packets from this address can come in by a link, and answers to it find their way back.
    private static func canBeSource(_ address: IPAddress) -> Bool {
        switch address {
        case .v4(let address):
            // RFC 6890 section 2.2.2: "this network", loopback; RFC 5771 and RFC 1112: multicast, reserved.
            let first = address.bits >> 24
            return first != 0 && first != 127 && first < 224
        case .v6(let address):
            // RFC 4291 section 2.5: unspecified, loopback, link-local.
            return address.bits > 1 && !address.isLinkLocal && !address.isMulticast
        }
    }
}
