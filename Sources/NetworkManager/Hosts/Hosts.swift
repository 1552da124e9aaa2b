internal import DNS
internal import Firewall
internal import Forwarding
internal import Logging
internal import Model
internal import Sys
internal import Wire

/// Rules that verify hosts: where the proxy listens for them, and what it is answered.
extension NetworkManager {
    /// Opens and closes gates, as there are rules and networks that need them.
    func followGates() {
        let isNeeded = firewall.compiler.ledger.neededChains.contains(.verifiedHosts)
        guard isNeeded || !hosts.gates.isEmpty else { return }
        let wanted = isNeeded ? directory.networks.values.flatMap(\.gates) : []
        let numbers = Dictionary(wanted.map { ($0.id, $0) }) { first, _ in first }
        for id in hosts.gates.keys where numbers[id] == nil {
            hosts.gates[id] = nil
            ports.close(id)
        }
        for (id, gate) in numbers where hosts.gates[id] == nil {
            hosts.gates[id] = gate
            if ports.isInStep { openGate(id, gate) }
        }
    }

    /// Tells a forwarder what gates there shall be.
    /// - Parameter held: what it has already.
    func tellGates(held: Set<UInt32>) {
        for (id, gate) in hosts.gates {
            if held.contains(id) {
                ports.line?.send(ForwardOrder.publish(.gate(id: id)).encoded)
            } else {
                openGate(id, gate)
            }
        }
    }

    /// What goes wrong keeps connections that are to be verified from passing; the next reconciliation tries again.
    func openGate(_ id: UInt32, _ gate: HostDesk.Gate) {
        do {
            let socket = try Descriptor.bound(
                to: SocketAddress(gate.address, port: VerifiedHost.port), stream: true)
            ports.line?.send(ForwardOrder.publish(.gate(id: id)).encoded, with: socket)
        } catch {
            hosts.gates[id] = nil
            log.error(
                "hosts cannot be verified",
                metadata: ["gateway": "\(gate.address)", "port": "\(VerifiedHost.port)", "error": "\(error)"])
        }
    }

    // MARK: Connections

    func answer(_ question: HostClaim, from line: ProxyLine) {
        guard isAllowed(question) else {
            hosts.allowed[question.id] = nil
            line.send(ForwardOrder.host(id: question.id, isAllowed: false).encoded)
            refused(question.client, question.destination, question.port, .notAllowed, host: question.host)
            return
        }
        hosts.allowed[question.id] = question
        let order = ForwardOrder.host(id: question.id, isAllowed: true).encoded
        guard !question.isUnderWay else { return line.send(order) }
        // Made when it is its turn. Where none can be had the connection's time runs out.
        let family = question.destination.family.rawValue
        line.send(order) {
            do { return [try Descriptor.stream(family: family).release()] } catch { return [] }
        }
    }

    /// Whether the endpoint knows the address by this name, and some rule allows the name.
    private func isAllowed(_ question: HostClaim) -> Bool {
        guard let endpoint = directory.endpoint(at: question.client),
            // An address that it was told before a network was made of it.
            !directory.networks.values.contains(where: {
                $0.subnets.contains { $0.contains(question.destination) }
            })
        else { return false }
        // What was allowed goes on under a name that has ended, as connections do.
        let known =
            question.isUnderWay
            ? names.told.everyName(of: question.destination, toldTo: endpoint.id)
            : names.told.names(of: question.destination, toldTo: endpoint.id)
        return known.contains(question.host)
            && firewall.compiler.allows(
                from: question.client, to: question.destination, l4proto: 6, port: question.port,
                named: [question.host], isVerified: true)
    }

    /// Counts and tells a refusal.
    func refused(
        _ client: IPAddress, _ destination: IPAddress, _ port: UInt16, _ refusal: HostRefusal,
        host: String? = nil
    ) {
        guard let endpoint = directory.endpoint(at: client) else { return }
        hosts.refused[endpoint.id, default: 0] += 1
        flows?.tell(refusedFrom: client, to: destination, port: port)
        // Each connection is one: flows tell of them in sums.
        log.debug(
            "host refused",
            metadata: [
                "endpoint": "\(endpoint.name)", "destination": "\(destination) port \(port)",
                "host": "\(host ?? "")", "reason": "\(refusal.text)",
            ])
    }

    /// Ends connections of these addresses through the proxy, or of all endpoints, that would not be allowed any more.
    ///
    /// They have ended when `portsClosed` returns.
    func endDisallowedHosts(of addresses: Set<IPAddress>?) {
        for (id, question) in hosts.allowed where addresses?.contains(question.client) ?? true {
            var question = question
            question.isUnderWay = true
            guard !isAllowed(question) else { continue }
            hosts.allowed[id] = nil
            ports.endHost(id)
        }
    }
}
