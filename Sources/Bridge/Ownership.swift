package import Model
internal import Netlink
package import Wire

/// The marks that tell our links from anyone else's: the group, and an alias that names the owner.
package enum Ownership {
    /// "forg" in ASCII.
    package static let group: UInt32 = 0x666f_7267

    /// "ford": links that are deleted together, for no longer than that takes.
    static let doomedGroup: UInt32 = 0x666f_7264

    /// The alias of the link of a network or an endpoint with this id.
    package static func alias(_ id: String) -> String { "forge:" + id }

    /// The id in an alias of ours.
    static func owner(_ alias: String) -> String? {
        alias.hasPrefix("forge:") ? String(alias.dropFirst(6)) : nil
    }

    /// The group is set in the moment the link is made, the alias right after: without one it was left half
    /// made.
    static func holds(_ link: Link, id: String, kind: String) -> Bool {
        link.kind == kind && link.group == group && (link.alias == alias(id) || link.alias.isEmpty)
    }
}

extension Network {
    /// The bridge's MAC address: a function of the id, so that containers may know it for good.
    package var gatewayMAC: MACAddress {
        // FNV-1a
        let hash = id.utf8.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
        return MACAddress(bits: hash ^ hash >> 48).locallyAdministered
    }

    /// Whether any subnet is of this family.
    func has(_ family: IPFamily) -> Bool { subnets.contains { $0.family == family } }

    /// What the bridge itself has: the first usable address of every subnet.
    var gateways: [(address: IPAddress, prefixLength: UInt8)] {
        subnets.compactMap { subnet in
            subnet.address(at: 1).map { ($0, UInt8(subnet.prefixLength)) }
        }
    }
}
