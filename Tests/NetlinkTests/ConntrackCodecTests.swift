import Netlink
import Testing
import Wire

struct ConntrackCodecTests {
    /// A message as ctnetlink sends it, of a UDP connection.
    private func message(
        _ type: UInt16 = 0x0100, _ flags: MessageFlags = [], _ more: (inout PayloadWriter) -> Void = { _ in }
    ) throws -> Message {
        func tuple(
            _ writer: inout PayloadWriter, _ type: UInt16, _ from: UInt8, _ to: UInt8, _ ports: [UInt16]
        ) {
            writer.nested(type) { writer in
                writer.nested(1) { writer in
                    writer.attribute(1, bytes: [10, 0, 0, from])
                    writer.attribute(2, bytes: [10, 0, 0, to])
                }
                writer.nested(2) { writer in
                    writer.attribute(1, UInt8(17))
                    writer.attributeBE(2, ports[0])
                    writer.attributeBE(3, ports[1])
                }
            }
        }
        let request = Request(MessageType(rawValue: type), flags, subject: "") { writer in
            writer.header { $0.append([2, 0, 0, 0]) }
            tuple(&writer, 1, 1, 2, [1000, 53])
            tuple(&writer, 2, 2, 1, [53, 1000])
            writer.attributeBE(3, UInt32(0x0e))
            writer.attributeBE(8, UInt32(77))
            writer.attributeBE(12, UInt32(0xdead_beef))
            more(&writer)
        }
        var buffer = ByteWriter()
        request.encode(into: &buffer, sequence: 1, port: 0)
        return try #require(try Message.parse(buffer.bytes[...]).first)
    }

    @Test func `an entry is read with both tuples, status, mark and id`() throws {
        let entry = try #require(
            try ConntrackEntry(
                try message { writer in
                    writer.attributeBE(7, UInt32(30))
                    writer.attributeBE(18, UInt16(4))
                    writer.nested(9) { writer in
                        writer.attributeBE(1, UInt64(3))
                        writer.attributeBE(2, UInt64(300))
                    }
                }))
        let a = try IPAddress("10.0.0.1")
        let b = try IPAddress("10.0.0.2")
        #expect(
            entry
                == ConntrackEntry(
                    original: ConntrackTuple(
                        source: a, destination: b, l4proto: 17,
                        selector: .ports(source: 1000, destination: 53)),
                    reply: ConntrackTuple(
                        source: b, destination: a, l4proto: 17,
                        selector: .ports(source: 53, destination: 1000)),
                    status: [.seenReply, .assured, .confirmed], mark: 77, id: 0xdead_beef, timeoutSeconds: 30,
                    zone: 4,
                    originalCounter: NftCounter(packets: 3, bytes: 300)))
        #expect(entry.original.description == "protocol 17 10.0.0.1 port 1000 to 10.0.0.2 port 53")
    }

    @Test func `events tell beginnings, changes and ends apart`() throws {
        #expect(try ConntrackEvent(message(0x0100, [.create, .exclusive]))?.kind == .new)
        #expect(try ConntrackEvent(message(0x0100))?.kind == .update)
        #expect(try ConntrackEvent(message(0x0102))?.kind == .destroy)
        #expect(try ConntrackEvent(message(0x0a00)) == nil)
    }

    @Test func `a message without a tuple, or with half an address, is malformed`() throws {
        let request = Request(MessageType(rawValue: 0x0100), [], subject: "") { writer in
            writer.header { $0.append([2, 0, 0, 0]) }
            writer.nested(1) { $0.nested(1) { $0.attribute(1, bytes: [10, 0]) } }
        }
        var buffer = ByteWriter()
        request.encode(into: &buffer, sequence: 1, port: 0)
        let messages = try Message.parse(buffer.bytes[...])
        #expect(throws: DecodeError.self) { try ConntrackEntry(messages[0]) }
    }
}
