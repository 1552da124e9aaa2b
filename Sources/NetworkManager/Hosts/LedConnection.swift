internal import Model
internal import Netlink
internal import Wire

extension ConntrackEntry {
    /// Led to the proxy, which verifies the host that it asks for.
    var isVerified: Bool {
        status.contains(.destinationNAT) && original.l4proto == 6 && reply.sourcePort == VerifiedHost.port
            && reply.source != original.destination
    }

    /// Whom the connection is with as policy sees it: where it was led to, or begun to where the proxy is between.
    var peer: (address: IPAddress, port: UInt16?) {
        isVerified ? (original.destination, original.destinationPort) : (destination, destinationPort)
    }
}
