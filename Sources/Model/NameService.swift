package import Wire

/// The resolver of a network that has names: at its gateway addresses.
package enum NameService {
    /// RFC 1035 section 4.2
    package static let port: UInt16 = 53

    /// Bytes of the longest question over UDP that the resolver reads: `Limit.udp` of `DNS`.
    package static let longestQuestion = 1232

    /// Where names are asked for, over UDP and TCP: RFC 1035, RFC 7858 and RFC 9250. A rule that says no ports does
    /// not open them to an endpoint of a network with names: whatever is put into the names that are asked of
    /// somebody else leaves the fabric.
    package static let ports: [UInt16] = [53, 853]

    package static func isOf(_ transport: FlowTransport) -> Bool {
        switch transport {
        case .tcp(let port), .udp(let port): ports.contains(port)
        case .sctp, .icmp, .other: false
        }
    }

    /// Whether a packet to an address is a question to the network's resolver.
    package static func isAsked(of network: Network, at address: IPAddress, _ transport: FlowTransport)
        -> Bool
    {
        network.dns != nil && network.isGateway(address)
            && (transport == .udp(port) || transport == .tcp(port))
    }
}

extension Network {
    /// The domain of its endpoints' names.
    public var searchDomain: String { "\(name).forge.internal" }
}
