import Netlink
import Testing
import Wire

/// Bytes as linux/pkt_sched.h, linux/pkt_cls.h and linux/tc_act/tc_mirred.h lay them out, for a little-endian host.
struct TrafficCodecTests {
    private func bytes(_ hex: String...) -> [UInt8] {
        let digits = hex.joined().filter { $0 != " " }
        return stride(from: 0, to: digits.count, by: 2).compactMap { offset in
            UInt8(digits.dropFirst(offset).prefix(2), radix: 16)
        }
    }

    private func message(_ type: MessageType, _ payload: [UInt8]) throws -> Message {
        var request = Request(type, [], subject: "") { _ in }
        request.payload = payload
        var writer = ByteWriter()
        request.encode(into: &writer, sequence: 1, port: 0)
        return try Message.parse(writer.bytes[...])[0]
    }

    private let handle = TrafficHandle(rawValue: 0x0001_0000)

    @Test func `a token bucket has its rate by Ethernet's rules and its burst in bytes`() {
        let request = Request.replaceQdisc(
            .root(link: 7, handle: handle, TokenBucket(rate: 2_500_000, burst: 10_000, limit: 125_000)))
        #expect(request.type == .newQdisc && request.flags == [.create, .replace])
        #expect(
            request.payload
                == bytes(
                    "00000000 07000000 00000100 ffffffff 00000000",  // tcmsg: link 7, 1:, root
                    "0800 0100 74626600",  // TCA_KIND "tbf"
                    "3400 0280",  // TCA_OPTIONS: 52
                    "2800 0100",  // TCA_TBF_PARMS: 40
                    "00 01 0000 0000 0000 a0252600",  // tc_ratespec: Ethernet, 2,500,000
                    "00 00 0000 0000 0000 00000000",  // no peak
                    "48e80100 00000000 00000000",  // limit 125,000; no ticks
                    "0800 0600 10270000"))  // TCA_TBF_BURST
    }

    @Test func `a rate of more than 32 bits is told in 64`() throws {
        let bucket = TokenBucket(rate: 12_500_000_000, burst: 1, limit: 2)
        let request = Request.replaceQdisc(.root(link: 7, handle: handle, bucket))
        #expect(request.payload.contains(bytes("0c00 0400 00dd0ee9 02000000")))
        let read = try Qdisc(message(.newQdisc, request.payload))
        // The kernel would not tell the burst.
        #expect(read.kind == .tokenBucket(TokenBucket(rate: 12_500_000_000, burst: 0, limit: 2)))
        #expect(read.link == 7 && read.handle == handle && read.parent == .root)
    }

    @Test func `a redirection matches everything and steals it`() throws {
        let redirection = Redirection(link: 7, target: 9)
        let request = Request.add(redirection)
        #expect(request.type == .newFilter && request.flags == [.create, .exclusive])
        #expect(
            request.payload
                == bytes(
                    "00000000 07000000 00000000 f2ffffff 00030100",  // priority 1, ETH_P_ALL
                    "0800 0100 75333200",  // TCA_KIND "u32"
                    "6000 0280",  // TCA_OPTIONS: 96
                    "3800 0780 3400 0180",  // TCA_U32_ACT, the first: 52
                    "0b00 0100 6d697272656400 00",  // TCA_ACT_KIND "mirred"
                    "2400 0280 2000 0200",  // TCA_ACT_OPTIONS, TCA_MIRRED_PARMS: 32
                    "00000000 00000000 04000000 00000000 00000000 01000000 09000000",
                    "2400 0500",  // TCA_U32_SEL: 36
                    "01000100 00000000 00000000 00000000",  // terminal, one key
                    "00000000 00000000 00000000 00000000"))
        #expect(try Redirection(message(.newFilter, request.payload)) == redirection)
    }

    @Test func `an ifb is a link of its kind and nothing more`() {
        let request = Request.addLink(LinkSpec(name: "fi0", queues: 1, kind: .ifb))
        #expect(request.payload.suffix(12) == bytes("0c00 1280", "0800 0100 69666200"))
    }

    @Test func `what a discipline has counted is read`() throws {
        let payload = bytes(
            "00000000 07000000 0000ffff f1ffffff 00000000", "0b00 0100 636c7361637400 00",
            "3000 0780",
            "1400 0100 e803000000000000 0a00000000000000",  // TCA_STATS_BASIC
            "1800 0300 01000000 02000000 03000000 04000000 05000000")  // TCA_STATS_QUEUE
        let qdisc = try Qdisc(message(.newQdisc, payload))
        #expect(qdisc.kind == .clsact)
        #expect(qdisc.statistics.bytes == 1000 && qdisc.statistics.packets == 10)
        #expect(qdisc.statistics.drops == 3 && qdisc.statistics.overlimits == 5)
    }

    @Test func `bytes that end early are an error`() {
        let whole = Request.add(Redirection(link: 7, target: 9)).payload
        for count in 0..<whole.count {
            _ = try? Redirection(message(.newFilter, Array(whole.prefix(count))))
        }
        let bucket = Request.replaceQdisc(
            .root(link: 7, handle: handle, TokenBucket(rate: 1, burst: 1, limit: 1))
        ).payload
        for count in 0..<60 {
            #expect(throws: (any Error).self, "\(count)") {
                let qdisc = try Qdisc(message(.newQdisc, Array(bucket.prefix(count))))
                if case .other = qdisc.kind { throw DecodeError("kind", at: count, "is missing") }
            }
        }
    }
}
