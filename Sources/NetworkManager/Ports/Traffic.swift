internal import Forwarding
internal import Model
internal import NAT

/// The forwarder's counters on their way.
struct PortCount {
    let request: UInt32
    var parts: [UInt32: ForwardCounters] = [:]
    var waiters: [CheckedContinuation<[UInt32: ForwardCounters]?, Never>] = []
}

extension NetworkManager {
    /// Adds what has come by the ports that endpoints have published.
    func addTraffic(to all: inout [EndpointStatistics]) async throws {
        guard all.contains(where: { !$0.member.endpoint.published.isEmpty }) else { return }
        let carried = await forwarderCounters()
        let translated = try configuration.ownsNamespace ? [:] : nat.connections()
        for index in all.indices {
            let endpoint = all[index].member.endpoint
            all[index].published = endpoint.published.map { publication in
                // One that it has not taken yet nobody has come by.
                let counters = carried.map { $0[publication.id] ?? ForwardCounters() }
                guard configuration.ownsNamespace else {
                    let led = NATPublication.all(publication.port, to: endpoint.addresses)
                        .reduce(0) { $0 + (translated[$1] ?? 0) }
                    // The host's own come by the forwarder.
                    let (sum, overflows) = led.addingReportingOverflow(counters?.opened ?? 0)
                    return PublishedTraffic(
                        publication.port, PortTraffic(connections: overflows ? .max : sum))
                }
                return PublishedTraffic(publication.port, counters.map { PortTraffic($0) })
            }
        }
    }

    /// By the ports' numbers; nil if the forwarder does not answer at once. One that is being started is waited for.
    private func forwarderCounters() async -> [UInt32: ForwardCounters]? {
        await withCheckedContinuation { continuation in
            // Who asks while an answer is on its way has that one.
            guard ports.count == nil else {
                ports.count?.waiters.append(continuation)
                return
            }
            ports.lastCount &+= 1
            let request = ports.lastCount
            ports.count = PortCount(request: request, waiters: [continuation])
            ports.askCounters()
            Task { [weak self] in
                try? await Task.sleep(for: .milliseconds(500))
                await self?.giveUpCounting(request)
            }
        }
    }

    private func giveUpCounting(_ request: UInt32) {
        if ports.count?.request == request { ports.endCount(nil) }
    }
}

extension PortDesk {
    /// Asks the forwarder that is there for what somebody waits for.
    mutating func askCounters() {
        guard let request = count?.request else { return }
        count?.parts = [:]
        line?.send(ForwardOrder.count(request: request).encoded)
    }

    mutating func counted(_ request: UInt32, _ counters: [UInt32: ForwardCounters], isLast: Bool) {
        guard count?.request == request else { return }
        // Whatever it says, no more is kept of it than there are.
        count?.parts.merge(counters.filter { published[$0.key] != nil }) { $1 }
        if isLast { endCount(count?.parts) }
    }

    mutating func endCount(_ counters: [UInt32: ForwardCounters]?) {
        let waiters = count?.waiters ?? []
        count = nil
        for waiter in waiters { waiter.resume(returning: counters) }
    }
}

extension PortTraffic {
    fileprivate init(_ counters: ForwardCounters) {
        var carried = Carried()
        carried.active = counters.active
        carried.failed = counters.failed
        carried.evicted = counters.evicted
        carried.dropped = counters.dropped
        carried.receivedBytes = counters.bytesIn
        carried.sentBytes = counters.bytesOut
        carried.seenAsGateway = counters.standIns
        carried.renumbered = counters.renumbered
        self.init(connections: counters.opened, carried: carried)
    }
}
