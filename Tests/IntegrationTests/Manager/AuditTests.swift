import LabSupport
import Model
import NetworkManager
import Testing
import Wire

extension ManagerTests {
    @Test func `a policy in audit mode denies nothing, allows nothing, and counts what it would deny`()
        async throws
    {
        try await withManager { manager in
            try await manager.createNetwork(NetworkRequest(name: "shop"))
            let (web, front) = (try ManagedContainer(), try ManagedContainer())
            let server = try await manager.assign(
                containerID: "c-web", network: "shop", namespace: .path(web.path), name: "web")
            let client = try await manager.assign(
                containerID: "c-front", network: "shop", namespace: .path(front.path), name: "front")
            let open = FirewallPolicy(
                name: "open", selector: EndpointSelector(),
                ingress: [PolicyRule(ports: [PortMatch(.tcp, 80...81)])], egress: [PolicyRule()])
            try await manager.apply([open])
            for address in server.addresses {
                let connection = try Connection(from: front, to: web, address, port: 81)
                var strict = FirewallPolicy(
                    name: "strict", selector: EndpointSelector(endpoints: ["web"]), directions: [.ingress],
                    ingress: [PolicyRule(ports: [PortMatch(.tcp, 82...82)])],
                    ingressDeny: [PolicyRule(ports: [PortMatch(.tcp, 81...81)])])
                strict.mode = .audit
                let before = try await server.statistics().audited.reduce(0) { $0 + $1.packets }
                try await manager.apply([strict])
                #expect(try connection.carries("still"))
                #expect(try front.reaches(address, port: 80, at: web))
                #expect(try front.reaches(address, port: 81, at: web))
                #expect(try !front.reaches(address, port: 82, at: web), "it allows nothing either")
                let query = FlowQuery(from: "front", to: "web", transport: .tcp(81))
                let rule = RuleReference(policy: "strict", list: .ingressDeny)
                let explanation = try await manager.explain(query)
                #expect(explanation.decision.isAllowed)
                #expect(explanation.audit == .rule(rule))
                let statistics = try await server.statistics()
                #expect(statistics.audited.map(\.reason).contains(.rule(rule)))
                #expect(statistics.audited.reduce(0) { $0 + $1.packets } == before + 1)
                #expect(try await client.statistics().audited.isEmpty)

                strict.mode = .enforce
                try await manager.apply([strict])
                #expect(try !connection.carries("no more"))
                #expect(try !front.reaches(address, port: 81, at: web))
                try await manager.deletePolicy("strict")
            }
        }
    }
}
