package import Sys
package import Wire

/// The transport of a listener or of a declared port; IP's protocol numbers.
package enum DNSTransport: UInt8, Hashable, Sendable {
    case tcp = 6
    case udp = 17
}

/// How a client is told that it may not know.
package enum Refusal: UInt8, Hashable, Sendable {
    /// As if there were no such name.
    case nameError = 3
    case refused = 5
}

/// A resolver that is asked what we do not know ourselves.
package struct UpstreamAddress: Hashable, Sendable {
    package let address: IPAddress
    package let port: UInt16

    package init(_ address: IPAddress, port: UInt16 = 53) {
        self.address = address
        self.port = port
    }

    var socketAddress: SocketAddress { SocketAddress(address, port: port) }
}

extension SocketAddress {
    package init(_ address: IPAddress, port: UInt16) {
        let bits = address.bits
        self.init(
            family: address.family.rawValue, high: UInt64(truncatingIfNeeded: bits >> 64),
            low: UInt64(truncatingIfNeeded: bits), port: port)
    }

    /// The address alone; nil of a socket that is not of the Internet.
    package var address: IPAddress? {
        switch family {
        case 4: .v4(IPv4Address(bits: UInt32(truncatingIfNeeded: low)))
        case 6: .v6(IPv6Address(bits: UInt128(high) << 64 | UInt128(low)))
        default: nil
        }
    }
}

/// A network, as far as names go.
///
/// Ids are the manager's, and the same for each manager after it: a network keeps its listeners by it.
package struct NetworkDescription: Hashable, Sendable {
    /// Not 0.
    package var id: UInt64
    /// A DNS label.
    package var name: String
    package var subnets: [CIDR]
    package var refusal: Refusal
    /// The network's own; the host's where nil.
    package var upstreams: [UpstreamAddress]?

    package init(
        id: UInt64, name: String, subnets: [CIDR], refusal: Refusal = .nameError,
        upstreams: [UpstreamAddress]? = nil
    ) {
        self.id = id
        self.name = name
        self.subnets = subnets
        self.refusal = refusal
        self.upstreams = upstreams
    }
}

/// An endpoint, as far as names go.
package struct EndpointDescription: Hashable, Sendable {
    package struct Port: Hashable, Sendable {
        /// `http`, as in `_http._tcp`.
        package var name: String
        package var transport: DNSTransport
        package var number: UInt16

        package init(name: String, transport: DNSTransport, number: UInt16) {
            self.name = name
            self.transport = transport
            self.number = number
        }
    }

    package var id: UInt64
    package var network: UInt64
    /// A DNS label.
    package var name: String
    /// Labels, or names of several; several endpoints may have the same.
    package var aliases: [String]
    package var addresses: [IPAddress]
    package var ports: [Port]

    package init(
        id: UInt64, network: UInt64, name: String, aliases: [String] = [], addresses: [IPAddress],
        ports: [Port] = []
    ) {
        self.id = id
        self.network = network
        self.name = name
        self.aliases = aliases
        self.addresses = addresses
        self.ports = ports
    }
}

/// A socket on which clients ask.
package struct ListenerDescription: Hashable, Sendable {
    /// Whose endpoints ask there; 0 if the host asks.
    package var network: UInt64
    package var transport: DNSTransport
    /// Whoever asks there may know everything: the host itself.
    package var trusted: Bool
    /// Where it is bound; nil unless it is an Internet socket, and in an order.
    package var address: IPAddress?

    package init(network: UInt64, transport: DNSTransport, trusted: Bool = false, address: IPAddress? = nil) {
        self.network = network
        self.transport = transport
        self.trusted = trusted
        self.address = address
    }
}

/// Why a client was not told. Numbers from 64 on are the manager's own.
package struct DenialReason: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// Policy lets it not reach the endpoint that has the name.
    package static let peer = DenialReason(rawValue: 1)
    /// Policy lets it not reach the name outside.
    package static let outside = DenialReason(rawValue: 2)
    /// Nobody of the network has that address.
    package static let stranger = DenialReason(rawValue: 3)
    /// It waits for too many answers already.
    package static let outstanding = DenialReason(rawValue: 4)
    /// It asks faster than it is answered, while others wait.
    package static let flood = DenialReason(rawValue: 5)
    /// The name outside stands for an address within the fabric.
    package static let inside = DenialReason(rawValue: 6)
    /// The kernel was not told of its addresses.
    package static let notLearnt = DenialReason(rawValue: 7)
    /// No manager said whether it may know.
    package static let undecided = DenialReason(rawValue: 8)
    /// No upstream answered.
    package static let upstream = DenialReason(rawValue: 9)
    /// The message was no query.
    package static let malformed = DenialReason(rawValue: 10)
    /// What we do not do: zone transfers, other classes, other operations.
    package static let unsupported = DenialReason(rawValue: 11)
}

/// Whether a client may know.
package struct Verdict: Hashable, Sendable {
    package enum Outcome: UInt8, Hashable, Sendable {
        case denied = 0
        case allowed = 1
        /// It may, once the manager has been told the addresses (`ResolverReport.learn`).
        case learn = 2
    }

    package var outcome: Outcome
    /// Why not.
    package var reason: DenialReason
    /// It is the same for every name outside that this client may ask for.
    package var coversEverything: Bool

    package init(_ outcome: Outcome, reason: DenialReason = .outside, coversEverything: Bool = false) {
        self.outcome = outcome
        self.reason = reason
        self.coversEverything = coversEverything
    }
}
