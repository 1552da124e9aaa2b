public import Wire

/// A port of the host that leads to a port of an endpoint.
///
/// Its text is `[ADDRESS:]HOST:PORT/PROTOCOL`, an IPv6 address in brackets; it is coded as that text.
public struct PublishedPort: Hashable, Sendable, CustomStringConvertible {
    /// The host's address that it is published on; nil for all of both families.
    public let address: IPAddress?
    /// 1 to 65535.
    public let hostPort: UInt16
    /// 1 to 65535.
    public let endpointPort: UInt16
    /// TCP or UDP.
    public let transport: TransportProtocol

    /// Ports that one request may publish.
    public static let limit = 1_024

    /// - Throws: `ModelError.invalid` for port 0 and for protocols without ports.
    public init(
        address: IPAddress? = nil, hostPort: UInt16, endpointPort: UInt16, transport: TransportProtocol = .tcp
    ) throws(ModelError) {
        self.address = address
        self.hostPort = hostPort
        self.endpointPort = endpointPort
        self.transport = transport
        guard hostPort != 0, endpointPort != 0 else {
            throw .invalid(Self.field, description, "port 0 cannot be published")
        }
        guard transport == .tcp || transport == .udp else {
            throw .invalid(Self.field, description, "only TCP and UDP ports can be published")
        }
    }

    /// Whether both cannot be published at once, since the host has one socket for what they share.
    public func collides(with other: PublishedPort) -> Bool {
        guard hostPort == other.hostPort, transport == other.transport else { return false }
        guard let address, let theirs = other.address else { return true }
        guard address.family == theirs.family else { return false }
        return address == theirs || address.bits == 0 || theirs.bits == 0
    }

    public var description: String {
        let place =
            switch address {
            case .v4(let address)?: "\(address):"
            case .v6(let address)?: "[\(address)]:"
            case nil: ""
            }
        return "\(place)\(hostPort):\(endpointPort)/\(transport.rawValue)"
    }

    static let field = "published port"
}

extension PublishedPort: Codable {
    public init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        let ports = try PublishedPort.parse(text)
        guard ports.count == 1 else {
            throw ModelError.invalid(Self.field, text, "expected one port, not a range")
        }
        self = ports[0]
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

extension PublishedPort {
    /// Reads what a request asks for: each `[ADDRESS:][HOST:]PORT[/tcp|/udp]`, where a port may be a range such
    /// as `8000-8010`, and HOST left out is the same as PORT.
    ///
    /// - Returns: every port by itself, in order.
    /// - Throws: `ModelError` that names the text which is wrong, is in conflict with an earlier one, or asks
    ///   for more than `limit` ports.
    public static func parse(_ texts: [String]) throws(ModelError) -> [PublishedPort] {
        var ports: [PublishedPort] = []
        var byNumber: [UInt16: [PublishedPort]] = [:]
        for text in texts {
            for port in try parse(text) {
                if let other = byNumber[port.hostPort]?.first(where: port.collides) {
                    throw .invalid(
                        field, text,
                        port == other ? "\(port) is published twice" : "is in conflict with \(other)")
                }
                byNumber[port.hostPort, default: []].append(port)
                ports.append(port)
            }
            guard ports.count <= limit else {
                throw .invalid(field, text, "at most \(limit) ports can be published at once")
            }
        }
        return ports
    }

    /// Reads one of them.
    public static func parse(_ text: String) throws(ModelError) -> [PublishedPort] {
        func refuse(_ reason: String) -> ModelError { .invalid(field, text, reason) }
        var rest = text[...]
        var transport = TransportProtocol.tcp
        if let slash = rest.firstIndex(of: "/") {
            switch rest[rest.index(after: slash)...] {
            case "tcp": break
            case "udp": transport = .udp
            default: throw refuse("the protocol must be tcp or udp")
            }
            rest = rest[..<slash]
        }
        let address = try takeAddress(&rest, text)
        let parts = rest.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count <= 2 else {
            throw refuse("expected [ADDRESS:]HOST:PORT, with an IPv6 address in brackets")
        }
        let ranges = try parts.map { part throws(ModelError) in try range(part, text) }
        guard let host = ranges.first, let endpoint = ranges.last else { throw refuse("the port is missing") }
        guard host.count == endpoint.count else {
            throw refuse("\(host.count) ports of the host cannot lead to \(endpoint.count) of the endpoint")
        }
        guard host.count <= limit else { throw refuse("at most \(limit) ports can be published at once") }
        var ports: [PublishedPort] = []
        for (host, endpoint) in zip(host, endpoint) {
            ports.append(
                try PublishedPort(
                    address: address, hostPort: host, endpointPort: endpoint, transport: transport))
        }
        return ports
    }

    /// Takes the address and the colon behind it off the front; nil if there is none.
    private static func takeAddress(_ rest: inout Substring, _ text: String) throws(ModelError) -> IPAddress?
    {
        let word: Substring
        if rest.first == "[" {
            guard let end = rest.firstIndex(of: "]") else {
                throw .invalid(field, text, "\"[\" has no \"]\"")
            }
            word = rest[rest.index(after: rest.startIndex)..<end]
            rest = rest[rest.index(after: end)...]
            guard word.contains(":") else {
                throw .invalid(field, text, "only an IPv6 address stands in brackets")
            }
        } else {
            guard let colon = rest.firstIndex(of: ":"), rest[..<colon].contains(".") else { return nil }
            word = rest[..<colon]
            rest = rest[colon...]
        }
        guard rest.first == ":" else { throw .invalid(field, text, "a port must follow the address") }
        rest = rest.dropFirst()
        do throws(ParseError) { return try IPAddress(word) } catch {
            throw .invalid(field, text, error.reason)
        }
    }

    private static func range(_ word: Substring, _ text: String) throws(ModelError) -> ClosedRange<UInt16> {
        let ends = word.split(separator: "-", omittingEmptySubsequences: false)
        var numbers: [UInt16] = []
        for end in ends {
            guard end.utf8.count <= 5, end.utf8.allSatisfy({ (48...57).contains($0) }),
                let number = UInt16(end)
            else { throw .invalid(field, text, "\"\(end.prefix(20))\" is not a port from 1 to 65535") }
            guard number != 0 else { throw .invalid(field, text, "port 0 cannot be published") }
            numbers.append(number)
        }
        guard let first = numbers.first, let last = numbers.last, numbers.count <= 2 else {
            throw .invalid(field, text, "\"\(word.prefix(20))\" is not a range such as 8000-8010")
        }
        guard first <= last else { throw .invalid(field, text, "the range \(word) ends before it begins") }
        return first...last
    }
}
