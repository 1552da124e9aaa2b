internal import Firewall
internal import Forwarding
internal import Glibc
internal import Logging
public import Model
internal import NAT
internal import Namespaces
internal import Netlink
internal import Store
internal import Sys
internal import Wire

extension NetworkManager {
    /// Leads ports of the host to an endpoint: all of them, or none. Those that lead there already stay.
    ///
    /// - Throws: `ModelError` naming the port that is taken, by whom, or that the host refuses.
    @discardableResult
    public func publish(_ ports: [PublishedPort], to name: String) async throws -> NetworkMember {
        try await makeWay(for: ports)
        let endpoint = try directory.endpoint(named: name)
        try publish(ports, to: endpoint)
        return try directory.member(directory.endpoints[endpoint.id] ?? endpoint)
    }

    /// Ends that, with the connections that came in by them. The host's ports are free when the call returns.
    ///
    /// - Throws: `ModelError.notFound` for one that does not lead there; then all go on.
    @discardableResult
    public func unpublish(_ ports: [PublishedPort], from name: String) async throws -> NetworkMember {
        let old = try directory.endpoint(named: name)
        for port in ports where !old.published.contains(where: { $0.port == port }) {
            throw ModelError.notFound("published port", port.description)
        }
        var endpoint = old
        endpoint.published.removeAll { ports.contains($0.port) }
        try store.save(endpoint)
        directory.insert(endpoint)
        withdraw(old.published.filter { ports.contains($0.port) })
        // Whatever fails, the rest is ended.
        var failures: [any Error] = []
        do { try translate(endpoint) } catch { failures.append(error) }
        do { try firewall.setEndpoint(endpoint) } catch { failures.append(error) }
        do {
            let entries = try connections.entries(of: Set(old.addresses))
            try connections.cut(entries.filter { came($0, by: ports) })
        } catch { failures.append(error) }
        let member = try directory.member(endpoint)
        await portsClosed()
        if !failures.isEmpty { throw TeardownError(failures: failures) }
        return member
    }

    /// Waits until the host's ports that were given up are free.
    public func portsClosed() async {
        guard ports.isClosing else { return }
        // A forwarder that does not answer holds nobody up for long.
        let patience = Task { [weak self] in
            do { try await Task.sleep(for: .seconds(2)) } catch { return }
            await self?.giveUpClosing()
        }
        await withCheckedContinuation { ports.wait($0) }
        patience.cancel()
    }

    private func giveUpClosing() {
        ports.endClosing()
        tellProxyHost()
    }

    // MARK: Steps

    /// All or nothing, as `publish(_:to:)`.
    func publish(_ asked: [PublishedPort], to old: Endpoint) throws {
        let new = asked.filter { port in !old.published.contains { $0.port == port } }
        guard !new.isEmpty else { return }
        guard let host = configuration.proxyHost else {
            throw ModelError.precondition(
                "endpoint", old.name, "published ports need forged, which opens them")
        }
        try checkFree(new)
        var opened: [(publication: Publication, socket: Int32)] = []
        var endpoint = old
        do {
            for port in new {
                let socket = try open(port, host)
                opened.append(
                    (Publication(id: ports.freeNumber(but: hosts.gates.keys), port: port), socket.release()))
            }
            endpoint.published += opened.map(\.publication)
            try firewall.setEndpoint(endpoint)
            do {
                try leadAnswers(true)
                try translate(endpoint)
                try store.save(endpoint)
            } catch {
                try? firewall.setEndpoint(old)
                try? translate(old)
                if ports.published.isEmpty { try? leadAnswers(false, again: true) }
                throw error
            }
        } catch {
            for one in opened { _ = Descriptor(owning: one.socket) }
            throw error
        }
        directory.insert(endpoint)
        for one in opened {
            ports.insert(one.publication, of: endpoint.id)
            ports.keep(Descriptor(owning: one.socket), for: one.publication.id)
            if ports.isInStep { forward(one.publication.id) }
        }
        tellProxyHost()
        log.info("ports published", metadata: ["endpoint": "\(endpoint.name)", "ports": "\(new)"])
    }

    /// Ends forwarding, of what is no longer recorded.
    func withdraw(_ publications: [Publication]) {
        guard !publications.isEmpty else { return }
        for publication in publications { ports.remove(publication.id) }
        tellProxyHost()
        if ports.published.isEmpty {
            do { try leadAnswers(false) } catch {
                log.error("published ports", metadata: ["error": "\(error)"])
            }
        }
    }

    private func checkFree(_ new: [PublishedPort]) throws(ModelError) {
        for port in new {
            // What is led there is taken for what the proxy is to verify.
            guard port.endpointPort != VerifiedHost.port || port.transport != .tcp else {
                throw .invalid(
                    "published port", port.description,
                    "port \(VerifiedHost.port) is where hosts are verified")
            }
            guard let other = ports.conflict(with: port) else { continue }
            let holder = directory.endpoints[other.endpointID].flatMap { try? directory.member($0) }
            let name = holder.map { "\($0.network.name)/\($0.endpoint.name)" } ?? "another endpoint"
            throw .exists(
                "port", port.description,
                other.port == port
                    ? "is published by \(name)" : "is in conflict with \(other.port) of \(name)")
        }
        guard ports.published.count + new.count <= Publication.limit else {
            throw .exhausted(
                "published port", new.first?.description ?? "",
                "a fabric publishes at most \(Publication.limit)")
        }
    }

    private func open(_ port: PublishedPort, _ host: any ProxyHost) throws -> Descriptor {
        do { return try host.openPort(HostPort(port)) } catch let error as SystemError {
            let name = "\(port.hostPort)/\(port.transport.rawValue)"
            switch error.errno.rawValue {
            case EADDRINUSE: throw ModelError.precondition("port", name, "is taken on the host")
            case EACCES, EPERM:
                throw ModelError.precondition(
                    "port", name,
                    port.hostPort < 1024
                        ? "below 1024 needs root, or net.ipv4.ip_unprivileged_port_start set to \(port.hostPort)"
                        : "the host refuses it")
            case EADDRNOTAVAIL, EAFNOSUPPORT:
                throw ModelError.invalid(
                    "port", port.description, "the host has no address \(port.address?.description ?? "")")
            default: throw error
            }
        }
    }

    /// Opens a port that was published before.
    func reopen(_ port: PublishedPort) throws -> Descriptor {
        guard let host = configuration.proxyHost else {
            throw ModelError.precondition("port", port.description, "nothing opens it")
        }
        return try open(port, host)
    }

    /// Whether a connection was led in by one of these ports. The forwarder ends those that it carries.
    private func came(_ entry: ConntrackEntry, by ports: [PublishedPort]) -> Bool {
        guard entry.status.contains(.destinationNAT), let hostPort = entry.original.destinationPort else {
            return false
        }
        let flow = FlowTransport(number: entry.original.l4proto, port: hostPort)
        return ports.contains { port in
            flow.port?.transport == port.transport && hostPort == port.hostPort
                && (port.address.map { $0 == entry.original.destination || $0.bits == 0 } ?? true)
        }
    }

    // MARK: Packets

    /// In the host's own network clients' packets are led to the endpoint; what the host itself sends, and to its
    /// loopback, goes by the forwarder.
    func translate(_ endpoint: Endpoint) throws {
        guard !configuration.ownsNamespace else { return }
        try nat.publish(translations(of: endpoint), to: endpoint.id)
    }

    func translations(of endpoint: Endpoint) -> [NATPublication] {
        configuration.ownsNamespace
            ? [] : endpoint.published.flatMap { NATPublication.all($0.port, to: endpoint.addresses) }
    }

    /// Has the kernel lead endpoints' answers to the forwarder, in the subnets that there are now, or no answers
    /// any more. In the host's own network they go the host's ways.
    /// - Parameter again: whatever was done before.
    func leadAnswers(_ isWanted: Bool, again: Bool = false) throws {
        guard configuration.ownsNamespace, isWanted || again || ports.routed != nil else { return }
        let subnets = directory.networks.values.flatMap(\.subnets).sorted()
        guard again || !isWanted || ports.routed != subnets else { return }
        let routing = PortRouting(own: subnets, families: families)
        var netfilter = try NetlinkSocket<NetfilterProtocol>()
        var route = try NetlinkSocket<RouteProtocol>()
        if isWanted {
            try routing.apply(netfilter: &netfilter, route: &route)
        } else {
            try routing.remove(netfilter: &netfilter, route: &route)
        }
        ports.routed = isWanted ? subnets : nil
    }

    private var families: [IPFamily] {
        // Where the kernel has no IPv6 there is no such directory.
        unsafe access("/proc/sys/net/ipv6", F_OK) == 0 ? IPFamily.allCases : [.v4]
    }

    /// Networks have come or gone: who is a stranger is another question now.
    func followSubnets() {
        followGates()
        tellOwnSubnets()
        guard !ports.published.isEmpty else { return }
        tellSubnets()
        do { try leadAnswers(true) } catch { log.error("published ports", metadata: ["error": "\(error)"]) }
    }

    /// What is recorded as published was published by an earlier manager.
    func adoptPorts() throws {
        guard ports.published.isEmpty else { return try leadAnswers(true, again: true) }
        // What it did not come to undo.
        do { try leadAnswers(false, again: true) } catch {
            log.error("published ports", metadata: ["error": "\(error)"])
        }
    }

    /// What is recorded as published is what shall be; sets right what somebody has undone.
    func mendPorts() throws {
        guard !ports.published.isEmpty else { return }
        try leadAnswers(true, again: true)
        for id in ports.lacking { forward(id) }
    }
}
