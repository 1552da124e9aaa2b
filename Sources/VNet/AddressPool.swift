package import Model
package import Wire

/// The addresses of one subnet: which are free, and which one an endpoint gets.
package struct AddressPool: Sendable {
    package let subnet: CIDR
    private var used = OffsetSet()

    package init(_ subnet: CIDR) { self.subnet = subnet }

    /// Offsets in the subnet that endpoints may have: 0 is the network itself (in IPv6 the routers' anycast
    /// address, RFC 4291 section 2.6.1), 1 the gateway, and the last of an IPv4 subnet its broadcast address.
    private var usable: ClosedRange<UInt128> {
        2...max(2, subnet.family == .v4 ? subnet.span - 1 : subnet.span)
    }

    /// Addresses that endpoints may have.
    package var capacity: UInt128 { usable.upperBound - usable.lowerBound + 1 }
    package var usedCount: Int { used.count }

    /// The address for an endpoint: its place by hash, or the first free one after it, around the end to the
    /// beginning.
    ///
    /// - Throws: `ModelError.exhausted` if no address is left.
    package mutating func allocate(endpointID: String) throws(ModelError) -> IPAddress {
        guard UInt128(used.count) < capacity else {
            throw .exhausted(
                "subnet", subnet.description,
                "is full: \(capacity == 1 ? "its one address is" : "all \(capacity) addresses are") taken")
        }
        let start = usable.lowerBound + Identifier.number(endpointID, .low) % capacity
        var offset = used.firstGap(from: start)
        if offset > usable.upperBound { offset = used.firstGap(from: usable.lowerBound) }
        used.insert(offset)
        return IPAddress(subnet.family, bits: subnet.first.bits + offset)
    }

    /// Takes one address that was asked for.
    ///
    /// - Throws: `ModelError.invalid` if endpoints may not have it, `ModelError.exists` if one does.
    package mutating func take(_ address: IPAddress) throws(ModelError) {
        guard subnet.contains(address) else {
            throw .invalid("ip", address.description, "is outside the network's subnet \(subnet)")
        }
        let offset = address.bits - subnet.first.bits
        guard usable.contains(offset) else {
            let role =
                offset == 1
                ? "the gateway's address" : offset == 0 ? "the subnet's own address" : "the broadcast address"
            throw .invalid("ip", address.description, "is \(role) of \(subnet)")
        }
        guard used.insert(offset) else { throw .exists("ip", address.description, "is taken") }
    }

    /// Gives an address back; one that is not taken is left alone.
    package mutating func release(_ address: IPAddress) {
        if subnet.contains(address) { used.remove(address.bits - subnet.first.bits) }
    }
}
