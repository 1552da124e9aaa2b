internal import DNS
internal import Model
internal import Sys
internal import Wire

/// What the manager keeps to serve names: the line to the resolver, and sockets that it has not been given
/// yet.
struct NameDesk {
    /// nil while there is no proxy.
    var line: ProxyLine? {
        // Of a proxy that ended before its last part.
        didSet { held = [] }
    }
    /// The proxy, as its host counts, and how many there were before it.
    var proxy: (pid: Int32, restarts: Int)?
    var told = ToldNames()
    /// The sockets of networks that the resolver does not have. Queries wait in them.
    private(set) var waiting: [ListenerDescription: Int32] = [:]
    /// What the resolver has said so far that it has.
    private var held: Set<ListenerDescription> = []
    /// Sockets that the resolver does not have and that could not be opened.
    private var lacking: Set<ListenerDescription> = []
    /// As above, the one that the host asks over.
    var lacksHost = false
    /// Who waits for the resolver's counters, and what has come of them.
    var counting: [UInt32: CountersRequest] = [:]
    var lastRequest: UInt32 = 0
    /// Waits for the next name that ends: until when, in milliseconds since 1970.
    var expiry: (due: Int64, task: Task<Void, Never>)?

    func send(_ order: ResolverOrder) { line?.send(order.encoded) }

    /// Opens sockets for a network's resolver, in the calling thread's namespace, which is the fabric's.
    mutating func listen(for network: Network) throws {
        for listener in Self.listeners(of: network) where waiting[listener] == nil {
            waiting[listener] = try Self.open(listener).release()
        }
        handOver()
    }

    /// What the resolver said that it has, in parts.
    /// - Returns: why some of the rest, which is known with the last part, cannot be opened.
    mutating func resolverHas(
        _ listeners: [ListenerDescription], isLast: Bool, _ networks: some Sequence<Network>
    ) -> [any Error] {
        let wanted = Set(networks.flatMap(Self.listeners))
        // Whatever it says, no more is kept of it than there are.
        held.formUnion(listeners.filter { wanted.contains($0) || $0 == Self.host })
        guard isLast else { return [] }
        lacksHost = !held.contains(Self.host)
        lacking = wanted.subtracting(held).subtracting(waiting.keys)
        held = []
        return openLacking()
    }

    /// Where the host asks: a Unix socket.
    static let host = ListenerDescription(network: 0, transport: .tcp, trusted: true)

    /// Opens what the resolver lacks, and hands over what could be opened.
    /// - Returns: why the rest cannot be.
    mutating func openLacking() -> [any Error] {
        var failures: [any Error] = []
        for listener in lacking {
            do {
                waiting[listener] = try Self.open(listener).release()
                lacking.remove(listener)
            } catch { failures.append(error) }
        }
        handOver()
        return failures
    }

    mutating func close(_ network: Network) {
        for listener in Self.listeners(of: network) {
            lacking.remove(listener)
            if let socket = waiting.removeValue(forKey: listener) { _ = Descriptor(owning: socket) }
        }
    }

    private mutating func handOver() {
        guard let line else { return }
        for (listener, socket) in waiting {
            line.send(ResolverOrder.listener(listener).encoded, with: Descriptor(owning: socket))
        }
        waiting = [:]
    }

    private static func listeners(of network: Network) -> [ListenerDescription] {
        IPFamily.allCases.compactMap(network.gateway).flatMap { address in
            [DNSTransport.udp, .tcp].map {
                ListenerDescription(network: network.number, transport: $0, address: address)
            }
        }
    }

    private static func open(_ listener: ListenerDescription) throws -> Descriptor {
        let address = listener.address ?? IPAddress(.v4, bits: 0)
        return try Descriptor.bound(
            to: SocketAddress(address, port: NameService.port), stream: listener.transport == .tcp)
    }
}

/// Counters that come in parts.
struct CountersRequest {
    let continuation: CheckedContinuation<[EndpointCounters]?, Never>
    var parts: [EndpointCounters] = []
}

extension Network {
    /// What the resolver knows it by, the same for every manager.
    var number: UInt64 { UInt64(id.prefix(16), radix: 16) ?? 0 }
}

extension Endpoint {
    /// What the resolver knows it by, the same for every manager.
    var number: UInt64 { UInt64(id.prefix(16), radix: 16) ?? 0 }
}

extension NetworkDescription {
    init(_ network: Network, _ settings: DNSSettings) {
        self.init(
            id: network.number, name: network.name, subnets: network.subnets,
            refusal: settings.refusal == .nxdomain ? .nameError : .refused,
            upstreams: settings.upstreams.isEmpty
                ? nil : settings.upstreams.map { UpstreamAddress($0.address, port: $0.port) })
    }
}

extension EndpointDescription {
    init(_ endpoint: Endpoint, in network: Network) {
        self.init(
            id: endpoint.number, network: network.number, name: endpoint.name, aliases: endpoint.aliases,
            addresses: endpoint.addresses,
            ports: endpoint.ports.compactMap { port in
                let transport: DNSTransport? =
                    switch port.transport {
                    case .tcp: .tcp
                    case .udp: .udp
                    case .sctp, .icmp: nil
                    }
                return transport.map { Port(name: port.name, transport: $0, number: port.number) }
            })
    }
}
