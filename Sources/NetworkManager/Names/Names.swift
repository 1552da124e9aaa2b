internal import DNS
internal import Firewall
internal import Logging
internal import Model
internal import Netlink
internal import Store
internal import Sys
internal import Wire

/// Names: what the resolver is told, and what it asks.
extension NetworkManager {
    var networksWithNames: [Network] { directory.networks.values.filter { $0.dns != nil } }

    /// Sockets of networks that are there already the resolver may have: they would be taken from under it.
    func startNames() { endNames() }

    /// - Throws: `ModelError.precondition` where nothing would answer.
    func checkNames(_ request: NetworkRequest) throws {
        guard request.dns != nil, configuration.proxyHost == nil else { return }
        throw ModelError.precondition(
            "network", request.name, "names need forged, which starts their resolver")
    }

    /// The network has its bridge and is recorded.
    func beginNames(_ network: Network) throws {
        guard let settings = network.dns else { return }
        names.send(.network(NetworkDescription(network, settings)))
        try names.listen(for: network)
        tellProxyHost(named: network)
    }

    func endNames(of network: Network) {
        guard network.dns != nil else { return }
        names.send(.removeNetwork(network.number))
        names.close(network)
        tellProxyHost()
    }

    func tellName(of endpoint: Endpoint, in network: Network) {
        guard network.dns != nil else { return }
        names.send(.endpoint(EndpointDescription(endpoint, in: network)))
    }

    func forgetName(of endpoint: Endpoint) {
        for address in names.told.forget(endpointID: endpoint.id) {
            firewall.forgetNames(of: address, toldTo: endpoint.id)
        }
        guard directory.networks[endpoint.networkID]?.dns != nil else { return }
        names.send(.removeEndpoint(endpoint.number))
    }

    /// Who may know whom is asked again.
    func forgetNameVerdicts() { names.send(.forgetVerdicts(client: nil)) }

    // MARK: The resolver

    func resolverCame(_ lines: ProxyLines?) {
        guard let lines, let link = try? lines.names.duplicate() else {
            names.line = nil
            names.proxy = nil
            return
        }
        let line = ProxyLine(link) { [weak self] line in Task { await self?.resolverLost(line) } }
        names.line = line
        names.proxy = (lines.pid, names.proxy.map { $0.restarts + 1 } ?? 0)
        watch(
            Task { [weak self] in
                for await (bytes, passenger) in line.messages {
                    // Reports bring none.
                    _ = Descriptor(owning: passenger)
                    guard let self, let report = try? ResolverReport(bytes) else { continue }
                    await self.take(report, from: line)
                }
            })
        tellResolver()
    }

    /// Orders to it were lost.
    private func resolverLost(_ line: ProxyLine) {
        guard line === names.line else { return }
        log.warning("the resolver did not take its orders; it is told everything once more")
        tellResolver()
    }

    private func tellResolver() {
        names.send(.begin)
        tellOwnSubnets()
        for network in networksWithNames {
            if let settings = network.dns { names.send(.network(NetworkDescription(network, settings))) }
            for endpoint in directory.members(of: network.id) { tellName(of: endpoint, in: network) }
        }
        tellHostResolvers()
        names.send(.end)
    }

    /// Networks have come or gone.
    func tellOwnSubnets() {
        let all = directory.networks.values.flatMap(\.subnets).sorted()
        for (subnets, isLast) in all.parts(of: ResolverOrder.mostSubnets) {
            names.send(.own(subnets, isLast: isLast))
        }
    }

    /// Whom the host asks may have changed.
    func tellHostResolvers() { names.send(.upstreams(HostResolvers.read())) }

    private static let mostCounted = 1 << 17

    private func take(_ report: ResolverReport, from line: ProxyLine) {
        // What an earlier proxy asked nobody waits for, and its numbers are not this one's.
        guard line === names.line else { return }
        switch report {
        case .listening(let listeners, _, let isLast):
            complain(names.resolverHas(listeners, isLast: isLast, networksWithNames))
            if isLast { listenForHost() }
        case .mayLearnPeer(let question, let client, let target):
            names.send(.verdict(question: question, verdict(client, on: target)))
        case .mayAskOutside(let question, let client, let name):
            names.send(.verdict(question: question, verdict(client, on: name.description)))
        case .learn(let id, let client, let name, let addresses):
            names.send(.learnt(id: id, learn(client, name.description, addresses)))
        case .denied(let denials):
            for denial in denials {
                guard let endpoint = directory.endpoint(numbered: denial.client) else { continue }
                log.info(
                    "name refused",
                    metadata: [
                        "endpoint": "\(endpoint.name)", "name": "\(denial.name)",
                        "reason": "\(denial.reason.text)", "count": "\(denial.count)",
                    ])
            }
        case .counters(let request, let counters, let isLast):
            guard names.counting[request] != nil else { return }
            // More than there can be endpoints is somebody's who took it over.
            if let known = names.counting[request]?.parts.count, known < Self.mostCounted {
                names.counting[request]?.parts += counters
            }
            guard isLast, let done = names.counting.removeValue(forKey: request) else { return }
            done.continuation.resume(returning: done.parts)
        }
    }

    // MARK: Counters

    /// What each endpoint asked, by the resolver's number; nil if the resolver does not answer at once.
    func nameStatistics() async -> [UInt64: NameStatistics]? {
        guard let line = names.line else { return nil }
        names.lastRequest &+= 1
        let request = names.lastRequest
        let counters = await withCheckedContinuation { continuation in
            names.counting[request] = CountersRequest(continuation: continuation)
            line.send(ResolverOrder.counters(request: request).encoded)
            Task { [weak self] in
                try? await Task.sleep(for: .milliseconds(500))
                await self?.giveUp(counting: request)
            }
        }
        return counters.map { counters in
            Dictionary(counters.map { ($0.endpoint, NameStatistics($0)) }) { first, _ in first }
        }
    }

    private func giveUp(counting request: UInt32) {
        names.counting.removeValue(forKey: request)?.continuation.resume(returning: nil)
    }

    /// The host asks over a socket that its owner alone can open, and may know everything.
    private func listenForHost() {
        guard let path = configuration.nameSocket, names.lacksHost, let line = names.line else { return }
        do {
            let socket = try UnixSocket.listen(replacing: path)
            line.send(ResolverOrder.listener(NameDesk.host).encoded, with: socket)
            names.lacksHost = false
        } catch { complain([error]) }
    }

    /// Opens what the resolver lacks since it could not be opened.
    func mendListeners() {
        guard names.line != nil else { return }
        complain(names.openLacking())
        listenForHost()
    }

    private func complain(_ failures: [any Error]) {
        for failure in failures {
            log.error("names are not answered everywhere", metadata: ["error": "\(failure)"])
        }
    }

    // MARK: What it asks

    /// A peer's name is for those alone whom policy lets reach it, on whatever port.
    private func verdict(_ client: UInt64, on target: UInt64) -> Verdict {
        guard let endpoint = directory.endpoint(numbered: client),
            let peer = directory.endpoint(numbered: target),
            // Whom a quarantine excepts is found out by asking it.
            endpoint.id == peer.id || directory.quarantines[peer.id]?.exceptions.isEmpty != true
        else { return Verdict(.denied, reason: .peer) }
        let isReached = IPFamily.allCases.contains { family in
            guard let from = endpoint.address(family), let to = peer.address(family) else { return false }
            return from == to || !firewall.compiler.reach(from: from, to: to).isEmpty
        }
        return isReached ? Verdict(.allowed) : Verdict(.denied, reason: .peer)
    }

    /// A name outside is for those whose egress speaks of it, or of everywhere.
    private func verdict(_ client: UInt64, on name: String) -> Verdict {
        guard let endpoint = directory.endpoint(numbered: client),
            let network = directory.networks[endpoint.networkID], network.nat || network.isolation == .none
        else { return Verdict(.denied, reason: .outside, coversEverything: true) }
        let reach = firewall.compiler.domainReach(ofEndpoint: endpoint.id, name: Self.text(name))
        switch (reach.speaksOfName, reach.speaksOfDomains, reach.isEverywhere) {
        case (true, _, _): return Verdict(.learn)
        case (false, let hasDomains, true): return Verdict(.allowed, coversEverything: !hasDomains)
        case (false, let hasDomains, false):
            return Verdict(.denied, reason: .outside, coversEverything: !hasDomains)
        }
    }

    /// The kernel lets the endpoint reach these addresses when this returns true.
    private func learn(_ client: UInt64, _ name: String, _ addresses: [LearntAddress]) -> Bool {
        guard addresses.count <= ResolverReport.mostAddresses,
            let endpoint = directory.endpoint(numbered: client)
        else { return false }
        let name = Self.text(name)
        // A name outside that stands for an address of the fabric, or of nobody's outside, opens nothing there.
        let outside = addresses.filter { one in
            OutsideAddress.isUsable(one.address)
                && !directory.networks.values.contains { $0.subnets.contains { $0.contains(one.address) } }
        }
        guard !outside.isEmpty else { return addresses.isEmpty }
        let change = names.told.adding(
            name, outside.map { (address: $0.address, ttlSeconds: $0.ttl) }, of: endpoint.id,
            now: wallClockMilliseconds())
        do {
            // First: what cannot be recorded does not happen.
            try store.save(told: change.saved, forgotten: change.forgotten)
            do { try firewall.setNames(change.peers) } catch {
                let back = change.reversed
                try? store.save(told: back.saved, forgotten: back.forgotten)
                throw error
            }
        } catch {
            log.error("a name cannot be put in force", metadata: ["name": "\(name)", "error": "\(error)"])
            return false
        }
        names.told.apply(change)
        if let end = change.saved.map(\.until).min() { awaitEnd(at: end) }
        return true
    }

    /// As rules have names: without the dot of the root.
    private static func text(_ name: String) -> String {
        name.count > 1 && name.hasSuffix(".") ? String(name.dropLast()) : name
    }

    // MARK: The end of names

    /// Ends names whose time is over, forgets those that no connection is left of, and waits for the next.
    func endNames() {
        let now = wallClockMilliseconds()
        let change = names.told.ending(now: now)
        var next = Int64.max
        do {
            try firewall.setNames(change.peers)
            names.told.apply(change)
            try store.save(told: change.saved, forgotten: change.forgotten)
        } catch {
            // They are in force as before, and ended the next time.
            log.error("names cannot be ended", metadata: ["error": "\(error)"])
            next = now + Self.retryMilliseconds
        }
        forgetLingering()
        if !names.told.lingering.isEmpty { next = min(next, now + Self.lingeringMilliseconds) }
        if let end = names.told.nextEnd, end > now { next = min(next, end) }
        names.expiry?.task.cancel()
        names.expiry = nil
        if next < .max { awaitEnd(at: next) }
    }

    /// How soon names are ended that could not be.
    private static let retryMilliseconds: Int64 = 5000
    /// How often names that have ended are looked at for connections.
    private static let lingeringMilliseconds: Int64 = 60_000

    /// Waits for a name that ends then, unless an earlier one is waited for.
    private func awaitEnd(at end: Int64) {
        if let expiry = names.expiry {
            guard end < expiry.due else { return }
            expiry.task.cancel()
        }
        // Many that end together are one change.
        let wait = Duration.milliseconds(max(end - wallClockMilliseconds(), 1000))
        names.expiry = (
            end,
            Task { [weak self] in
                do { try await Task.sleep(for: wait, clock: .continuous) } catch { return }
                await self?.endNames()
            }
        )
    }

    /// Forgets names that have ended and that no connection is left of.
    private func forgetLingering() {
        let lingering = names.told.lingering
        // Where nobody can tell, there may be one.
        guard !lingering.isEmpty,
            let entries = try? connections.entries(of: Set(lingering.map(\.address)))
        else { return }
        var reached: [IPAddress: Set<IPAddress>] = [:]
        for entry in entries {
            reached[entry.original.source, default: []].insert(entry.original.destination)
        }
        let idle = lingering.filter { place in
            guard let own = directory.endpoints[place.endpointID]?.address(place.address.family) else {
                return true
            }
            return reached[own]?.contains(place.address) != true
        }
        let change = names.told.forgettingLingering(idle)
        do {
            try store.save(told: change.saved, forgotten: change.forgotten)
            names.told.apply(change)
        } catch { log.error("names cannot be forgotten", metadata: ["error": "\(error)"]) }
    }

    /// Whether a connection goes on under a name that has ended.
    func isHeldByName(_ flow: ConnectionTable.Flow) -> Bool {
        guard let endpoint = directory.endpoint(at: flow.source) else { return false }
        let known = names.told.everyName(of: flow.destination, toldTo: endpoint.id)
        guard !known.isEmpty else { return false }
        return firewall.compiler.allows(
            from: flow.source, to: flow.destination, l4proto: flow.l4proto, port: flow.destinationPort,
            named: known, isVerified: flow.isVerified)
    }
}
