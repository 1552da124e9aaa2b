package import Wire

/// Ids and link addresses: functions of names alone, so that every host agrees on them.
package enum Identifier {
    /// 64 hexadecimal digits.
    package static func network(name: String) -> String { hash("network", name) }

    /// 64 hexadecimal digits.
    package static func endpoint(networkID: String, containerID: String) -> String {
        hash("endpoint", networkID, containerID)
    }

    /// A locally administered unicast address from an endpoint's id.
    ///
    /// - Parameter attempt: another address for each, should one be taken.
    package static func mac(endpointID: String, attempt: Int = 0) -> MACAddress {
        let bits = number(attempt == 0 ? endpointID : hash("mac", endpointID, String(attempt)), .high) >> 16
        return MACAddress(bits: UInt64(truncatingIfNeeded: bits)).locallyAdministered
    }

    /// A half of an id. What is made of one id takes different halves or different bits, so that nothing
    /// follows from the rest.
    enum Half { case high, low }

    /// 128 bits that are spread evenly.
    static func number(_ id: String, _ half: Half) -> UInt128 {
        let digits = id.utf8.count == 64 ? (half == .high ? id.prefix(32) : id.suffix(32)) : ""
        // An id that is not one of ours is hashed into one.
        return UInt128(digits, radix: 16) ?? number(hash("id", id), half)
    }

    /// A zero byte between the parts, which none of them can contain, keeps ("a", "bc") and ("ab", "c")
    /// apart.
    private static func hash(_ parts: String...) -> String {
        SHA256.hex(Array(parts.joined(separator: "\0").utf8))
    }
}
