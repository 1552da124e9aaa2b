import Model
import Protos
import SwiftProtobuf
import Testing
import Wire

@testable import API

@Suite struct PolicyMessageTests {
    @Test func `keeps everything of a policy on the way there and back`() throws {
        let policy = FirewallPolicy(
            name: "web",
            selector: EndpointSelector(matchLabels: ["app": "web"], endpoints: ["a", "b"], network: "lan"),
            directions: [.ingress],
            allowPorts: [PortMatch(.tcp, 80...80), PortMatch(.udp), PortMatch(.icmp)],
            trustedPeers: [
                .endpoints(EndpointSelector()),
                .cidr(try CIDR("10.0.0.0/8"), except: [try CIDR("10.1.0.0/16")]),
            ],
            limits: EndpointLimits(
                ingress: TrafficLimit(connections: 5, packets: 7),
                egress: TrafficLimit(bandwidth: Bandwidth(kilobits: 100_000_000))),
            ingress: [
                PolicyRule(), PolicyRule(peers: [], ports: []),
                PolicyRule(
                    limit: TrafficLimit(connections: 1, packets: 2, bandwidth: Bandwidth(kilobits: 16))),
            ],
            egress: [PolicyRule(ports: [PortMatch(.tcp, 1...65_535)])],
            ingressDeny: [PolicyRule(peers: nil, ports: [])],
            egressDeny: [PolicyRule(peers: [.endpoints(EndpointSelector(endpoints: []))])])
        #expect(try FirewallPolicy(Forge_Network_V1_Policy(policy)) == policy)
    }

    @Test func `takes the short form of a limit, alone or beside the long one that says the same`() throws {
        var message = Forge_Network_V1_Policy.with {
            $0.name = "p"
            $0.rateLimit = 5
        }
        #expect(try FirewallPolicy(message).limits.ingress == TrafficLimit(connections: 5))
        message.limits.ingress.packets = 7
        #expect(try FirewallPolicy(message).limits.ingress == TrafficLimit(connections: 5, packets: 7))
        message.limits.ingress.connections = 6
        expectInvalid("policy p: rateLimit \"5\": is short for") { try FirewallPolicy(message) }
    }

    @Test func `takes a policy without directions for both`() throws {
        #expect(try FirewallPolicy(.with { $0.name = "p" }).directions == [.ingress, .egress])
    }

    @Test(
        arguments: [
            Spoiled("policy \"\"") { $0.name = "" },
            Spoiled("policy p: directions \"7\"") { $0.directions = [.UNRECOGNIZED(7)] },
            Spoiled("policy p: allowPorts[0] \"0\": the protocol") { $0.allowPorts.ranges = [.init()] },
            Spoiled("policy p: ingress[0].ports[0] \"9-5\"") {
                $0.ingress = [.with { $0.ports.ranges = [range(.tcp, 9, 5)] }]
            },
            Spoiled("policy p: egress[0].ports[0] \"0-5\"") {
                $0.egress = [.with { $0.ports.ranges = [range(.udp, 0, 5)] }]
            },
            Spoiled("\"1-65536\"") { $0.egress = [.with { $0.ports.ranges = [range(.tcp, 1, 65_536)] }] },
            Spoiled("ICMP has no ports") { $0.egress = [.with { $0.ports.ranges = [range(.icmp, 8, 8)] }] },
            Spoiled("policy p: ingressDeny[0].peers[0]") {
                $0.ingressDeny = [.with { $0.peers.peers = [.init()] }]
            },
            Spoiled("policy p: trustedPeers[0].cidr \"10.0.0.1/8\"") {
                $0.trustedPeers.peers = [.with { $0.block.cidr = "10.0.0.1/8" }]
            },
        ] as [Spoiled<Forge_Network_V1_Policy>])
    func `names the field and the value of a bad policy`(
        spoiled: Spoiled<Forge_Network_V1_Policy>
    ) {
        var policy = Forge_Network_V1_Policy.with { $0.name = "p" }
        spoiled.change(&policy)
        expectInvalid(spoiled.message) { try FirewallPolicy(policy) }
    }

    @Test func `pages through everything once whatever comes and goes`() {
        let first = Page(["d", "b", "a", "c"], size: 2, token: "", key: { $0 })
        #expect(first.elements == ["a", "b"])
        let second = Page(["d", "bb", "c"], size: 2, token: first.nextToken, key: { $0 })
        #expect(second.elements == ["bb", "c"])
        let third = Page(["d"], size: 2, token: second.nextToken, key: { $0 })
        #expect(third.elements == ["d"])
        #expect(third.nextToken.isEmpty)
        #expect(Page([String](), size: 0, token: "x", key: { $0 }).elements.isEmpty)
    }
}

private func range(_ transport: Forge_Network_V1_Protocol, _ first: UInt32, _ last: UInt32)
    -> Forge_Network_V1_PortRange
{
    .with {
        $0.protocol = transport
        $0.first = first
        $0.last = last
    }
}
