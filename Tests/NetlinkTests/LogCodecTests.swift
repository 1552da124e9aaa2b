import Netlink
import Testing
import Wire

struct LogCodecTests {
    /// A message as nfnetlink_log sends it, of a packet that came by a bridge's port.
    private func message(
        _ type: UInt16 = 0x0400, header: [UInt8] = [0x08, 0x00, 2, 0],
        _ more: (inout PayloadWriter) -> Void = { _ in }
    ) throws -> Message {
        let request = Request(MessageType(rawValue: type), [], subject: "") { writer in
            writer.header { $0.append([2, 0, 0xf0, 0x6e]) }
            writer.attribute(1, bytes: header)
            writer.attribute(10, string: "egress")
            writer.attributeBE(2, UInt32(0x8000_0001))
            writer.attributeBE(4, UInt32(3))
            writer.attributeBE(6, UInt32(7))
            writer.attribute(9, bytes: [0x45, 0, 0])
            writer.attributeBE(12, UInt32(41))
            more(&writer)
        }
        var buffer = ByteWriter()
        request.encode(into: &buffer, sequence: 0, port: 0)
        return try #require(try Message.parse(buffer.bytes[...]).first)
    }

    @Test func `a packet is read with its mark, interfaces, time, prefix and number`() throws {
        let packet = try #require(
            try LogPacket(
                message { writer in
                    var time = ByteWriter()
                    time.integerBE(UInt64(1_800_000_000))
                    time.integerBE(UInt64(250_000))
                    writer.attribute(3, bytes: time.bytes)
                }))
        #expect(packet.group == 0xf06e)
        #expect(packet.etherType == 0x0800)
        #expect(packet.hook == 2)
        #expect(packet.mark == 0x8000_0001)
        #expect(packet.timestamp == 1_800_000_000_250_000)
        #expect([packet.input, packet.output, packet.physicalInput] == [3, 0, 7])
        #expect(packet.prefix == "egress")
        #expect(Array(packet.payload) == [0x45, 0, 0])
        #expect(packet.sequence == 41)
    }

    @Test func `what is not there is absent, other messages are none`() throws {
        let packet = try #require(try LogPacket(message()))
        #expect(packet.timestamp == nil)
        #expect(try LogPacket(message(0x0401)) == nil)
        #expect(try LogPacket(message(0x0100)) == nil)
    }

    @Test func `a header that is short and a time that is none are malformed`() throws {
        #expect(throws: DecodeError("hook", at: 2, "needs 1 bytes, 0 left")) {
            try LogPacket(message(header: [8, 0]))
        }
        #expect(throws: DecodeError.self) {
            try LogPacket(message { $0.attribute(3, bytes: [UInt8](repeating: 0xff, count: 16)) })
        }
        #expect(throws: DecodeError.self) { try LogPacket(message { $0.attribute(3, bytes: [1, 2]) }) }
        #expect(throws: DecodeError.self) { try LogPacket(message { $0.attribute(12, bytes: [1]) }) }
    }

    @Test func `one request binds the group and says everything else`() throws {
        var subscription = LogSubscription(group: 0x0102)
        subscription.copyRange = 96
        let request = subscription.request
        #expect(request.type.rawValue == 0x0401)
        #expect(Array(request.payload.prefix(4)) == [0, 0, 1, 2])
        let attributes = try Attribute.parse(request.payload[4...])
        #expect(attributes.map(\.type) == [1, 2, 3, 4, 5, 6])
        #expect(Array(attributes[0].payload) == [1])
        #expect(Array(attributes[1].payload) == [0, 0, 0, 96, 2, 0])
        #expect(try attributes[5].integerBE(as: UInt16.self) == 1)
    }
}
