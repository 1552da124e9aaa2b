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
        MACAddress(bits: UInt64(truncatingIfNeeded: number(endpointID, "mac", attempt) >> 64))
            .locallyAdministered
    }

    /// 128 bits that are spread evenly, from an id and what they are for.
    static func number(_ id: String, _ purpose: String, _ attempt: Int = 0) -> UInt128 {
        SHA256.digest(message(purpose, id, String(attempt))).prefix(16).reduce(0) { $0 << 8 | UInt128($1) }
    }

    private static func hash(_ parts: String...) -> String { SHA256.hex(message(parts)) }

    private static func message(_ parts: String...) -> [UInt8] { message(parts) }

    /// A zero byte between the parts, which none of them can contain, keeps ("a", "bc") and ("ab", "c") apart.
    private static func message(_ parts: [String]) -> [UInt8] { Array(parts.joined(separator: "\0").utf8) }
}
