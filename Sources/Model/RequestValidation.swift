public import Wire

extension ModelError {
    /// Text that could not be read as the value of a field.
    public init(_ field: String, _ error: ParseError) { self = .invalid(field, error.value, error.reason) }
}

/// What requests must fulfil by themselves, before anything else is looked at.

extension NetworkRequest {
    /// Bytes of an IP packet: RFC 791 section 3.2 asks every link for 68; the kernel takes no more than
    /// 65535.
    public static let mtuRange = 68...65_535
    /// RFC 8200 section 5; every network has IPv6.
    public static let smallestIPv6MTU = 1280
    public static let defaultMTU = 1500

    /// - Throws: `ModelError.invalid` naming the field and the value.
    public func validate() throws(ModelError) {
        try Name.check(name, field: "name")
        try LabelSyntax.check(labels, field: "labels")
        try dns?.validate()
        for (index, subnet) in subnets.enumerated() {
            try NetworkRequest.check(subnet)
            for other in subnets[..<index] where other.family == subnet.family {
                let reason =
                    other.overlaps(subnet) ? "overlaps" : "is one \(subnet.family) subnet too many beside"
                throw .invalid("subnet", subnet.description, "\(reason) \(other) of the same network")
            }
        }
        guard let mtu else { return }
        guard NetworkRequest.mtuRange.contains(mtu) else {
            throw .invalid("mtu", String(mtu), "must be 68 to 65535 bytes")
        }
        guard mtu >= NetworkRequest.smallestIPv6MTU else {
            throw .invalid("mtu", String(mtu), "IPv6 needs at least 1280 bytes")
        }
    }

    /// Blocks that no network can have, whatever their size.
    private static let reserved: [(block: String, reason: String)] = [
        ("0.0.0.0/8", "\"this host\" addresses"), ("127.0.0.0/8", "loopback addresses"),
        ("169.254.0.0/16", "link-local addresses"), ("224.0.0.0/3", "multicast and reserved addresses"),
        ("::/8", "reserved addresses"), ("fe80::/10", "link-local addresses"),
        ("ff00::/8", "multicast addresses"),
    ]

    private static func check(_ subnet: CIDR) throws(ModelError) {
        let sizes = subnet.family == .v4 ? 8...30 : 48...126
        guard sizes.contains(subnet.prefixLength) else {
            let (least, most) = (sizes.lowerBound, sizes.upperBound)
            throw .invalid(
                "subnet", subnet.description,
                "the prefix of an \(subnet.family) subnet must be \(least) to \(most) bits"
            )
        }
        for (text, reason) in reserved {
            if let block = try? CIDR(text), block.overlaps(subnet) {
                throw .invalid("subnet", subnet.description, "contains \(reason) (\(block))")
            }
        }
    }
}

extension EndpointRequest {
    public static let defaultInterfaceName = "eth0"

    /// - Throws: `ModelError.invalid` naming the field and the value.
    public func validate() throws(ModelError) {
        try ContainerID.check(containerID, field: "container")
        if let name { try Name.check(name, field: "name") }
        try LabelSyntax.check(labels, field: "labels")
        for (index, address) in addresses.enumerated() {
            for other in addresses[..<index] where other.family == address.family {
                throw .invalid(
                    "ip", address.description, "a second \(address.family) address beside \(other)")
            }
        }
        if let mac {
            // IEEE 802: a station's own address is never a group's, nor all zeros.
            guard !mac.isMulticast else { throw .invalid("mac", mac.description, "is a multicast address") }
            guard mac.bits != 0 else { throw .invalid("mac", mac.description, "is no address") }
        }
        if let interfaceName { try EndpointRequest.checkInterfaceName(interfaceName) }
        try EndpointRequest.check(ports)
        try EndpointRequest.check(aliases: aliases)
    }

    /// Aliases of one endpoint.
    public static let aliasLimit = 32

    private static func check(aliases: [String]) throws(ModelError) {
        guard aliases.count <= aliasLimit else {
            throw .invalid("alias", "\(aliases.count)", "at most \(aliasLimit) aliases")
        }
        var seen: Set<String> = []
        for alias in aliases {
            try Name.check(alias, field: "alias")
            guard seen.insert(alias).inserted else { throw .invalid("alias", alias, "is given twice") }
        }
    }

    /// Named ports of one endpoint.
    public static let portLimit = 64

    private static func check(_ ports: [NamedPort]) throws(ModelError) {
        guard ports.count <= portLimit else {
            throw .invalid("port", "\(ports.count)", "at most \(portLimit) named ports")
        }
        var seen: Set<String> = []
        for port in ports {
            try Name.checkPort(port.name, field: "port")
            guard port.transport != .icmp else {
                throw .invalid("port", port.description, "icmp has no ports")
            }
            guard port.number > 0 else {
                throw .invalid("port", port.description, "ports are 1 to 65535")
            }
            guard seen.insert("\(port.name)/\(port.transport)").inserted else {
                throw .invalid("port", port.description, "the name is given twice for \(port.transport)")
            }
        }
    }

    /// The rules of `dev_valid_name` in the kernel's net/core/dev.c, and printable ASCII only.
    static func checkInterfaceName(_ name: String) throws(ModelError) {
        func refuse(_ reason: String) -> ModelError { .invalid("ifname", name, reason) }
        guard (1...15).contains(name.utf8.count) else { throw refuse("must be 1 to 15 bytes") }
        // '%' would make the kernel take it for a pattern such as eth%d.
        let forbidden = Set("/:%".utf8)
        guard name != ".", name != "..",
            name.utf8.allSatisfy({ (0x21...0x7e).contains($0) && !forbidden.contains($0) })
        else { throw refuse("must be printable ASCII without spaces, '/', ':' and '%'") }
        guard name != "lo" else { throw refuse("is the loopback interface") }
    }

    /// The endpoint's name where none was asked for: the container id as a DNS label, long hexadecimal ids
    /// cut to 12 digits.
    public var derivedName: String {
        let dash = UInt8(ascii: "-")
        let bytes = Array(containerID.utf8)
        let isHash =
            bytes.count >= 32 && bytes.allSatisfy { (48...57).contains($0) || (97...102).contains($0 | 0x20) }
        let letters = bytes.map { byte -> UInt8 in
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): byte | 0x20
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): byte
            default: dash
            }
        }
        var label = letters.prefix(isHash ? 12 : 63).drop { $0 == dash }
        while label.last == dash { label.removeLast() }
        return label.isEmpty ? "endpoint" : String(decoding: label, as: UTF8.self)
    }

    /// - Throws: `ModelError.exists` if an endpoint of the same container in the same network is not what is
    ///   asked for; what the request leaves open is accepted as it is.
    public func check(matches existing: Endpoint) throws(ModelError) {
        func differ(
            _ field: String, _ has: some CustomStringConvertible, _ asked: some CustomStringConvertible
        )
            -> ModelError
        {
            .exists("container", containerID, "is attached with \(field) \(has), not \(asked)")
        }
        if let name, name != existing.name { throw differ("name", existing.name, name) }
        if labels != existing.labels { throw differ("labels", text(existing.labels), text(labels)) }
        for address in addresses where !existing.addresses.contains(address) {
            throw differ("ip", existing.address(address.family)?.description ?? "none", address)
        }
        if let mac, mac != existing.mac { throw differ("mac", existing.mac, mac) }
        if let interfaceName, interfaceName != existing.interfaceName {
            throw differ("ifname", existing.interfaceName, interfaceName)
        }
        if ports != existing.ports {
            func text(_ ports: [NamedPort]) -> String {
                ports.isEmpty ? "none" : ports.map(\.description).joined(separator: ", ")
            }
            throw differ("ports", text(existing.ports), text(ports))
        }
        if aliases != existing.aliases {
            func text(_ aliases: [String]) -> String {
                aliases.isEmpty ? "none" : aliases.joined(separator: ", ")
            }
            throw differ("aliases", text(existing.aliases), text(aliases))
        }
        let others = existing.published.map(\.port)
        if !published.isEmpty, Set(published) != Set(others) {
            func text(_ ports: [PublishedPort]) -> String {
                ports.isEmpty ? "none" : ports.map(\.description).joined(separator: ", ")
            }
            throw differ("published ports", text(others), text(published))
        }
    }

    private func text(_ labels: Labels) -> String {
        "{" + labels.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ", ") + "}"
    }
}
