public import Wire

/// What a network's resolver says of a name that the asking endpoint may not know.
public enum DNSRefusal: String, Hashable, Sendable, CaseIterable, Codable {
    /// That there is no such name (RCODE 3 of RFC 1035 section 4.1.1), so that its existence is not told
    /// either.
    case nxdomain
    /// That it will not answer (RCODE 5).
    case refused
}

/// A resolver that questions are passed on to.
public struct DNSUpstream: Hashable, Sendable, Codable, CustomStringConvertible {
    /// RFC 1035 section 4.2.
    public static let defaultPort: UInt16 = 53

    public let address: IPAddress
    public let port: UInt16

    public init(_ address: IPAddress, port: UInt16 = defaultPort) {
        self.address = address
        self.port = port
    }

    /// Reads `192.0.2.53`, `192.0.2.53:5353`, `2001:db8::53` or `[2001:db8::53]:5353`.
    public init(_ text: String) throws(ParseError) {
        var address = Substring(text)
        var port: Substring?
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else {
                throw ParseError("DNS upstream", text, "']' is missing")
            }
            address = text[text.index(after: text.startIndex)..<end]
            let rest = text[text.index(after: end)...]
            guard address.contains(":"), rest.isEmpty || rest.hasPrefix(":") else {
                throw ParseError("DNS upstream", text, "expected [IPv6 address]:port")
            }
            if !rest.isEmpty { port = rest.dropFirst() }
        } else if text.count(where: { $0 == ":" }) == 1, let colon = text.firstIndex(of: ":") {
            address = text[..<colon]
            port = text[text.index(after: colon)...]
        }
        self.address = try IPAddress(address)
        guard let port else {
            self.port = Self.defaultPort
            return
        }
        guard (1...5).contains(port.utf8.count), port.utf8.allSatisfy({ (48...57).contains($0) }),
            let number = UInt16(port), number > 0
        else { throw ParseError("DNS upstream", text, "ports are 1 to 65535") }
        self.port = number
    }

    /// The form that `init(_:)` reads.
    public var description: String {
        guard port != Self.defaultPort else { return address.description }
        return address.family == .v6 ? "[\(address)]:\(port)" : "\(address):\(port)"
    }

    public init(from decoder: any Decoder) throws {
        try self.init(decoder.singleValueContainer().decode(String.self))
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

/// How a network's resolver, at its gateway addresses, answers.
public struct DNSSettings: Hashable, Sendable, Codable {
    public var refusal: DNSRefusal
    /// Who is asked for names outside the fabric; without any the host's own resolvers are.
    public var upstreams: [DNSUpstream]

    public init(refusal: DNSRefusal = .nxdomain, upstreams: [DNSUpstream] = []) {
        self.refusal = refusal
        self.upstreams = upstreams
    }

    /// The most upstreams that one network may have.
    public static let upstreamLimit = 8

    /// - Throws: `ModelError.invalid` naming the upstream that can be none.
    func validate() throws(ModelError) {
        guard upstreams.count <= Self.upstreamLimit else {
            throw .invalid("dns upstream", "\(upstreams.count)", "at most \(Self.upstreamLimit)")
        }
        for (index, upstream) in upstreams.enumerated() {
            func refuse(_ reason: String) -> ModelError {
                .invalid("dns upstream", upstream.description, reason)
            }
            guard upstream.port > 0 else { throw refuse("ports are 1 to 65535") }
            guard !upstreams[..<index].contains(upstream) else { throw refuse("is given twice") }
            // 224.0.0.0/3 is multicast and reserved (RFC 5771, RFC 1112 section 4). A link-local address says
            // nothing without its link.
            let isStation =
                switch upstream.address {
                case .v4(let address): address.bits != 0 && address.bits >> 29 != 7
                case .v6(let address): address.bits != 0 && !address.isMulticast && !address.isLinkLocal
                }
            guard isStation else { throw refuse("is nobody's address") }
        }
    }
}
