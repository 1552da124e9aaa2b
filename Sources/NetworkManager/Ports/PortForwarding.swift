internal import Forwarding
internal import Glibc
internal import Logging
internal import Model
internal import Sys
internal import Wire

/// The manager's side of the line to the forwarder.
extension NetworkManager {
    /// A forwarder is there, perhaps one that an earlier manager spoke with: it says first what it holds.
    func forwarderCame(_ lines: ProxyLines?) {
        forwarderWent()
        guard let lines, let link = try? lines.ports.duplicate() else { return }
        let line = ProxyLine(link) { [weak self] line in Task { await self?.forwarderLost(line) } }
        ports.line = line
        watch(
            Task { [weak self] in
                for await (bytes, passenger) in line.messages {
                    // Reports bring none.
                    _ = Descriptor(owning: passenger)
                    guard let self, let report = try? ForwardReport(bytes[...]) else { continue }
                    await self.take(report, from: line)
                }
            })
        line.send(ForwardOrder.beginResync.encoded)
        ports.askCounters()
    }

    /// Orders to it were lost.
    private func forwarderLost(_ line: ProxyLine) {
        guard line === ports.line else { return }
        log.warning("the forwarder did not take its orders; it is told everything once more")
        forgetStep()
        line.send(ForwardOrder.beginResync.encoded)
    }

    func forwarderWent() {
        ports.line = nil
        forgetStep()
    }

    private func forgetStep() {
        ports.isInStep = false
        ports.held = []
        ports.endClosing()
        hosts.allowed = [:]
    }

    private static let mostHeld = 1 << 17

    private func take(_ report: ForwardReport, from line: ProxyLine) {
        guard line === ports.line else { return }
        switch report {
        case .wantSockets(let family, let transport, let count): refill(line, family, transport, Int(count))
        case .holds(let ids, let isLast):
            // More than there can be ports is somebody's who took it over; what is not kept is told once more.
            if ports.held.count < Self.mostHeld { ports.held.formUnion(ids) }
            // An answer to an earlier manager may come first: then all is told twice, which changes nothing.
            if isLast { tellEverything() }
        case .withdrawn(let id):
            ports.closed(id)
            tellProxyHost()
        case .failed(let id, let errno):
            if let gate = hosts.gates[id] {
                if errno == EBADF { return openGate(id, gate) }
                log.error(
                    "hosts cannot be verified",
                    metadata: ["gateway": "\(gate.address)", "error": "\(Errno(rawValue: errno))"])
                hosts.gates[id] = nil
            }
            guard let entry = ports.published[id] else { break }
            if errno == EBADF { return forward(id) }
            log.error(
                "port is not forwarded",
                metadata: ["port": "\(entry.port)", "error": "\(Errno(rawValue: errno))"])
        case .mayReach(let question): answer(question, from: line)
        case .hostsEnded(let ids):
            for id in ids { hosts.allowed[id] = nil }
            ports.hostsEnded(ids)
        case .hostRefused(let client, let destination, let port, let refusal):
            refused(client, destination, port, refusal)
        case .counters(let request, let counters, let isLast):
            ports.counted(request, counters, isLast: isLast)
        case .published: break
        }
    }

    /// The forwarder may use sockets of any address, and makes none.
    private func refill(_ line: ProxyLine, _ family: IPFamily, _ transport: ForwardTransport, _ count: Int) {
        // It never has more in stock.
        var left = min(count, 512)
        let order = ForwardOrder.refill(family, transport).encoded
        while left > 0 {
            let part = min(left, ForwardLink.passengerLimit)
            line.send(order) { (try? TransparentSockets.make(family, transport, count: part)) ?? [] }
            left -= part
        }
    }

    private func tellEverything() {
        tellSubnets()
        for id in ports.published.keys.sorted() {
            if ports.held.contains(id) {
                _ = ports.takeSocket(id)
                if let port = forwardedPort(id) { ports.line?.send(ForwardOrder.publish(port).encoded) }
            } else {
                forward(id)
            }
        }
        tellGates(held: ports.held)
        ports.line?.send(ForwardOrder.endResync.encoded)
        ports.held = []
        ports.isInStep = true
    }

    func tellSubnets() {
        let all = directory.networks.values.flatMap(\.subnets).sorted()
        for (subnets, isLast) in all.parts(of: ForwardOrder.subnetLimit) {
            ports.line?.send(ForwardOrder.own(subnets, isLast: isLast).encoded)
        }
    }

    /// Gives the forwarder a port with its socket, which is opened again if it was another proxy's.
    func forward(_ id: UInt32) {
        guard let line = ports.line, let entry = ports.published[id], let port = forwardedPort(id) else {
            return
        }
        do {
            let socket = try ports.takeSocket(id) ?? reopen(entry.port)
            line.send(ForwardOrder.publish(port).encoded, with: socket)
            ports.lacking.remove(id)
        } catch {
            ports.lacking.insert(id)
            log.error("port is not forwarded", metadata: ["port": "\(entry.port)", "error": "\(error)"])
        }
    }

    private func forwardedPort(_ id: UInt32) -> ForwardedPort? {
        guard let entry = ports.published[id], let endpoint = directory.endpoints[entry.endpointID],
            let network = directory.networks[endpoint.networkID]
        else { return nil }
        return ForwardedPort(
            id: id, transport: entry.port.transport == .udp ? .udp : .tcp, targets: endpoint.addresses,
            port: entry.port.endpointPort, standIns: IPFamily.allCases.compactMap { network.gateway($0) })
    }
}
