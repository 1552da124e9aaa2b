package import Wire

/// What is forwarded.
package enum ForwardTransport: UInt8, Hashable, Sendable, CaseIterable {
    // Numbers of the protocols.
    case tcp = 6
    case udp = 17
}

/// A published port: where what comes to one socket of the host goes.
package struct ForwardedPort: Hashable, Sendable {
    /// Chosen by the manager, and the same for the managers that follow it.
    package var id: UInt32
    package var transport: ForwardTransport
    /// The endpoint's addresses, at most one of each family. Clients of the other family reach what there is.
    package var targets: [IPAddress]
    /// The endpoint's port.
    package var port: UInt16
    /// The addresses, at most one of each family, that the endpoint sees where it cannot see the client's own:
    /// its network's gateway.
    package var standIns: [IPAddress]
    /// Connections, or clients of UDP, at a time; 0 is the forwarder's own bound.
    package var limit: UInt32

    package init(
        id: UInt32, transport: ForwardTransport, targets: [IPAddress], port: UInt16,
        standIns: [IPAddress] = [], limit: UInt32 = 0
    ) {
        self.id = id
        self.transport = transport
        self.targets = targets
        self.port = port
        self.standIns = standIns
        self.limit = limit
    }

    /// A gate: endpoints' connections come here that the kernel leads away, and each goes on to where it was begun
    /// to, once the manager allows the host that it asks for.
    package static func gate(id: UInt32) -> ForwardedPort {
        ForwardedPort(id: id, transport: .tcp, targets: [], port: 0)
    }

    package var isGate: Bool { targets.isEmpty }
}

/// What has passed through a published port since it was published.
package struct ForwardCounters: Hashable, Sendable {
    /// Connections, or clients of UDP, that were let in.
    package var opened: UInt64 = 0
    /// Those that are open now.
    package var active: UInt64 = 0
    /// Those that the endpoint did not take, that policy kept from it, or that could not be led to it.
    package var failed: UInt64 = 0
    /// Those whose endpoint sees the gateway's address in place of the client's.
    package var standIns: UInt64 = 0
    /// Those whose endpoint sees another port in place of the client's.
    package var renumbered: UInt64 = 0
    /// Clients of UDP that made room for others.
    package var evicted: UInt64 = 0
    /// Datagrams that were not passed on.
    package var dropped: UInt64 = 0
    /// Bytes to the endpoint.
    package var bytesIn: UInt64 = 0
    /// Bytes from the endpoint.
    package var bytesOut: UInt64 = 0

    package init() {}

    var fields: [UInt64] {
        get { [opened, active, failed, standIns, renumbered, evicted, dropped, bytesIn, bytesOut] }
        set {
            guard newValue.count == Self.fieldCount else { return }
            (opened, active, failed) = (newValue[0], newValue[1], newValue[2])
            (standIns, renumbered, evicted) = (newValue[3], newValue[4], newValue[5])
            (dropped, bytesIn, bytesOut) = (newValue[6], newValue[7], newValue[8])
        }
    }
    static let fieldCount = 9
}
