import Model
import Testing
import Wire

@testable import VNet

/// Allocation spelled out: every address in turn, from the one that the hash says.
private struct NaivePool {
    let free: [IPAddress]
    var used: Set<IPAddress> = []

    init(_ subnet: CIDR) {
        var all: [IPAddress] = []
        var offset: UInt128 = 0
        while let address = subnet.address(at: offset) {
            all.append(address)
            offset += 1
        }
        free = Array(all.dropFirst(2).dropLast(subnet.family == .v4 ? 1 : 0))
    }

    mutating func allocate(_ id: String) -> IPAddress? {
        let start = Int(Identifier.number(id, .low) % UInt128(free.count))
        let order = free[start...] + free[..<start]
        let found = order.first { !used.contains($0) }
        if let found { used.insert(found) }
        return found
    }
}

@Suite struct `Address allocation` {
    @Test(arguments: [
        "10.0.0.0/30", "10.0.0.0/29", "10.0.0.0/26", "10.1.0.0/22", "10.16.0.0/20", "fd00::/126",
        "fd00::/120", "fd00::/116",
    ])
    func `agrees with its naive twin through 10,000 attaches and releases`(_ text: String) throws {
        let subnet = try CIDR(text)
        var pool = AddressPool(subnet)
        var twin = NaivePool(subnet)
        #expect(pool.capacity == UInt128(twin.free.count))
        var random = Seeded(11)
        var held: [IPAddress] = []
        // The larger subnets fill to the brim first and then breathe, since a twin's step there costs
        // thousands.
        for step in 0..<10_000 {
            let release = step > twin.free.count ? Int.random(in: 0..<2, using: &random) == 0 : step % 8 == 7
            if release, !held.isEmpty {
                let address = held.remove(at: Int.random(in: 0..<held.count, using: &random))
                pool.release(address)
                twin.used.remove(address)
            } else {
                let id = "e\(step)"
                let expected = twin.allocate(id)
                let address = try? pool.allocate(endpointID: id)
                guard address == expected else {
                    Issue.record(
                        "step \(step): \(String(describing: address)) instead of \(String(describing: expected))"
                    )
                    return
                }
                if let address { held.append(address) }
            }
            guard pool.usedCount == twin.used.count else {
                Issue.record("step \(step): counts differ")
                return
            }
        }
        #expect(Set(held).count == held.count)
    }

    @Test func `fills a subnet to the last address and then says so`() throws {
        var pool = AddressPool(try CIDR("10.16.0.0/20"))
        var given: Set<IPAddress> = []
        for number in 0..<4_093 { given.insert(try pool.allocate(endpointID: "e\(number)")) }
        #expect(given.count == 4_093)
        let reserved = try ["10.16.0.0", "10.16.0.1", "10.16.15.255"].map { try IPAddress($0) }
        #expect(given.isDisjoint(with: reserved))
        let error = #expect(throws: ModelError.self) { try pool.allocate(endpointID: "one more") }
        #expect(error?.description == "subnet \"10.16.0.0/20\": is full: all 4093 addresses are taken")
    }

    @Test func `costs the same in a full /8 as in an empty one`() throws {
        // Endpoints that all want the same place make one long run of used addresses.
        var pool = AddressPool(try CIDR("10.0.0.0/8"))
        let first = try pool.allocate(endpointID: "same")
        for number in 1..<20_000 {
            let address = try pool.allocate(endpointID: "same")
            if address.bits != first.bits + UInt128(number) { Issue.record("not the next one"); return }
        }
        #expect(pool.usedCount == 20_000)
    }

    @Test func `a container gets the same address again, on any host`() throws {
        var one = AddressPool(try CIDR("fd00::/64"))
        var two = AddressPool(try CIDR("fd00::/64"))
        let address = try one.allocate(endpointID: "e")
        one.release(address)
        #expect(try one.allocate(endpointID: "e") == address)
        #expect(try two.allocate(endpointID: "e") == address)
    }
}

@Suite struct `Offset sets` {
    @Test func `find the same gap as counting up`() {
        var random = Seeded(5)
        for limit in [70, 5_000] as [UInt128] {
            var set = OffsetSet()
            var naive: Set<UInt128> = []
            for step in 0..<20_000 {
                let number = UInt128.random(in: 0..<limit, using: &random)
                // Full and empty in turns.
                let changed: Bool
                let expected: Bool
                if (step / 8_000) % 2 == 0 {
                    changed = set.insert(number)
                    expected = naive.insert(number).inserted
                } else {
                    changed = set.remove(number)
                    expected = naive.remove(number) != nil
                }
                var gap = UInt128.random(in: 0..<limit, using: &random)
                let found = set.firstGap(from: gap)
                while step % 16 == 0, naive.contains(gap) { gap += 1 }
                guard changed == expected, set.count == naive.count, step % 16 != 0 || found == gap
                else {
                    Issue.record("limit \(limit), step \(step)")
                    return
                }
            }
        }
    }

    @Test func `climb over many full levels`() {
        var set = OffsetSet()
        let base = UInt128(1) << 70
        for offset in 0..<UInt128(64 * 64 + 3) { set.insert(base + offset) }
        #expect(set.firstGap(from: base) == base + 64 * 64 + 3)
        #expect(set.firstGap(from: base - 1) == base - 1)
        set.remove(base + 100)
        #expect(set.firstGap(from: base + 5) == base + 100)
    }
}

@Suite struct `Endpoint allocation` {
    let network: Network
    let namespace = NamespaceReference(path: "/run/netns/x", device: 4, inode: 1)

    init() throws {
        let request = NetworkRequest(name: "shop", subnets: [try CIDR("10.7.0.0/24"), try CIDR("fd07::/64")])
        network = try AddressPlan.network(for: request, existing: [])
    }

    private func request(_ id: String, _ change: (inout EndpointRequest) throws -> Void = { _ in }) rethrows
        -> EndpointRequest
    {
        var request = EndpointRequest(network: "shop", containerID: id, namespace: .pid(1))
        try change(&request)
        return request
    }

    @Test func `gives one address of each family, a name, a link address and an interface`() throws {
        var allocator = EndpointAllocator(network)
        let endpoint = try allocator.assign(request("web"), namespace: namespace)
        #expect(endpoint.id == Identifier.endpoint(networkID: network.id, containerID: "web"))
        #expect(endpoint.addresses.map(\.family) == [.v4, .v6])
        #expect(zip(network.subnets, endpoint.addresses).allSatisfy { $0.contains($1) })
        #expect(endpoint.name == "web")
        #expect(endpoint.interfaceName == "eth0")
        #expect(endpoint.hostInterfaceName.utf8.count == 15)
        allocator.release(endpoint)
        #expect(try allocator.assign(request("web"), namespace: namespace) == endpoint)
        // The next manager adopts it.
        var adopted = EndpointAllocator(network, endpoints: [endpoint])
        #expect(throws: ModelError.self) {
            try adopted.assign(request("other") { $0.name = "web" }, namespace: namespace)
        }
    }

    @Test func `never gives anything twice`() throws {
        var allocator = EndpointAllocator(network)
        let endpoints = try (0..<253).map { try allocator.assign(request("c\($0)"), namespace: namespace) }
        #expect(Set(endpoints.flatMap(\.addresses)).count == 506)
        #expect(Set(endpoints.map(\.mac)).count == 253)
        #expect(Set(endpoints.map(\.name)).count == 253)
        let error = #expect(throws: ModelError.self) {
            try allocator.assign(request("late"), namespace: namespace)
        }
        #expect(error?.description == "subnet \"10.7.0.0/24\": is full: all 253 addresses are taken")
    }

    @Test func `fills one segment after another, and gaps first`() throws {
        var allocator = EndpointAllocator(network)
        let size = EndpointAllocator.segmentSize
        let endpoints = try (0..<size * 2 + 1).map {
            try allocator.assign(request("c\($0)"), namespace: namespace)
        }
        #expect(endpoints.map(\.segment) == (0..<size * 2 + 1).map { $0 / size })
        // The next manager, which adopts them, goes on where this one was.
        for var allocator in [allocator, EndpointAllocator(network, endpoints: endpoints)] {
            allocator.release(endpoints[size + 3])
            allocator.release(endpoints[3])
            let next = try (0..<3).map { try allocator.assign(request("n\($0)"), namespace: namespace) }
            #expect(next.map(\.segment) == [0, 1, 2])
        }
    }

    @Test func `honours what was asked for`() throws {
        var allocator = EndpointAllocator(network)
        let asked = try request("db") {
            $0.name = "database"
            $0.addresses = [try IPAddress("fd07::99"), try IPAddress("10.7.0.200")]
            $0.mac = try MACAddress("02:00:00:00:00:07")
            $0.interfaceName = "net0"
            $0.labels = ["app": "db"]
        }
        let endpoint = try allocator.assign(asked, namespace: namespace)
        #expect(endpoint.addresses.map(\.description) == ["10.7.0.200", "fd07::99"])
        #expect(endpoint.mac.description == "02:00:00:00:00:07")
        #expect((endpoint.name, endpoint.interfaceName) == ("database", "net0"))
        #expect(endpoint.labels == ["app": "db"])
        try asked.check(matches: endpoint)
    }

    @Test(arguments: [
        ("10.8.0.5", "ip \"10.8.0.5\": is outside the network's subnet 10.7.0.0/24"),
        ("10.7.0.0", "ip \"10.7.0.0\": is the subnet's own address of 10.7.0.0/24"),
        ("10.7.0.1", "ip \"10.7.0.1\": is the gateway's address of 10.7.0.0/24"),
        ("10.7.0.255", "ip \"10.7.0.255\": is the broadcast address of 10.7.0.0/24"),
        ("fd07::1", "ip \"fd07::1\": is the gateway's address of fd07::/64"),
        ("10.7.0.50", "ip \"10.7.0.50\" is taken"),
    ])
    func `refuses an address with the reason, and takes nothing then`(_ text: String, _ message: String)
        throws
    {
        var allocator = EndpointAllocator(network)
        _ = try allocator.assign(
            request("first") { $0.addresses = [try IPAddress("10.7.0.50")] }, namespace: namespace)
        let error = #expect(throws: ModelError.self) {
            try allocator.assign(
                request("second") {
                    let other = text.contains(":") ? "10.7.0.60" : "fd07::60"
                    $0.addresses = [try IPAddress(other), try IPAddress(text)]
                    $0.name = "second"
                }, namespace: namespace)
        }
        #expect(error?.description == message)
        let after = try request("third") {
            $0.addresses = [try IPAddress("10.7.0.60"), try IPAddress("fd07::60")]
            $0.name = "second"
        }
        #expect(throws: Never.self) { try allocator.assign(after, namespace: namespace) }
    }

    @Test func `tells apart containers whose ids begin alike`() throws {
        var allocator = EndpointAllocator(network)
        let prefix = String(repeating: "ab", count: 30)
        let one = try allocator.assign(request(prefix + "0001"), namespace: namespace)
        let two = try allocator.assign(request(prefix + "0002"), namespace: namespace)
        #expect(one.name == "abababababab")
        #expect(two.name.hasPrefix("abababababab-") && two.name != one.name)
        try Name.check(two.name, field: "name")
    }

    @Test func `refuses a name or link address that is taken`() throws {
        var allocator = EndpointAllocator(network)
        let first = try allocator.assign(request("one") { $0.name = "web" }, namespace: namespace)
        let name = #expect(throws: ModelError.self) {
            try allocator.assign(request("two") { $0.name = "web" }, namespace: namespace)
        }
        #expect(name?.description == "name \"web\" is taken in network shop")
        let mac = #expect(throws: ModelError.self) {
            try allocator.assign(request("two") { $0.mac = first.mac }, namespace: namespace)
        }
        #expect(mac?.description == "mac \"\(first.mac)\" is taken in network shop")
    }
}

/// SplitMix64: the same numbers every time.
private struct Seeded: RandomNumberGenerator {
    private var state: UInt64
    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
        return mixed ^ mixed >> 31
    }
}
