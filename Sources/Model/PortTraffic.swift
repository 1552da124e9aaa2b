/// What has come by a published port since it was published, or since whatever counts it was started.
///
/// With `--host` the kernel leads clients to the endpoint, and counts their connections alone.
public struct PortTraffic: Hashable, Sendable {
    /// What the forwarder knows of the connections that it carries.
    public struct Carried: Hashable, Sendable {
        /// Connections, or clients of UDP, that are there now.
        public var active: UInt64 = 0
        /// Those that the endpoint did not take, that policy kept from it, or that could not be led to it.
        public var failed: UInt64 = 0
        /// Clients of UDP that made room for others.
        public var evicted: UInt64 = 0
        /// Datagrams that were not passed on.
        public var dropped: UInt64 = 0
        /// To the endpoint.
        public var receivedBytes: UInt64 = 0
        /// From the endpoint.
        public var sentBytes: UInt64 = 0
        /// Those whose endpoint sees the gateway's address in place of the client's.
        public var seenAsGateway: UInt64 = 0
        /// Those whose endpoint sees another port in place of the client's.
        public var renumbered: UInt64 = 0

        public init() {}
    }

    /// Connections, or clients of UDP, that were let in.
    public var connections: UInt64
    /// nil with `--host`.
    public var carried: Carried?

    public init(connections: UInt64, carried: Carried? = nil) {
        self.connections = connections
        self.carried = carried
    }
}

/// A published port and what has come by it.
public struct PublishedTraffic: Hashable, Sendable {
    public let port: PublishedPort
    /// nil where nobody can tell now.
    public let traffic: PortTraffic?

    public init(_ port: PublishedPort, _ traffic: PortTraffic?) {
        self.port = port
        self.traffic = traffic
    }
}
