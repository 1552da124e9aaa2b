package import Wire

/// The resolver of a network that has names: at its gateway addresses.
package enum NameService {
    /// RFC 1035 section 4.2
    package static let port: UInt16 = 53

    /// Whether a packet to an address is a question to the network's resolver.
    package static func isAsked(of network: Network, at address: IPAddress, _ transport: FlowTransport) -> Bool {
        network.dns != nil && network.isGateway(address)
            && (transport == .udp(port) || transport == .tcp(port))
    }
}
