public import Wire

/// Bits a second, in whole kilobits of 1000, written as tc writes it: `500kbit`, `20mbit`, `1gbit`.
public struct Bandwidth: Hashable, Sendable, Comparable, CustomStringConvertible {
    public let kilobits: Int

    public init(kilobits: Int) { self.kilobits = kilobits }

    private static let units = [("gbit", 1_000_000), ("mbit", 1_000), ("kbit", 1)]

    public init(_ text: some StringProtocol) throws(ParseError) {
        for (unit, factor) in Bandwidth.units where text.hasSuffix(unit) {
            let digits = text.dropLast(unit.count)
            guard digits.utf8.allSatisfy({ (48...57).contains($0) }), digits.utf8.first != 48,
                let number = Int(digits), number <= Int.max / factor
            else { break }
            self.init(kilobits: number * factor)
            return
        }
        throw ParseError(
            "bandwidth", text, "expected bits a second, a whole number such as 500kbit, 20mbit or 1gbit")
    }

    /// The form that `init(_:)` reads, in the largest unit of which it is a whole number.
    public var description: String {
        let fitting = Bandwidth.units.first { kilobits >= $1 && kilobits % $1 == 0 } ?? ("kbit", 1)
        return "\(kilobits / fitting.1)\(fitting.0)"
    }

    public var bytesPerSecond: UInt64 { UInt64(clamping: kilobits) &* 125 }

    public static func < (a: Bandwidth, b: Bandwidth) -> Bool { a.kilobits < b.kilobits }
}

extension Bandwidth: Codable {
    public init(from decoder: any Decoder) throws {
        try self.init(decoder.singleValueContainer().decode(String.self))
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

/// What a limit counts.
public enum LimitKind: String, Hashable, Sendable, CaseIterable, Codable {
    /// New ones a second.
    case connections
    case packets
    /// Bits a second.
    case bandwidth
}

/// Bounds on traffic a second; nil is none.
public struct TrafficLimit: Hashable, Sendable, Codable {
    /// New connections.
    public var connections: Int?
    public var packets: Int?
    public var bandwidth: Bandwidth?

    public init(connections: Int? = nil, packets: Int? = nil, bandwidth: Bandwidth? = nil) {
        self.connections = connections
        self.packets = packets
        self.bandwidth = bandwidth
    }

    public var isEmpty: Bool { self == TrafficLimit() }

    /// What holds where both hold: of each kind the smaller bound.
    public func and(_ other: TrafficLimit) -> TrafficLimit {
        func least<T: Comparable>(_ a: T?, _ b: T?) -> T? { [a, b].compactMap(\.self).min() }
        return TrafficLimit(
            connections: least(connections, other.connections), packets: least(packets, other.packets),
            bandwidth: least(bandwidth, other.bandwidth))
    }
}

/// Bounds on what comes in to an endpoint and on what goes out of it.
public struct EndpointLimits: Hashable, Sendable, Codable {
    public var ingress: TrafficLimit
    public var egress: TrafficLimit

    public init(ingress: TrafficLimit = TrafficLimit(), egress: TrafficLimit = TrafficLimit()) {
        self.ingress = ingress
        self.egress = egress
    }

    public subscript(direction: Direction) -> TrafficLimit {
        get { direction == .ingress ? ingress : egress }
        set { if direction == .ingress { ingress = newValue } else { egress = newValue } }
    }

    public var isEmpty: Bool { ingress.isEmpty && egress.isEmpty }

    /// What holds where both hold.
    public func and(_ other: EndpointLimits) -> EndpointLimits {
        EndpointLimits(ingress: ingress.and(other.ingress), egress: egress.and(other.egress))
    }
}

/// Everything that limits one endpoint.
public struct EffectiveLimits: Hashable, Sendable {
    /// Of each kind the strictest of all policies.
    public var endpoint: EndpointLimits
    /// Limits of rules, which hold for the endpoint by itself.
    public var rules: [Rule]

    public struct Rule: Hashable, Sendable {
        public var reference: RuleReference
        public var limit: TrafficLimit

        public init(reference: RuleReference, limit: TrafficLimit) {
            self.reference = reference
            self.limit = limit
        }
    }

    public init(endpoint: EndpointLimits = EndpointLimits(), rules: [Rule] = []) {
        self.endpoint = endpoint
        self.rules = rules
    }
}

/// Names a limit that stopped a packet: `packets (egress of web)`.
public struct ExceededLimit: Hashable, Sendable, Codable, CustomStringConvertible {
    public enum Holder: Hashable, Sendable, Codable {
        /// The endpoint itself, by name.
        case endpoint(Direction, String)
        case rule(RuleReference)
    }

    public let kind: LimitKind
    public let holder: Holder

    public init(_ kind: LimitKind, _ holder: Holder) {
        self.kind = kind
        self.holder = holder
    }

    public var description: String {
        switch holder {
        case .endpoint(let direction, let name):
            "\(kind.rawValue) (\(direction.rawValue) of \(name))"
        case .rule(let rule): "\(kind.rawValue) (\(rule))"
        }
    }
}
