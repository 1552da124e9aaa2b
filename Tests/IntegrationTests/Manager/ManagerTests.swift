import LabSupport
import Model
import Namespaces
import NetworkManager
import Sys
import Testing
import Wire

/// The library as a container runtime embeds it, in the lab's own network namespace, which stands for the
/// host.
@Suite(.serialized, .enabled(if: Lab.isAvailable())) struct ManagerTests {
    @Test func `a container gets an address and a handle to its statistics, and gives both back`()
        async throws
    {
        try await withManager { manager in
            let network = try await manager.createNetwork(NetworkRequest(name: "shop"))
            let (web, front) = (try ManagedContainer(), try ManagedContainer())
            let assigned = try await manager.assign(
                containerID: "c-web", network: "shop", namespace: .path(web.path), name: "web",
                labels: ["app": "web"])
            #expect(assigned.addresses.map(\.family) == [.v4, .v6])
            #expect(
                assigned.addresses.allSatisfy { address in network.subnets.contains { $0.contains(address) } }
            )
            let other = try await manager.assign(
                containerID: "c-front", network: "shop", namespace: .path(front.path))

            // Nobody has allowed anything: the attempt shows as a denial and as nothing else.
            #expect(try !front.reaches(assigned.addresses[0], port: 80, at: web))
            let denials = try await other.statistics().denials
            #expect(denials.map(\.reason) == [.defaultDeny(.egress, endpoint: other.endpoint.name)])

            #expect(try await manager.release(containerID: "c-web").map(\.endpoint.name) == ["web"])
            #expect(
                try await manager.release(containerID: "c-web").isEmpty, "what is gone already is no error")
            await #expect(throws: ModelError.notFound("endpoint", assigned.endpoint.id)) {
                try await assigned.statistics()
            }
        }
    }

    @Test func `tightening a policy cuts the connections that it allowed, and no others`() async throws {
        try await withManager { manager in
            try await manager.createNetwork(NetworkRequest(name: "shop"))
            let (web, front) = (try ManagedContainer(), try ManagedContainer())
            let server = try await manager.assign(
                containerID: "c-web", network: "shop", namespace: .path(web.path), name: "web",
                labels: ["app": "web"])
            _ = try await manager.assign(
                containerID: "c-front", network: "shop", namespace: .path(front.path), name: "front")
            var policy = FirewallPolicy(
                name: "open", selector: EndpointSelector(),
                ingress: [PolicyRule(ports: [PortMatch(.tcp, 80...81)])], egress: [PolicyRule()])
            #expect(try await manager.apply([policy]) == [.created])

            for address in server.addresses {
                let closing = try Connection(from: front, to: web, address, port: 80)
                let staying = try Connection(from: front, to: web, address, port: 81)
                #expect(try closing.carries("before"))
                policy.ingress[0].ports = [PortMatch(.tcp, 81...81)]
                #expect(try await manager.apply([policy]) == [.updated])
                #expect(try !closing.carries("after"), "nothing passes once the call has returned")
                #expect(try staying.carries("still"))
                policy.ingress[0].ports = [PortMatch(.tcp, 80...81)]
                try await manager.apply([policy])
                #expect(try !closing.carries("later"), "nothing in mid-stream gets back in")
            }
        }
    }

    @Test func `the next manager adopts links, rules and connections as they are`() async throws {
        let directory = try TemporaryDirectory()
        let (web, front) = (try ManagedContainer(), try ManagedContainer())
        var first: NetworkManager? = try await manager(directory)
        _ = try await first?.createNetwork(NetworkRequest(name: "shop"))
        let addresses = try #require(
            try await first?.assign(
                containerID: "c-web", network: "shop", namespace: .path(web.path), name: "web"
            ).addresses)
        _ = try await first?.assign(
            containerID: "c-front", network: "shop", namespace: .path(front.path), name: "front")
        try await first?.apply([
            FirewallPolicy(
                name: "open", selector: EndpointSelector(), ingress: [PolicyRule()], egress: [PolicyRule()])
        ])
        let connection = try Connection(from: front, to: web, addresses[0], port: 80)
        #expect(try connection.carries("one"))
        // As a process that was killed leaves things: nothing is taken down, and the store is free again.
        await first?.stop()
        first = nil

        let second = try await manager(directory)
        #expect(try connection.carries("two"))
        #expect(try await second.endpoints().map(\.endpoint.addresses).contains(addresses))
        #expect(try await second.deletePolicy("open").name == "open")
        #expect(try !connection.carries("three"))
        try await second.tearDown()
    }
}
