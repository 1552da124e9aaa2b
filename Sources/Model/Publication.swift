/// A published port of an endpoint, with the number that whoever forwards it knows it by.
///
/// Its text is `NUMBER=PORT`, the port as ``PublishedPort`` has it.
public struct Publication: Hashable, Sendable, Codable, CustomStringConvertible {
    /// The same for as long as the port is published, whichever manager runs.
    public let id: UInt32
    public let port: PublishedPort

    /// Ports that are published in one fabric at a time.
    public static let limit = 4_096

    public init(id: UInt32, port: PublishedPort) {
        self.id = id
        self.port = port
    }

    /// Reads its text.
    public init(_ text: some StringProtocol) throws(ModelError) {
        let parts = text.split(separator: "=", maxSplits: 1)
        let ports = parts.count == 2 ? try PublishedPort.parse(String(parts[1])) : []
        guard ports.count == 1, let id = UInt32(parts[0]) else {
            throw .invalid("publication", String(text), "is not a number and a port")
        }
        self.init(id: id, port: ports[0])
    }

    public var description: String { "\(id)=\(port)" }
}

extension Endpoint {
    /// Whether a port of this protocol and number is published: then isolation lets what is outside the fabric
    /// in to it, and policy alone decides.
    public func publishes(_ transport: FlowTransport) -> Bool {
        guard !published.isEmpty, let port = transport.port else { return false }
        return published.contains {
            $0.port.transport == port.transport && $0.port.endpointPort == port.number
        }
    }
}
