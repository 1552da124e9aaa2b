public import Wire

/// An endpoint that is cut off, whatever policy says, but for what is excepted.
///
/// It only takes away: what is excepted still needs policy to allow it.
public struct Quarantine: Hashable, Sendable, Codable {
    /// Of the endpoint: it holds again when the same container is attached again.
    public let endpointID: String
    /// Milliseconds since 1970 at which it ends by itself; nil waits for somebody to end it.
    public let until: Int64?
    /// Who may still be talked with, in either direction.
    public let exceptions: [QuarantineException]

    public init(endpointID: String, until: Int64?, exceptions: [QuarantineException] = []) {
        self.endpointID = endpointID
        self.until = until
        self.exceptions = exceptions
    }

    /// The most exceptions that one may have.
    public static let exceptionLimit = 64

    /// Whether the quarantine lets an endpoint talk with a peer.
    func excepts(_ peer: FlowSide, _ transport: FlowTransport) -> Bool {
        exceptions.contains { $0.covers(peer, transport) }
    }
}

/// A peer that a quarantined endpoint may still talk with, and on which port.
public struct QuarantineException: Hashable, Sendable, Codable, CustomStringConvertible {
    public enum Peer: Hashable, Sendable, Codable {
        case block(CIDR)
        /// An endpoint's name, or `network/name`.
        case endpoint(String)
    }

    public let peer: Peer
    /// nil is every port of every protocol.
    public let ports: PortRange?

    public init(_ peer: Peer, _ ports: PortRange? = nil) {
        self.peer = peer
        self.ports = ports
    }

    /// Reads `10.0.0.5`, `10.0.0.0/24`, `10.0.0.5:22/tcp`, `fd00::5`, `[fd00::5]:22/tcp`, `web`, `shop/web` or
    /// `web:8080/tcp`.
    public init(_ text: String) throws(ModelError) {
        func refuse(_ reason: String) -> ModelError { .invalid("allow", text, reason) }
        var peer = Substring(text)
        var ports: Substring?
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else { throw refuse("']' is missing") }
            peer = text[text.index(after: text.startIndex)..<end]
            let rest = text[text.index(after: end)...]
            guard rest.isEmpty || rest.hasPrefix(":") else { throw refuse("expected [address]:port") }
            if !rest.isEmpty { ports = rest.dropFirst() }
        } else if text.count(where: { $0 == ":" }) == 1, let colon = text.firstIndex(of: ":") {
            peer = text[..<colon]
            ports = text[text.index(after: colon)...]
        }
        if let ports {
            do throws(ParseError) { self.ports = try PortRange(ports) } catch { throw refuse(error.reason) }
        } else {
            self.ports = nil
        }
        if let block = try? CIDR(String(peer)) {
            self.peer = .block(block)
        } else if let address = try? IPAddress(String(peer)) {
            self.peer = .block(CIDR(address))
        } else {
            let parts = peer.split(separator: "/", omittingEmptySubsequences: false)
            guard (1...2).contains(parts.count),
                parts.allSatisfy({ (try? Name.check(String($0), field: "allow")) != nil })
            else {
                throw refuse("expected an address, a block or an endpoint, with :port/protocol if wanted")
            }
            self.peer = .endpoint(String(peer))
        }
    }

    /// The form that `init(_:)` reads.
    public var description: String {
        let name =
            switch peer {
            case .endpoint(let name): name
            case .block(let block):
                block.prefixLength == block.family.width ? block.first.description : block.description
            }
        guard let ports else { return name }
        return name.contains(":") ? "[\(name)]:\(ports)" : "\(name):\(ports)"
    }

    public init(from decoder: any Decoder) throws {
        try self.init(decoder.singleValueContainer().decode(String.self))
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }

    /// Whether it names an endpoint.
    public func names(_ member: NetworkMember) -> Bool {
        guard case .endpoint(let name) = peer else { return false }
        return name == member.endpoint.name || name == "\(member.network.name)/\(member.endpoint.name)"
    }

    fileprivate func covers(_ side: FlowSide, _ transport: FlowTransport) -> Bool {
        if let ports, !ports.contains(transport) { return false }
        switch peer {
        case .block(let block): return block.contains(side.address)
        case .endpoint: return side.member.map(names) ?? false
        }
    }
}

extension NetworkMember {
    /// Why the endpoint may not talk with a peer, if a quarantine forbids it.
    func quarantined(from peer: FlowSide, _ transport: FlowTransport) -> DenialReason? {
        guard let quarantine, !quarantine.excepts(peer, transport) else { return nil }
        return .quarantine(endpoint: endpoint.name)
    }
}
