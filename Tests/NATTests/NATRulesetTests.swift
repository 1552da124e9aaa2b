import Model
import NAT
import Netlink
import Testing
import Wire

@Suite struct NATRulesetTests {
    private func network(_ name: String, _ subnets: [String], nat: Bool) throws -> Network {
        Network(
            id: name, name: name, subnets: try subnets.map { try CIDR($0) }, isolation: .peerOnly,
            defaultVerdict: .deny, mtu: 1500, labels: [:], nat: nat)
    }

    @Test func `without a network that may be left there is nothing`() throws {
        #expect(NATRuleset([], bridgeGroup: 7).isEmpty)
        #expect(NATRuleset([try network("a", ["10.1.0.0/24"], nat: false)], bridgeGroup: 7).isEmpty)
    }

    @Test func `subnets of networks with NAT are the elements, as intervals that are open at their end`()
        throws
    {
        let ruleset = NATRuleset(
            [
                try network("a", ["10.1.0.0/24", "fd00:1::/64"], nat: true),
                try network("b", ["10.1.1.0/24"], nat: true), try network("c", ["10.2.0.0/24"], nat: false),
            ], bridgeGroup: 7)
        #expect(ruleset.elements.map(\.set.name).prefix(2) == ["sources4", "sources6"])
        #expect(ruleset.elements.dropFirst(2).allSatisfy { $0.elements.isEmpty })
        #expect(
            ruleset.elements[0].elements == [
                NftElement(key: [10, 1, 0, 0]), NftElement(key: [10, 1, 1, 0], isIntervalEnd: true),
                NftElement(key: [10, 1, 1, 0]), NftElement(key: [10, 1, 2, 0], isIntervalEnd: true),
            ])
        let (first, end) = (try IPAddress("fd00:1::"), try IPAddress("fd00:1:0:1::"))
        #expect(
            ruleset.elements[1].elements == [
                NftElement(key: first.bytes), NftElement(key: end.bytes, isIntervalEnd: true),
            ])
    }

    @Test func `what leaves by one of our bridges is not translated, whatever its source`() throws {
        let rules = NATRuleset([try network("a", ["10.1.0.0/24"], nat: true)], bridgeGroup: 0x0102_0304).rules
        let outward = rules.filter { $0.comment == "from a network that may be left, to the outside" }
        #expect(outward.count == 2)
        for rule in outward {
            let group = rule.expressions.firstIndex(of: .meta(.oifgroup, .r(0)))
            let place = try #require(group)
            guard case .cmp(.neq, _, let bytes) = rule.expressions[place + 1] else {
                Issue.record("the group is not compared")
                continue
            }
            #expect(Set(bytes) == [1, 2, 3, 4])
            #expect(rule.expressions.last == .masquerade)
        }
    }
}
