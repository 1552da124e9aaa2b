public import Wire

/// How far endpoints of a network may reach, before policy is asked.
public enum IsolationLevel: String, Hashable, Sendable, CaseIterable, Codable {
    /// Only the gateway's own services.
    case full
    /// Other endpoints of the same network, where policy allows.
    case peerOnly = "peer-only"
    /// Only mesh links.
    case meshOnly = "mesh-only"
    /// Networks route to one another; policy alone decides.
    case none
}

/// What happens to traffic of an endpoint that no policy selects in that direction.
public enum DefaultVerdict: String, Hashable, Sendable, CaseIterable, Codable {
    case deny
    case allow
}

/// Key and value pairs that policies select by.
public typealias Labels = [String: String]

/// The name of a network, endpoint or policy: a DNS label (RFC 1123: 1 to 63 of `a-z`, `0-9` and `-`, neither
/// end a dash).
public enum Name {
    /// - Throws: `ModelError.invalid` naming `field` and the value.
    public static func check(_ name: String, field: @autoclosure () -> String) throws(ModelError) {
        let bytes = name.utf8
        func isLetterOrDigit(_ byte: UInt8) -> Bool { (97...122).contains(byte) || (48...57).contains(byte) }
        guard (1...63).contains(bytes.count), bytes.allSatisfy({ isLetterOrDigit($0) || $0 == 45 }),
            bytes.first.map(isLetterOrDigit) ?? false, bytes.last.map(isLetterOrDigit) ?? false
        else {
            throw .invalid(
                field(), name, "must be a DNS label: 1 to 63 of a-z, 0-9 and '-', not '-' at either end")
        }
    }

    /// The name of a port (IANA service names, RFC 6335 section 5.1, in lower case as in Kubernetes).
    static func checkPort(_ name: String, field: @autoclosure () -> String) throws(ModelError) {
        guard (try? check(name, field: field())) != nil, name.utf8.count <= 15, !name.contains("--"),
            name.utf8.contains(where: { (97...122).contains($0) })
        else {
            throw .invalid(
                field(), name,
                "must be 1 to 15 of a-z, 0-9 and single '-', with a letter, not '-' at either end")
        }
    }

    /// The name of a Kubernetes object: DNS labels separated by dots (RFC 1123), 253 characters at most.
    static func checkSubdomain(_ name: String, field: String) throws(ModelError) {
        let labels = name.split(separator: ".", omittingEmptySubsequences: false)
        guard name.utf8.count <= 253, labels.allSatisfy({ (try? check(String($0), field: field)) != nil })
        else {
            throw .invalid(
                field, name, "must be a DNS name: labels of a-z, 0-9 and '-', separated by dots, 253 in all")
        }
    }
}

/// A virtual network: one or more subnets of each family, and as many bridges as its endpoints need.
///
/// The kernel's work for a new port grows with the bridge's ports, and ends at 1,023. So a network is made of
/// segments, each a bridge of a fixed size with the same gateway addresses, and routes between them.
public struct Network: Hashable, Sendable, Codable {
    /// 64 hexadecimal digits, a function of the name alone, so that every host agrees on it.
    public let id: String
    public let name: String
    /// At least one; the first of each family gives endpoints their addresses. The first address of each is
    /// the gateway's.
    public let subnets: [CIDR]
    public let isolation: IsolationLevel
    public let defaultVerdict: DefaultVerdict
    /// Bytes of an IP packet; at least 1280 where the network has IPv6 (RFC 8200 section 5).
    public let mtu: Int
    public var labels: Labels
    /// Whether its endpoints may leave the fabric, as far as policy allows: what they send to the outside
    /// goes out under the host's address, and isolation does not come between.
    public let nat: Bool
    /// How its resolver answers; nil where it has none.
    public let dns: DNSSettings?

    public init(
        id: String, name: String, subnets: [CIDR], isolation: IsolationLevel, defaultVerdict: DefaultVerdict,
        mtu: Int,
        labels: Labels, nat: Bool = false, dns: DNSSettings? = nil
    ) {
        self.id = id
        self.name = name
        self.subnets = subnets
        self.isolation = isolation
        self.defaultVerdict = defaultVerdict
        self.mtu = mtu
        self.labels = labels
        self.nat = nat
        self.dns = dns
    }

    /// Networks that were stored before these could be asked for have neither NAT nor a resolver.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        id = try values.decode(String.self, forKey: .id)
        name = try values.decode(String.self, forKey: .name)
        subnets = try values.decode([CIDR].self, forKey: .subnets)
        isolation = try values.decode(IsolationLevel.self, forKey: .isolation)
        defaultVerdict = try values.decode(DefaultVerdict.self, forKey: .defaultVerdict)
        mtu = try values.decode(Int.self, forKey: .mtu)
        labels = try values.decode(Labels.self, forKey: .labels)
        nat = try values.decodeIfPresent(Bool.self, forKey: .nat) ?? false
        dns = try values.decodeIfPresent(DNSSettings.self, forKey: .dns)
    }

    /// The subnet that endpoints get their address of this family from.
    public func subnet(_ family: IPFamily) -> CIDR? { subnets.first { $0.family == family } }

    /// The bridge's own address in a subnet: its first usable one.
    public func gateway(_ family: IPFamily) -> IPAddress? { subnet(family)?.address(at: 1) }

    /// Whether an address is one of the network's gateways.
    public func isGateway(_ address: IPAddress) -> Bool { gateway(address.family) == address }

    /// The interface name of the first segment's bridge.
    public var bridgeName: String { bridgeName(segment: 0) }

    /// The interface name of a segment's bridge, at most 15 bytes.
    public func bridgeName(segment: Int) -> String {
        guard segment > 0 else { return "fb" + id.prefix(12) }
        let digits = String(segment, radix: 16)
        return "fb" + id.prefix(9) + String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    }
}
