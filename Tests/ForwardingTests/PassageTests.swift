import Testing
import Wire

@testable import Forwarding

struct PassageTests {
    private func port(_ targets: [String], _ standIns: [String]) throws -> ForwardedPort {
        ForwardedPort(
            id: 1, transport: .tcp, targets: try targets.map { try IPAddress($0) }, port: 80,
            standIns: try standIns.map { try IPAddress($0) })
    }

    private func passage(_ client: String, _ targets: [String], _ standIns: [String] = []) throws -> String {
        let own = AddressRanges([try CIDR("10.1.0.0/16"), try CIDR("fd01::/64")])
        let client = Place(try IPAddress(client), 5000)
        guard let passage = Passage(client, to: try port(targets, standIns), own: own) else { return "none" }
        let place = { (place: Place) in "\(place.address) \(place.port)" }
        return "\(place(passage.source)) > \(place(passage.target))" + (passage.isStandIn ? " !" : "")
    }

    private let both = ["10.1.0.2", "fd01::2"]
    private let gateways = ["10.1.0.1", "fd01::1"]

    @Test func `the endpoint sees the client`() throws {
        #expect(try passage("203.0.113.9", both, gateways) == "203.0.113.9 5000 > 10.1.0.2 80")
        #expect(try passage("2001:db8::9", both, gateways) == "2001:db8::9 5000 > fd01::2 80")
        #expect(try passage("10.2.0.1", both) == "10.2.0.1 5000 > 10.1.0.2 80")
    }

    @Test(arguments: [
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "224.0.0.1", "255.255.255.255", "10.1.0.1", "10.1.255.255",
    ])
    func `what no client inside can be is the gateway`(client: String) throws {
        #expect(try passage(client, both, gateways) == "10.1.0.1 0 > 10.1.0.2 80 !")
        #expect(try passage(client, both) == "none")
    }

    @Test(arguments: ["::1", "::", "fe80::1", "ff02::1", "fd01::2", "fd01::ffff"])
    func `nor over IPv6`(client: String) throws {
        #expect(try passage(client, both, gateways) == "fd01::1 0 > fd01::2 80 !")
    }

    @Test func `a client of the other family reaches the family that there is, as the gateway`() throws {
        #expect(try passage("2001:db8::9", ["10.1.0.2"], gateways) == "10.1.0.1 0 > 10.1.0.2 80 !")
        #expect(try passage("203.0.113.9", ["fd01::2"], gateways) == "fd01::1 0 > fd01::2 80 !")
        #expect(try passage("203.0.113.9", ["fd01::2"], ["10.1.0.1"]) == "none")
    }

    @Test func `ranges hold what their blocks hold, as a naive twin says`() throws {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<200 {
            let blocks = (0..<Int.random(in: 0...6, using: &random)).map { _ in
                CIDR(
                    containing: .v4(IPv4Address(bits: UInt32.random(in: 0..<256, using: &random) << 24)),
                    prefixLength: Int.random(in: 0...9, using: &random))
            }
            let ranges = AddressRanges(blocks)
            for first in UInt32(0)..<256 {
                for low in [0, 0x7f_ffff, 0x80_0000, 0xff_ffff] as [UInt32] {
                    let address = IPAddress.v4(IPv4Address(bits: first << 24 | low))
                    #expect(ranges.contains(address) == blocks.contains { $0.contains(address) })
                }
            }
            let all = ranges.ranges[.v4] ?? []
            for (one, next) in zip(all, all.dropFirst()) { #expect(one.upperBound + 1 < next.lowerBound) }
        }
        #expect(AddressRanges([try CIDR("::/0"), try CIDR("fd00::/8")]).ranges[.v6] == [0...UInt128.max])
    }
}
