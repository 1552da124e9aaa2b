internal import Forwarding
internal import Model
internal import Sys
internal import Wire

/// What the manager keeps to have hosts verified: the gates that the forwarder has, or shall have, and the
/// connections that it allowed.
struct HostDesk {
    struct Gate: Hashable {
        let networkID: String
        let address: IPAddress

        /// What the forwarder knows it by, the same for every manager.
        var id: UInt32 {
            (UInt32(networkID.prefix(8), radix: 16) ?? 0) & ~1 | (address.family == .v4 ? 0 : 1)
        }
    }

    /// By number.
    var gates: [UInt32: Gate] = [:]
    /// Connections that go on, by the forwarder's number.
    var allowed: [UInt32: HostClaim] = [:]
    /// What was refused because of its host, by endpoint.
    var refused: [String: UInt64] = [:]
}

extension Network {
    /// Where its endpoints' connections are verified, if anywhere: they are led away for what they were told.
    var gates: [HostDesk.Gate] {
        guard dns != nil, nat || isolation == .none else { return [] }
        return IPFamily.allCases.compactMap(gateway).map { HostDesk.Gate(networkID: id, address: $0) }
    }
}
