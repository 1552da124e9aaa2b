internal import Wire

/// Which addresses a name outside may stand for.
enum OutsideAddress {
    /// What no name of the Internet stands for in good faith: the host itself, its links, and nobody.
    private static let unusable = [
        // RFC 6890: this network, loopback, link-local (clouds' metadata services among it), multicast and
        // reserved.
        "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3",
        // RFC 4291: unspecified and loopback with all of the first block, link-local, multicast.
        "::/96", "fe80::/10", "ff00::/8",
        // IPv4 by another name.
        "::ffff:0:0/96",
    ].compactMap { try? CIDR($0) }

    static func isUsable(_ address: IPAddress) -> Bool { !unusable.contains { $0.contains(address) } }
}
