import LabSupport
import Model
import NetworkManager
import Testing
import Wire

extension ManagerTests {
    @Test func `a dry run names who gains and loses reach and what would be cut, and changes nothing`()
        async throws
    {
        try await withManager { manager in
            try await manager.createNetwork(NetworkRequest(name: "shop", isolation: .none))
            let (web, front, other) = (try ManagedContainer(), try ManagedContainer(), try ManagedContainer())
            let server = try await manager.assign(
                containerID: "c-web", network: "shop", namespace: .path(web.path), name: "web")
            for (name, container) in [("front", front), ("other", other)] {
                _ = try await manager.assign(
                    containerID: "c-\(name)", network: "shop", namespace: .path(container.path), name: name,
                    labels: ["app": name])
            }
            var open = FirewallPolicy(
                name: "open", selector: EndpointSelector(endpoints: ["web"]), directions: [.ingress],
                ingress: [
                    PolicyRule(
                        peers: [.endpoints(EndpointSelector(matchLabels: ["app": "front"]))],
                        ports: [PortMatch(.tcp, 80...81)])
                ])
            let out = FirewallPolicy(
                name: "out", selector: EndpointSelector(), directions: [.egress], egress: [PolicyRule()])
            try await manager.apply([open, out])
            let address = server.addresses[0]
            let connection = try Connection(from: front, to: web, address, port: 81)

            open.ingress = [
                PolicyRule(
                    peers: [.endpoints(EndpointSelector(matchLabels: ["app": "front"]))],
                    ports: [PortMatch(.tcp, 80...80)]),
                PolicyRule(
                    peers: [.endpoints(EndpointSelector(matchLabels: ["app": "other"]))],
                    ports: [PortMatch(.udp, 53...53)]),
                PolicyRule(peers: [.cidr(try CIDR("192.0.2.0/24"), except: [])], ports: [PortMatch(.icmp)]),
            ]
            let effect = try await manager.preview([open])
            #expect(effect.changes == [.updated])
            let lines = effect.reach.map { change in
                "\(change.gains ? "gain" : "lose") \(text(change.from)) \(text(change.to)) \(change.ports)"
            }
            #expect(
                Set(lines) == [
                    "lose front web 81/tcp", "gain other web 53/udp", "gain 192.0.2.0-192.0.2.255 web icmp",
                ])
            let lost = try #require(effect.reach.first { !$0.gains })
            #expect(lost.before.isAllowed)
            #expect(lost.after == .denied(.defaultDeny(.ingress, endpoint: "web")))
            #expect(effect.cuts.map(\.reason) == [.defaultDeny(.ingress, endpoint: "web")])
            #expect(effect.cuts.first?.flow.transport == .tcp(81))

            #expect(try connection.carries("still"))
            #expect(try front.reaches(address, port: 81, at: web))
            try await manager.apply([open])
            #expect(try !connection.carries("no more"))
            #expect(try await manager.preview([open]).reach.isEmpty)
        }
    }

    private func text(_ end: ReachChange.End) -> String {
        switch end {
        case .endpoint(let member): member.endpoint.name
        case .outside(let first, let last): "\(first)-\(last)"
        }
    }
}
