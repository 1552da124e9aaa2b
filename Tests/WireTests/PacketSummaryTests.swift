import Testing
import Wire

struct PacketSummaryTests {
    private static let a4: [UInt8] = [10, 0, 0, 1]
    private static let b4: [UInt8] = [10, 0, 0, 2]
    private static let a6: [UInt8] = [0xfd] + [UInt8](repeating: 0, count: 14) + [1]
    private static let b6: [UInt8] = [0xfd] + [UInt8](repeating: 0, count: 14) + [2]

    private static func ipv4(_ l4proto: UInt8, fragment: UInt16 = 0, options: [UInt8] = [], _ rest: [UInt8])
        -> [UInt8]
    {
        [
            UInt8(0x45 + options.count / 4), 0, 0, 60, 0, 1, UInt8(fragment >> 8), UInt8(fragment & 0xff), 64,
            l4proto, 0, 0,
        ]
            + a4 + b4 + options + rest
    }

    private static func ipv6(_ next: UInt8, _ rest: [UInt8]) -> [UInt8] {
        [0x60, 0, 0, 0, 0, 40, next, 64] + a6 + b6 + rest
    }

    private func read(_ etherType: UInt16, _ bytes: [UInt8]) throws -> PacketSummary? {
        // In the middle of something else, as payloads are.
        let room: [UInt8] = [9, 9, 9] + bytes + [9]
        return try PacketSummary(etherType: etherType, room[3..<3 + bytes.count])
    }

    @Test func `ports are read behind options, in whole packets and first fragments`() throws {
        let ports: [UInt8] = [0x10, 0, 0x00, 0x50]
        for (fragment, options) in [(0x4000, 0), (0x2000, 0), (0, 8), (0, 40)] as [(UInt16, Int)] {
            let packet = Self.ipv4(
                6, fragment: fragment, options: [UInt8](repeating: 1, count: options), ports)
            let summary = try #require(try read(0x0800, packet))
            #expect(summary.source == (try IPAddress("10.0.0.1")))
            #expect(summary.destination == (try IPAddress("10.0.0.2")))
            #expect(summary.l4proto == 6)
            #expect(summary.sourcePort == 4096)
            #expect(summary.destinationPort == 80)
        }
        let later = try #require(try read(0x0800, Self.ipv4(6, fragment: 1, ports)))
        #expect(later.l4proto == 6)
        #expect(later.destinationPort == nil, "a later fragment has no header")
    }

    @Test func `types are read of ICMP and ICMPv6, ports of neither`() throws {
        let ping = try #require(try read(0x0800, Self.ipv4(1, [8, 0, 1, 2, 3, 4])))
        #expect([ping.icmpType, ping.icmpCode] == [8, 0])
        #expect(ping.sourcePort == nil)
        let unreachable = try #require(try read(0x86dd, Self.ipv6(58, [1, 4, 0, 0])))
        #expect([unreachable.icmpType, unreachable.icmpCode] == [1, 4])
    }

    @Test func `extension headers are looked behind, up to eight`() throws {
        let udp: [UInt8] = [0, 53, 0, 99]
        // Hop-by-hop of 16 bytes, routing of 8, a first fragment, authentication of 12, destination options.
        let chain: [UInt8] =
            [43, 1] + [UInt8](repeating: 0, count: 14) + [44, 0, 0, 0, 0, 0, 0, 0]
            + [51, 0, 0, 1, 0, 0, 0, 7] + [60, 1] + [UInt8](repeating: 0, count: 10)
            + [17, 0, 0, 0, 0, 0, 0, 0]
        let summary = try #require(try read(0x86dd, Self.ipv6(0, chain + udp)))
        #expect(summary.l4proto == 17)
        #expect([summary.sourcePort, summary.destinationPort] == [53, 99])

        let fragment = try #require(try read(0x86dd, Self.ipv6(44, [17, 0, 0, 8, 0, 0, 0, 7] + udp)))
        #expect(fragment.l4proto == 17)
        #expect(fragment.destinationPort == nil)

        func options(_ count: Int) throws -> PacketSummary {
            let headers = (0..<count).flatMap { [$0 == count - 1 ? 17 : 60, 0, 0, 0, 0, 0, 0, 0] as [UInt8] }
            return try #require(try read(0x86dd, Self.ipv6(60, headers + udp)))
        }
        #expect(try options(7).destinationPort == 99)
        #expect(try options(9).destinationPort == nil)
    }

    @Test func `a packet cut anywhere is read as far as it goes, or refused with the place`() throws {
        let whole = Self.ipv4(17, options: [1, 1, 1, 1], [0, 53, 0, 99])
        for length in whole.indices {
            do {
                let summary = try read(0x0800, Array(whole[..<length]))
                #expect(length >= 20)
                #expect(summary?.destinationPort == nil || length >= 28)
            } catch {
                #expect(length < 20)
                #expect((error as? DecodeError)?.offset ?? 99 <= length)
            }
        }
        let six = Self.ipv6(0, [17, 0, 0, 0, 0, 0, 0, 0, 0, 53, 0, 99])
        for length in six.indices {
            if length < 40 {
                #expect(throws: DecodeError.self) { try read(0x86dd, Array(six[..<length])) }
            } else {
                _ = try read(0x86dd, Array(six[..<length]))
            }
        }
    }

    @Test func `versions and lengths that cannot be are refused`() throws {
        var packet = Self.ipv4(17, [0, 53, 0, 99])
        packet[0] = 0x65
        #expect(throws: DecodeError("IPv4 version", at: 0, "6 is not 4")) { try read(0x0800, packet) }
        packet[0] = 0x44
        #expect(throws: DecodeError("IPv4 header length", at: 0, "16 is below 20")) {
            try read(0x0800, packet)
        }
        #expect(throws: DecodeError("IPv6 version", at: 0, "4 is not 6")) { try read(0x86dd, packet) }
    }

    @Test func `ARP has two addresses and no protocol above; other frames have nothing`() throws {
        let arp: [UInt8] =
            [0, 1, 8, 0, 6, 4, 0, 1] + [2, 0, 0, 0, 0, 1] + Self.a4 + [0, 0, 0, 0, 0, 0] + Self.b4
        let summary = try #require(try read(0x0806, arp))
        #expect(
            summary
                == PacketSummary(
                    source: try IPAddress("10.0.0.1"), destination: try IPAddress("10.0.0.2"), l4proto: nil))
        #expect(throws: DecodeError.self) { try read(0x0806, [0, 6] + arp.dropFirst(2)) }
        #expect(try read(0x88cc, [1, 2, 3]) == nil)
    }
}
