import LabSupport
import Model
import NetworkManager
import Testing
import Wire

/// Changes that are larger than what an ordinary user's socket takes at a time.
extension ManagerTests {
    @Test func `a change of any size is in force all at once, and what both rules allow passes meanwhile`()
        async throws
    {
        try await withManager { manager in
            try await manager.createNetwork(NetworkRequest(name: "shop", isolation: .none))
            let (web, front) = (try ManagedContainer(), try ManagedContainer())
            let server = try await manager.assign(
                containerID: "c-web", network: "shop", namespace: .path(web.path), name: "web")
            _ = try await manager.assign(
                containerID: "c-front", network: "shop", namespace: .path(front.path), name: "front")
            try await manager.apply([
                FirewallPolicy(
                    name: "open", selector: EndpointSelector(),
                    ingress: [PolicyRule(ports: [PortMatch(.tcp, 80...80)])], egress: [PolicyRule()])
            ])
            let address = server.addresses[0]
            #expect(try front.reaches(address, port: 80, at: web))

            // Every other address of a /18 outside, so that no two can become one run.
            let blocks = try (0..<8000).map { number in
                PolicyPeer.cidr(try CIDR("198.18.\(number / 128).\(number % 128 * 2)/32"), except: [])
            }
            for round in 0..<4 {
                let large = FirewallPolicy(
                    name: "large", selector: EndpointSelector(),
                    ingress: [
                        PolicyRule(
                            peers: blocks,
                            ports: [PortMatch(.tcp, UInt16(1000 + round)...UInt16(1000 + round))])
                    ],
                    egress: [])
                let applying = Task { try await manager.apply([large]) }
                var tries = 0
                repeat {
                    #expect(try front.reaches(address, port: 80, at: web), "while round \(round) is applied")
                    #expect(try !front.reaches(address, port: 81, at: web))
                    tries += 1
                } while tries < 3
                #expect(try await applying.value == [round == 0 ? .created : .updated])
                #expect(try front.reaches(address, port: 80, at: web))
                #expect(
                    try await manager.explain(
                        FlowQuery(from: "198.18.0.2", to: "web", transport: .tcp(UInt16(1000 + round)))
                    ).decision.isAllowed)
            }
            // Small changes go on from there.
            try await manager.deletePolicy("open")
            #expect(try !front.reaches(address, port: 80, at: web))
        }
    }
}
