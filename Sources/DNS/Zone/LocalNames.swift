internal import Wire

/// Which names an endpoint has.
enum LocalNames {
    /// All names of a fabric are below this one. ICANN has set `internal` aside for private use.
    static let zone = DomainName("forge.internal") ?? .root

    /// Whom the zone's SOA names as responsible (RFC 1035 section 3.3.13).
    static let contact = DomainName("nobody.forge.internal") ?? .root

    struct Entry: Hashable {
        let name: DomainName
        /// Whole, or known in its network only.
        let isBare: Bool
        let role: NameTable.Role
    }

    /// `<name>.<network>.forge.internal`
    static func canonical(_ name: String, network: String) -> DomainName? {
        zone.prefixed(by: name, network)
    }

    /// What is written into the table for an endpoint; a name that is none is left out.
    static func entries(_ endpoint: EndpointDescription, network: String) -> [Entry] {
        var entries: [Entry] = []
        func add(_ name: DomainName?, bare: Bool = false, _ role: NameTable.Role) {
            if let name, name != .root { entries.append(Entry(name: name, isBare: bare, role: role)) }
        }
        for name in [endpoint.name] + endpoint.aliases {
            add(DomainName(name), bare: true, .host)
            guard let whole = canonical(name, network: network) else { continue }
            add(whole, .host)
            for port in endpoint.ports {
                let transport = port.transport == .tcp ? "_tcp" : "_udp"
                // RFC 2782: _service._proto.name
                add(whole.prefixed(by: "_" + port.name, transport), .service(port: port.number))
                add(whole.prefixed(by: transport), .parent)
            }
        }
        return entries
    }
}

/// The names under which addresses are looked up (RFC 1035 section 3.5, RFC 3596 section 2.5).
enum ReverseName {
    static let v4 = DomainName("in-addr.arpa") ?? .root
    static let v6 = DomainName("ip6.arpa") ?? .root

    /// The address that a query's name stands for; nil if it is no whole address.
    static func address(_ name: QueryName) -> IPAddress? {
        if name.labels == 6, name.isWithin(v4) { return ipv4(name) }
        if name.labels == 34, name.isWithin(v6) { return ipv6(name) }
        return nil
    }

    private static func ipv4(_ name: QueryName) -> IPAddress? {
        var bits: UInt32 = 0
        var position = 0
        for shift: UInt32 in [0, 8, 16, 24] {
            let length = Int(name.bytes[position])
            guard (1...3).contains(length) else { return nil }
            var value: UInt32 = 0
            for index in position + 1...position + length {
                guard (48...57).contains(name.bytes[index]) else { return nil }
                value = value * 10 + UInt32(name.bytes[index] - 48)
            }
            // Another spelling of an address would be another name.
            guard value <= 255, length == 1 || name.bytes[position + 1] != 48 else { return nil }
            bits |= value << shift
            position += length + 1
        }
        return .v4(IPv4Address(bits: bits))
    }

    private static func ipv6(_ name: QueryName) -> IPAddress? {
        var bits: UInt128 = 0
        for index in 0..<32 {
            guard name.bytes[2 * index] == 1 else { return nil }
            let digit = name.bytes[2 * index + 1]
            let value: UInt8
            switch digit {
            case 48...57: value = digit - 48
            case 97...102: value = digit - 87
            default: return nil
            }
            bits |= UInt128(value) << UInt128(4 * index)
        }
        return .v6(IPv6Address(bits: bits))
    }
}
