import DNS
import LabSupport
import Model
import Sys
import Testing
import Wire

@testable import NetworkManager

/// What the manager makes of the sockets that a resolver says that it has.
@Suite(.enabled(if: Lab.isAvailable(), "needs a lab")) struct NameDeskTests {
    private func network(_ number: UInt8) throws -> Network {
        Network(
            id: String(repeating: "0", count: 15) + "\(number)", name: "n\(number)",
            subnets: [try CIDR("127.53.\(number).0/24")], isolation: .none, defaultVerdict: .deny, mtu: 1500,
            labels: [:], dns: DNSSettings())
    }

    private func listeners(_ network: Network) -> [ListenerDescription] {
        [DNSTransport.udp, .tcp].map {
            ListenerDescription(network: network.number, transport: $0, address: network.gateway(.v4))
        }
    }

    @Test func `what a resolver had that ended before its last part is not the next one's`() throws {
        let network = try network(4)
        var desk = NameDesk()
        defer { desk.close(network) }
        _ = desk.resolverHas(listeners(network) + [NameDesk.host], isLast: false, [network])
        desk.line = nil
        #expect(desk.resolverHas([], isLast: true, [network]).isEmpty)
        #expect(Set(desk.waiting.keys) == Set(listeners(network)))
        #expect(desk.lacksHost)
    }

    @Test func `sockets are opened for those networks alone that no part of what it says has`() throws {
        let networks = try [UInt8(1), 2, 3].map(network)
        var desk = NameDesk()
        defer { for network in networks { desk.close(network) } }
        #expect(desk.resolverHas(listeners(networks[0]) + [NameDesk.host], isLast: false, networks).isEmpty)
        #expect(desk.waiting.isEmpty)
        #expect(desk.resolverHas(listeners(networks[1]), isLast: true, networks).isEmpty)
        #expect(Set(desk.waiting.keys) == Set(listeners(networks[2])))
        #expect(!desk.lacksHost)
        // Another answer is another matter.
        for network in networks { desk.close(network) }
        #expect(desk.resolverHas(listeners(networks[2]), isLast: true, networks).isEmpty)
        #expect(Set(desk.waiting.keys) == Set(networks.prefix(2).flatMap(listeners)))
        #expect(desk.lacksHost)
    }
}
