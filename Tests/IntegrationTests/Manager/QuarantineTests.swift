import LabSupport
import Model
import NetworkManager
import Testing
import Wire

extension ManagerTests {
    /// A web server and two clients in a network in which policy allows everything.
    private func open(_ manager: NetworkManager) async throws -> [(
        container: ManagedContainer, endpoint: Endpoint
    )] {
        try await manager.createNetwork(NetworkRequest(name: "shop"))
        try await manager.apply([
            FirewallPolicy(
                name: "open", selector: EndpointSelector(), ingress: [PolicyRule()], egress: [PolicyRule()])
        ])
        var all: [(ManagedContainer, Endpoint)] = []
        for name in ["web", "front", "other"] {
            let container = try ManagedContainer()
            let assigned = try await manager.assign(
                containerID: "c-\(name)", network: "shop", namespace: .path(container.path), name: name,
                labels: ["app": name])
            all.append((container, assigned.endpoint))
        }
        return all
    }

    @Test func `a quarantine cuts an endpoint off at once and for a time, and nobody else`() async throws {
        try await withManager { manager in
            let all = try await open(manager)
            let (web, front, other) = (all[0], all[1], all[2])
            for address in web.endpoint.addresses {
                let connection = try Connection(from: front.container, to: web.container, address, port: 80)
                let bystander = try Connection(
                    from: front.container, to: other.container, other.endpoint.addresses[0], port: 80)
                #expect(try connection.carries("before"))
                #expect(try bystander.carries("before"))
                let member = try await manager.quarantine("web")
                #expect(member.quarantine?.until == nil)
                #expect(try !connection.carries("after"), "nothing passes once the call has returned")
                #expect(try bystander.carries("still"))
                #expect(try !front.container.reaches(address, port: 80, at: web.container))
                #expect(
                    try !web.container.reaches(
                        front.endpoint.address(address.family)!, port: 80, at: front.container))
                let query = FlowQuery(from: "front", to: "web", transport: .tcp(80))
                #expect(try await manager.explain(query).decision == .denied(.quarantine(endpoint: "web")))
                let reasons = try await manager.statistics(["web"])[0].denials.map(\.reason)
                #expect(reasons.contains(.quarantine(endpoint: "web")))

                #expect(try await manager.endQuarantine("web")?.quarantine == nil)
                #expect(try !connection.carries("later"), "nothing in mid-stream gets back in")
                #expect(try front.container.reaches(address, port: 80, at: web.container))
            }
            await #expect(throws: ModelError.precondition("endpoint", "web", "is not quarantined")) {
                try await manager.endQuarantine("web")
            }
            let address = web.endpoint.addresses[0]
            try await manager.quarantine("web", for: .milliseconds(400))
            #expect(try !front.container.reaches(address, port: 80, at: web.container))
            try await Task.sleep(for: .milliseconds(500))
            #expect(try front.container.reaches(address, port: 80, at: web.container))
        }
    }

    @Test func `a quarantined endpoint talks with whom it is excepted for, as far as policy allows`()
        async throws
    {
        try await withManager { manager in
            let all = try await open(manager)
            let (web, front, other) = (all[0], all[1], all[2])
            for address in web.endpoint.addresses {
                let own = front.endpoint.address(address.family)!
                for peer in ["front:80/tcp", "shop/front", "\(CIDR(own))"] {
                    try await manager.quarantine("web", allowing: [try QuarantineException(peer)])
                    #expect(try front.container.reaches(address, port: 80, at: web.container), "\(peer)")
                    #expect(try !other.container.reaches(address, port: 80, at: web.container), "\(peer)")
                    let isAllPorts = !peer.hasSuffix("/tcp")
                    #expect(
                        try front.container.reaches(address, port: 81, at: web.container) == isAllPorts,
                        "\(peer)")
                }
                // It takes away only.
                try await manager.deletePolicy("open")
                #expect(try !front.container.reaches(address, port: 80, at: web.container))
                try await manager.apply([
                    FirewallPolicy(
                        name: "open", selector: EndpointSelector(), ingress: [PolicyRule()],
                        egress: [PolicyRule()])
                ])
                try await manager.endQuarantine("web")
            }
        }
    }

    @Test func `a quarantine survives a restart, and the container's own`() async throws {
        let directory = try TemporaryDirectory()
        var first: NetworkManager? = try await manager(directory)
        let all = try await open(try #require(first))
        let (web, front) = (all[0], all[1])
        try await first?.quarantine("web", for: .seconds(60))
        await first?.stop()
        first = nil

        let second = try await manager(directory)
        #expect(try await second.endpoint("web").quarantine?.until != nil)
        let address = web.endpoint.addresses[0]
        #expect(try !front.container.reaches(address, port: 80, at: web.container))
        try await second.release(containerID: "c-web")
        let again = try ManagedContainer()
        _ = try await second.assign(
            containerID: "c-web", network: "shop", namespace: .path(again.path), name: "web")
        #expect(try !front.container.reaches(address, port: 80, at: again))
        try await second.endQuarantine("web")
        #expect(try front.container.reaches(address, port: 80, at: again))
        try await second.tearDown()
    }

    @Test func `new labels are in force at once, for established connections too`() async throws {
        try await withManager { manager in
            let all = try await open(manager)
            let (web, front, other) = (all[0], all[1], all[2])
            try await manager.apply([
                FirewallPolicy(
                    name: "open", selector: EndpointSelector(),
                    ingress: [
                        PolicyRule(peers: [.endpoints(EndpointSelector(matchLabels: ["app": "front"]))])
                    ],
                    egress: [PolicyRule()])
            ])
            for address in web.endpoint.addresses {
                let connection = try Connection(from: front.container, to: web.container, address, port: 80)
                #expect(try connection.carries("before"))
                #expect(try !other.container.reaches(address, port: 80, at: web.container))
                try await manager.relabel(endpoint: "other", set: ["app": "front"])
                #expect(try other.container.reaches(address, port: 80, at: web.container))
                #expect(try connection.carries("still"))
                try await manager.relabel(endpoint: "front", set: ["tier": "x"], remove: ["app"])
                #expect(try !connection.carries("after"))
                try await manager.relabel(endpoint: "front", set: ["app": "front"], remove: ["tier"])
                try await manager.relabel(endpoint: "other", set: ["app": "other"])
                #expect(try !connection.carries("later"), "nothing in mid-stream gets back in")
            }
            await #expect(throws: ModelError.self) {
                try await manager.relabel(endpoint: "web", set: ["": "x"])
            }
        }
    }
}
