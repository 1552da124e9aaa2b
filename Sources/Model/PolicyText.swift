public import Wire

/// Policy values are coded in the words of the policy file, so that stored and printed documents are
/// readable.

extension PortRange: CustomStringConvertible {
    /// Reads `80/tcp`, `8000-8100/udp`, `80` (TCP), or a protocol alone for all its ports: `tcp`, `udp`,
    /// `icmp`.
    public init(_ text: some StringProtocol) throws(ParseError) {
        func refuse(_ reason: String) -> ParseError { ParseError("port", text, reason) }
        if let transport = TransportProtocol(rawValue: String(text)) {
            self.init(transport)
            return
        }
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let transport = parts.count == 2 ? TransportProtocol(rawValue: String(parts[1])) : .tcp else {
            throw refuse("the protocol must be tcp, udp or icmp")
        }
        guard transport != .icmp else { throw refuse("icmp has no ports; write icmp") }
        let ends = parts[0].split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false).map {
            port($0)
        }
        guard let first = ends.first ?? nil, let last = ends.last ?? nil else {
            throw refuse("expected ports from 1 to 65535 such as 80/tcp or 8000-8100/udp")
        }
        guard first <= last else { throw refuse("the range ends before it begins") }
        self.init(transport, first...last)
    }

    /// The form that `init(_:)` reads.
    public var description: String {
        if ports == 0...UInt16.max { return transport.rawValue }
        let numbers = ports.count == 1 ? "\(ports.lowerBound)" : "\(ports.lowerBound)-\(ports.upperBound)"
        return "\(numbers)/\(transport.rawValue)"
    }
}

/// Decimal digits without sign or leading zeros.
private func port(_ text: some StringProtocol) -> UInt16? {
    guard text.utf8.allSatisfy({ (48...57).contains($0) }), text.utf8.first != 48 else { return nil }
    return UInt16(text)
}

extension PortRange {
    public init(from decoder: any Decoder) throws {
        try self.init(decoder.singleValueContainer().decode(String.self))
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

extension EndpointSelector {
    private enum CodingKeys: String, CodingKey {
        case labels, names, network
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            matchLabels: try container.decodeIfPresent(Labels.self, forKey: .labels) ?? [:],
            endpoints: try container.decodeIfPresent(Set<String>.self, forKey: .names),
            network: try container.decodeIfPresent(String.self, forKey: .network))
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        if !matchLabels.isEmpty { try container.encode(matchLabels, forKey: .labels) }
        try container.encodeIfPresent(endpoints?.sorted(), forKey: .names)
        try container.encodeIfPresent(network, forKey: .network)
    }
}

extension PolicyPeer {
    private enum CodingKeys: String, CodingKey {
        case cidr, except
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        guard let block = try container.decodeIfPresent(CIDR.self, forKey: .cidr) else {
            self = .endpoints(try EndpointSelector(from: decoder))
            return
        }
        self = .cidr(block, except: try container.decodeIfPresent([CIDR].self, forKey: .except) ?? [])
    }

    public func encode(to encoder: any Encoder) throws {
        switch self {
        case .endpoints(let selector): try selector.encode(to: encoder)
        case .cidr(let block, let except):
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(block, forKey: .cidr)
            if !except.isEmpty { try container.encode(except, forKey: .except) }
        }
    }
}
