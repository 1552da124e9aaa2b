import Forwarding
import Testing
import Wire

struct OrderTests {
    private func address(_ text: String) throws -> IPAddress { try IPAddress(text) }

    private func orders() throws -> [ForwardOrder] {
        [
            .publish(
                ForwardedPort(
                    id: 7, transport: .tcp, targets: [try address("10.1.0.2"), try address("fd01::2")],
                    port: 80,
                    standIns: [try address("10.1.0.1")], limit: 9)),
            .publish(
                ForwardedPort(id: .max, transport: .udp, targets: [try address("fd01::2")], port: 65535)),
            .withdraw(id: 3), .refill(.v6, .udp), .refill(.v4, .tcp),
            .own([], isLast: true), .own([try CIDR("10.0.0.0/8"), try CIDR("fd00::/8")], isLast: false),
            .beginResync, .endResync, .count(request: 5), .publish(.gate(id: 9)),
            .host(id: 4, isAllowed: true),
        ]
    }

    private func reports() throws -> [ForwardReport] {
        var counters = ForwardCounters()
        (counters.opened, counters.active, counters.failed) = (1, 2, 3)
        (counters.standIns, counters.renumbered, counters.evicted) = (4, 5, 6)
        (counters.dropped, counters.bytesIn, counters.bytesOut) = (7, 8, .max)
        return [
            .wantSockets(.v4, .udp, count: 64), .holds([], isLast: true), .holds([1, .max], isLast: false),
            .counters(request: 0, [:], isLast: true),
            .counters(request: .max, [5: counters, 6: ForwardCounters()], isLast: false),
            .published(id: 1), .withdrawn(id: 2), .failed(id: 3, errno: -4), .hostsEnded([]),
            .hostsEnded([5, .max]),
            .mayReach(
                HostClaim(
                    id: 6, client: try address("10.1.0.2"), destination: try address("2001:db8::1"),
                    port: 443,
                    host: "api.example.com", isUnderWay: true)),
            .hostRefused(
                client: try address("fd01::2"), destination: try address("192.0.2.1"), port: 80, .encrypted),
        ]
    }

    @Test func `orders and reports survive the way`() throws {
        for order in try orders() { #expect(try ForwardOrder(order.encoded[...]) == order) }
        for report in try reports() { #expect(try ForwardReport(report.encoded[...]) == report) }
    }

    @Test func `a message cut anywhere, or with something behind it, is refused or another whole one`() throws
    {
        for order in try orders() {
            let bytes = order.encoded
            for length in 0..<bytes.count {
                if let other = try? ForwardOrder(bytes[..<length]) {
                    #expect(other != order && other.encoded == Array(bytes[..<length]))
                }
            }
            #expect(throws: DecodeError.self) { try ForwardOrder((bytes + [0])[...]) }
        }
        for report in try reports() {
            #expect(throws: DecodeError.self) { try ForwardReport((report.encoded + [0])[...]) }
        }
    }

    @Test(arguments: [
        [], [0], [9], [8, 0, 0, 0, 1, 2], [9, 0, 0, 0, 0], [2, 0], [3, 5, 6], [3, 4, 7],
        [4, 1, 4, 10, 0, 0, 0, 33], [4, 2],
        // No port, no target, two targets of a family, an impossible family.
        [1, 0, 0, 0, 1, 6, 0, 0, 0, 0, 0, 0, 1, 4, 10, 0, 0, 1, 0],
        [1, 0, 0, 0, 1, 6, 0, 80, 0, 0, 0, 0, 0, 0],
        [1, 0, 0, 0, 1, 6, 0, 80, 0, 0, 0, 0, 2, 4, 10, 0, 0, 1, 4, 10, 0, 0, 2, 0],
        [1, 0, 0, 0, 1, 6, 0, 80, 0, 0, 0, 0, 1, 5, 10, 0, 0, 1, 0],
    ])
    func `what makes no sense is refused`(bytes: [UInt8]) {
        #expect(throws: DecodeError.self) { try ForwardOrder(bytes[...]) }
    }

    @Test func `the longest messages are within the limit`() throws {
        let subnet = try CIDR("fd00::/64")
        let own = ForwardOrder.own(Array(repeating: subnet, count: ForwardOrder.subnetLimit), isLast: false)
        #expect(own.encoded.count <= ForwardOrder.limit)
        let counters = Dictionary(uniqueKeysWithValues: (0..<512).map { (UInt32($0), ForwardCounters()) })
        #expect(
            ForwardReport.counters(request: 1, counters, isLast: false).encoded.count <= ForwardOrder.limit)
    }
}
