internal import Wire

/// What the manager orders.
extension Resolver {
    /// Carries an order out. Those that bring a socket are the server's to carry out.
    package func order(_ order: ResolverOrder, at time: UInt64) {
        now = max(now, time)
        switch order {
        case .begin:
            generation &+= 1
            // Of a manager that did not come to its last part.
            comingOwn = []
        case .end: dropUnmentioned()
        case .network(let network): setNetwork(network)
        case .removeNetwork(let id): removeNetwork(id)
        case .endpoint(let endpoint): setEndpoint(endpoint)
        case .removeEndpoint(let id): removeEndpoint(id)
        case .own(let subnets, let isLast):
            comingOwn += subnets
            guard isLast else { break }
            setOwn(comingOwn)
            comingOwn = []
        case .upstreams(let addresses): setUpstreams(addresses, of: 0)
        case .forgetVerdicts(let client): forgetVerdicts(of: client)
        case .verdict(let question, let verdict): verdictCame(question, verdict)
        case .learnt(let id, let isReachable): learnt(id, isReachable)
        case .counters(let request): reportCounters(request)
        case .listener, .upstreamSocket: break
        }
    }

    /// Whether a network is there: listeners of one that has gone are closed.
    package func hasNetwork(_ id: UInt64) -> Bool { networkNumbers[id] != nil }

    /// The new manager has told everything. It may know another policy than the one before.
    private func dropUnmentioned() {
        for endpoint in endpoints where endpoint.network >= 0 && endpoint.generation != generation {
            removeEndpoint(endpoint.description.id)
        }
        for network in networks where network.isPresent && network.generation != generation {
            removeNetwork(network.description.id)
        }
        forgetVerdicts(of: nil)
        askAgain()
    }

    /// Addresses that were outside may be inside now.
    private func setOwn(_ subnets: [CIDR]) {
        guard own != subnets else { return }
        own = subnets
        cache.removeAll()
    }

    // MARK: Networks

    private func setNetwork(_ network: NetworkDescription) {
        guard network.id != 0, let zone = LocalNames.zone.prefixed(by: network.name) else { return }
        guard let number = networkNumbers[network.id] else {
            let number = networks.firstIndex { !$0.isPresent } ?? networks.count
            let state = NetworkState(description: network, generation: generation, zone: zone)
            if number == networks.count { networks.append(state) } else { networks[number] = state }
            networkNumbers[network.id] = Int32(number)
            setUpstreams(network.upstreams, of: network.id)
            cache.removeAll()
            return connectListeners()
        }
        let old = networks[Int(number)].description
        networks[Int(number)].generation = generation
        guard old != network else { return }
        networks[Int(number)].description = network
        networks[Int(number)].zone = zone
        setUpstreams(network.upstreams, of: network.id)
        // Addresses that were outside may be inside now.
        if old.subnets != network.subnets { cache.removeAll() }
        guard old.name != network.name else { return }
        for index in endpoints.indices where endpoints[index].network == number {
            removeNames(Int32(index), network: old.name)
            addNames(Int32(index), network: network.name)
        }
    }

    private func removeNetwork(_ id: UInt64) {
        guard let number = networkNumbers[id] else { return }
        for endpoint in endpoints where endpoint.network == number { removeEndpoint(endpoint.description.id) }
        networkNumbers[id] = nil
        networks[Int(number)].isPresent = false
        setUpstreams(nil, of: id)
        connectListeners()
    }

    private func connectListeners() {
        for index in listeners.indices {
            listeners[index].network = networkNumbers[listeners[index].description.network] ?? -1
        }
    }

    // MARK: Endpoints

    private func setEndpoint(_ endpoint: EndpointDescription) {
        guard endpoint.id != 0, let network = networkNumbers[endpoint.network] else { return }
        let networkName = networks[Int(network)].description.name
        guard let canonical = LocalNames.canonical(endpoint.name, network: networkName) else { return }
        if let number = endpointNumbers[endpoint.id] {
            endpoints[Int(number)].generation = generation
            if endpoints[Int(number)].description == endpoint { return }
            // In another network it is another client.
            if endpoints[Int(number)].network == network {
                removeNames(number, network: networkName)
                endpoints[Int(number)].description = endpoint
                addNames(number, network: networkName)
                return
            }
            removeEndpoint(endpoint.id)
        }
        lastSerial &+= 2
        let state = EndpointState(
            description: endpoint, network: network, serial: lastSerial, verdictSerial: lastSerial - 1,
            generation: generation, counters: EndpointCounters(endpoint: endpoint.id), canonical: canonical)
        let number: Int32
        if let free = freeEndpoints.popLast() {
            number = free
            endpoints[Int(number)] = state
        } else {
            number = Int32(endpoints.count)
            endpoints.append(state)
        }
        endpointNumbers[endpoint.id] = number
        addNames(number, network: networkName)
    }

    private func removeEndpoint(_ id: UInt64) {
        guard let number = endpointNumbers.removeValue(forKey: id) else { return }
        let index = Int(number)
        removeNames(number, network: networks[Int(endpoints[index].network)].description.name)
        endpoints[index].network = -1
        endpoints[index].serial = 0
        endpoints[index].verdictSerial = 0
        endpoints[index].everything = nil
        endpoints[index].outside = [:]
        freeEndpoints.append(number)
    }

    private func addNames(_ number: Int32, network: String) {
        let index = Int(number)
        let endpoint = endpoints[index].description
        if let canonical = LocalNames.canonical(endpoint.name, network: network) {
            endpoints[index].canonical = canonical
        }
        endpoints[index].makeRecords(ttl: settings.localTTL)
        for entry in LocalNames.entries(endpoint, network: network) {
            table.add(
                entry.name, scope: entry.isBare ? UInt32(endpoints[index].network) + 1 : 0,
                NameTable.Target(endpoint: number, role: entry.role))
        }
        for address in endpoint.addresses {
            clients[ClientKey(network: endpoints[index].network, .init(address, port: 0))] = number
            byAddress[address] = number
        }
    }

    private func removeNames(_ number: Int32, network: String) {
        let index = Int(number)
        let endpoint = endpoints[index].description
        for entry in LocalNames.entries(endpoint, network: network) {
            table.remove(
                entry.name, scope: entry.isBare ? UInt32(endpoints[index].network) + 1 : 0, endpoint: number)
        }
        for address in endpoint.addresses {
            let key = ClientKey(network: endpoints[index].network, .init(address, port: 0))
            // Another endpoint may have been given the address already.
            if clients[key] == number { clients[key] = nil }
            if byAddress[address] == number { byAddress[address] = nil }
        }
    }
}
