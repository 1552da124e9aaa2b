package import Model
package import Netlink
package import Wire

/// The fabric's firewall: the compiler, and the kernel's tables that follow it.
///
/// Owned by one actor. Each mutation is one nf_tables transaction: it is in force when the call returns, or
/// nothing has changed.
package struct FirewallPlane: ~Copyable {
    var socket: NetlinkSocket<NetfilterProtocol>
    /// Whether the tables are ours alone to change: nobody can flush them.
    let tables: TableOwnership
    /// Tables that are there and that we could not take over as they are.
    var unowned: Set<NftTable> = []
    /// Of kernel memory an element takes some 200 bytes.
    package let rowLimit: Int
    /// The copy of the large sets that is in force.
    var generation = Generation.first
    package private(set) var compiler = PolicyCompiler()
    private var networks: [String: KnownNetwork] = [:]
    private var networkNumbers = NumberAllocator<String>()
    private var endpoints: [String: Endpoint] = [:]

    private struct KnownNetwork {
        let network: Network
        /// What its bridges are called by in the kernel's maps.
        let number: UInt32
        /// How many bridges it has.
        var segments: Int

        func elements(_ segments: Range<Int>) -> [(set: NftSet, elements: [NftElement])] {
            segments.flatMap { KernelRows.bridgeElements(network, number: number, segment: $0) }
        }
    }

    /// Opens a socket in the calling thread's network namespace, which is the fabric's.
    ///
    /// - Parameter ownsTables: keep others from changing our tables, where the kernel can.
    /// - Parameter rowLimit: elements of all sets together; what would make more is refused.
    package init(ownsTables: Bool = true, rowLimit: Int = 2_000_000) throws(FirewallError) {
        var opened: NetlinkSocket<NetfilterProtocol>
        do throws(NetlinkError) { opened = try NetlinkSocket() } catch {
            throw FirewallError(code: .kernel, context: "open nf_tables", cause: error)
        }
        do throws(NetlinkError) {
            tables = ownsTables ? try TableOwnership(probing: &opened) : .shared
        } catch {
            throw FirewallError(code: .kernel, context: "ask who may change tables", cause: error)
        }
        socket = opened
        self.rowLimit = rowLimit
    }

    // MARK: Changes

    /// Takes over the desired state and makes the kernel follow, changing only what differs.
    package mutating func start(
        networks: [Network], endpoints: [Endpoint], policies: [FirewallPolicy],
        quarantines: [Quarantine] = [], told: [String: [IPAddress: Set<String>]] = [:]
    ) throws(FirewallError) {
        // In the same order each time, so that numbers come out as they were.
        for network in networks.sorted(by: { $0.id < $1.id }) {
            let used = endpoints.lazy.filter { $0.networkID == network.id }.map(\.segment).max() ?? 0
            self.networks[network.id] = known(network, segments: used + 1)
            compiler.setNetwork(network)
        }
        _ = compiler.setPolicies(policies)
        for endpoint in endpoints {
            self.endpoints[endpoint.id] = endpoint
            _ = compiler.setEndpoint(endpoint)
        }
        for (endpoint, known) in told {
            for (address, names) in known { _ = compiler.setNames(names, of: address, toldTo: endpoint) }
        }
        for quarantine in quarantines { _ = compiler.setQuarantine(quarantine.endpointID, quarantine) }
        try claim()
        try reconcile()
    }

    package mutating func addNetwork(_ network: Network) throws(FirewallError) {
        let known = known(network, segments: 1)
        var batch = NftBatch()
        for (set, elements) in known.elements(0..<1) { batch.add(elements, to: set) }
        do throws(FirewallError) { try commit(batch, "network \(network.name)") } catch {
            networkNumbers.release(known.number)
            throw error
        }
        networks[network.id] = known
        let delta = compiler.setNetwork(network)
        if !delta.isEmpty { try apply(ElementChanges(delta), delta, "network \(network.name)") }
    }

    private mutating func known(_ network: Network, segments: Int) -> KnownNetwork {
        // Zero is the number of no network.
        let number = networkNumbers.number(
            for: network.id, preferred: UInt32(network.id.prefix(8), radix: 16) ?? 1, in: 1...UInt32.max)
        return KnownNetwork(network: network, number: number, segments: segments)
    }

    /// The network's endpoints must be gone.
    package mutating func removeNetwork(id: String) throws(FirewallError) {
        guard let known = networks[id] else { return }
        var batch = NftBatch()
        for (set, elements) in known.elements(0..<known.segments) { batch.remove(elements, from: set) }
        try commit(batch, "network \(known.network.name)")
        networks[id] = nil
        networkNumbers.release(known.number)
        compiler.removeNetwork(id: id)
    }

    /// Puts the endpoint's policy in force and pins its port: a fixed number of elements. An endpoint that is
    /// known already is changed. A bridge that it is the first on is known from here on.
    package mutating func setEndpoint(_ endpoint: Endpoint) throws(FirewallError) {
        let old = endpoints[endpoint.id]
        let delta = compiler.setEndpoint(endpoint)
        var changes = ElementChanges(delta)
        for part in old.map(KernelRows.portElements) ?? [] { changes.remove(part) }
        for part in KernelRows.portElements(endpoint) { changes.add(part) }
        let segments = max(networks[endpoint.networkID]?.segments ?? 0, endpoint.segment + 1)
        if let known = networks[endpoint.networkID], known.segments < segments {
            for part in known.elements(known.segments..<segments) { changes.add(part) }
        }
        do throws(FirewallError) {
            try apply(changes, delta, "endpoint \(endpoint.name)")
        } catch {
            if let old { _ = compiler.setEndpoint(old) } else { _ = compiler.removeEndpoint(id: endpoint.id) }
            throw error
        }
        endpoints[endpoint.id] = endpoint
        networks[endpoint.networkID]?.segments = segments
    }

    package mutating func removeEndpoint(id: String) throws(FirewallError) {
        guard let endpoint = endpoints[id] else { return }
        let delta = compiler.removeEndpoint(id: id)
        var changes = ElementChanges(delta)
        for part in KernelRows.portElements(endpoint) { changes.remove(part) }
        do throws(FirewallError) {
            try forgetDenials(of: endpoint, &changes)
            try apply(changes, delta, "endpoint \(endpoint.name)")
        } catch {
            _ = compiler.setEndpoint(endpoint)
            throw error
        }
        endpoints[id] = nil
    }

    /// Changes a network's labels.
    package mutating func relabel(_ network: Network) throws(FirewallError) {
        guard let known = networks[network.id] else { return }
        let delta = compiler.setNetwork(network)
        do throws(FirewallError) {
            try apply(ElementChanges(delta), delta, "network \(network.name)")
        } catch {
            _ = compiler.setNetwork(known.network)
            throw error
        }
        networks[network.id] = KnownNetwork(network: network, number: known.number, segments: known.segments)
    }

    /// Adds, replaces and removes policies in one transaction.
    /// - Returns: the addresses of the endpoints that are judged otherwise now; nil where there are many.
    @discardableResult
    package mutating func setPolicies(_ changed: [FirewallPolicy], removing removed: [String])
        throws(FirewallError) -> Set<IPAddress>?
    {
        let names = Set(changed.map(\.name) + removed)
        let old = names.compactMap(compiler.policy(named:))
        let delta = compiler.setPolicies(changed, removing: removed)
        do throws(FirewallError) {
            try apply(ElementChanges(delta), delta, "policies")
        } catch {
            _ = compiler.setPolicies(old, removing: Array(names))
            throw error
        }
        return compiler.addresses(affectedBy: delta)
    }

    /// Puts in force by which names endpoints know addresses, of all of these or, if it fails, of none. Each
    /// endpoint's address is in it once.
    package mutating func setNames(_ peers: [NamedPeer]) throws(FirewallError) {
        let old = peers.map { peer in
            NamedPeer(
                endpointID: peer.endpointID, address: peer.address,
                names: compiler.told[peer.endpointID]?[peer.address] ?? [])
        }
        let delta = compiler.setNames(peers)
        guard !delta.isEmpty else { return }
        do throws(FirewallError) { try apply(ElementChanges(delta), delta, "names") } catch {
            _ = compiler.setNames(old)
            throw error
        }
    }

    /// Of an endpoint that has gone: there is nothing in the kernel.
    package mutating func forgetNames(of address: IPAddress, toldTo endpointID: String) {
        _ = compiler.setNames([], of: address, toldTo: endpointID)
    }

    /// Begins, changes or (with nil) ends the quarantine of an endpoint.
    package mutating func setQuarantine(_ endpointID: String, _ quarantine: Quarantine?) throws(FirewallError)
    {
        let old = compiler.quarantines[endpointID]
        let delta = compiler.setQuarantine(endpointID, quarantine)
        // Whatever limit there is: who has to be cut off is cut off.
        do throws(FirewallError) {
            try apply(ElementChanges(delta), delta, "quarantine", isUrgent: true)
        } catch {
            _ = compiler.setQuarantine(endpointID, old)
            throw error
        }
    }

    /// Endpoints whose bandwidth has been another since the last call.
    package mutating func takeReshaped() -> Set<String> { compiler.takeReshaped() }

    /// Removes both tables: the namespace is as it was before us.
    package mutating func destroy() throws(FirewallError) {
        var batch = NftBatch()
        for table in KernelLayout.tables {
            batch.destroy(unowned.contains(table) ? table : tables.marked(table))
        }
        try commit(batch, "remove tables")
    }

    /// All elements that we write, by set.
    func desiredElements() -> [(set: NftSet, elements: [NftElement])] {
        var changes = ElementChanges()
        changes.add((KernelLayout.portedProtocols, KernelLayout.portedNumbers.map { NftElement(key: [$0]) }))
        for known in networks.values {
            for part in known.elements(0..<known.segments) { changes.add(part) }
        }
        for endpoint in endpoints.values {
            for part in KernelRows.portElements(endpoint) { changes.add(part) }
        }
        for (row, value) in compiler.ledger { changes.add(KernelRows.elements(row, value)) }
        let written = (KernelLayout.policySets + KernelLayout.spoofingSets).filter {
            !$0.flags.contains(.eval)
        }
        return written.map { set in
            (
                set,
                changes.added.first { $0.set.table == set.table && $0.set.name == set.name }?.elements ?? []
            )
        }
    }

    // MARK: Counters

    /// What was denied, by endpoint id. Counters live in the kernel and survive us.
    package mutating func denials() throws(FirewallError) -> [String: [Denial]] {
        var denials: [String: [Denial]] = [:]
        var owners: [[UInt8]: String] = [:]
        for endpoint in endpoints.values {
            for address in endpoint.addresses { owners[address.bytes] = endpoint.id }
            owners[KernelRows.interfaceName(endpoint.hostInterfaceName)] = endpoint.id
        }
        do throws(NetlinkError) {
            for family in IPFamily.allCases {
                let length = family.width / 8
                for element in try socket.elements(of: KernelLayout.denied(family))
                where element.key.count >= length + 4 {
                    guard let owner = owners[Array(element.key[..<length])], let counter = element.counter
                    else { continue }
                    var reader = ByteReader(element.key[length...])
                    guard let outcome = try? reader.integer("outcome", as: UInt32.self) else { continue }
                    denials[owner, default: []].append(
                        Denial(
                            outcome: Outcome(rawValue: outcome), packets: counter.packets,
                            bytes: counter.bytes))
                }
            }
            for element in try socket.elements(of: KernelLayout.spoofed) {
                guard let owner = owners[element.key], let counter = element.counter else { continue }
                denials[owner, default: []].append(
                    Denial(outcome: .spoofedSource, packets: counter.packets, bytes: counter.bytes))
            }
            for element in try socket.elements(of: KernelLayout.exceeded) where element.key.count == 20 {
                guard let owner = owners[Array(element.key[..<16])], let counter = element.counter else {
                    continue
                }
                var reader = ByteReader(element.key[16...])
                guard let outcome = try? reader.integer("outcome", as: UInt32.self) else { continue }
                denials[owner, default: []].append(
                    Denial(
                        outcome: Outcome(rawValue: outcome), packets: counter.packets, bytes: counter.bytes))
            }
        } catch {
            throw FirewallError(code: .kernel, context: "read counters", cause: error)
        }
        return denials
    }

    /// A new owner of the address must not inherit what the old one was denied.
    private mutating func forgetDenials(of endpoint: Endpoint, _ changes: inout ElementChanges)
        throws(FirewallError)
    {
        do throws(NetlinkError) {
            for address in endpoint.addresses {
                let set = KernelLayout.denied(address.family)
                let stale = try socket.elements(of: set).filter { $0.key.starts(with: address.bytes) }
                changes.remove((set, stale.map { NftElement(key: $0.key) }))
            }
            let port = KernelRows.interfaceName(endpoint.hostInterfaceName)
            let stale = try socket.elements(of: KernelLayout.spoofed).filter { $0.key == port }
            changes.remove((KernelLayout.spoofed, stale.map { NftElement(key: $0.key) }))
            let exceeded = try socket.elements(of: KernelLayout.exceeded).filter {
                $0.key.starts(with: port)
            }
            changes.remove((KernelLayout.exceeded, exceeded.map { NftElement(key: $0.key) }))
        } catch {
            throw FirewallError(code: .kernel, context: "read counters", cause: error)
        }
    }
}

/// Packets that were denied for one reason.
package struct Denial: Hashable, Sendable {
    package let outcome: Outcome
    package let packets: UInt64
    package let bytes: UInt64

    package init(outcome: Outcome, packets: UInt64, bytes: UInt64) {
        self.outcome = outcome
        self.packets = packets
        self.bytes = bytes
    }
}

extension FirewallPlane {
    /// The netlink port that our transactions come from.
    package var port: UInt32 { socket.port }

    /// Whether an event concerns one of our tables.
    package static func isAbout(_ event: NftEvent) -> Bool {
        let tables = [KernelLayout.policyTable, KernelLayout.spoofingTable]
        return switch event.subject {
        case .table(let table), .chain(_, let table), .rule(_, _, let table), .set(_, let table),
            .elements(_, _, let table):
            tables.contains { $0.family == table.family && $0.name == table.name }
        case .generation: false
        }
    }
}
