import Netlink
import Testing
import Wire

struct CodecTests {
    /// A message with this payload, as the kernel would send it.
    private func datagram(_ payloads: [[UInt8]]) -> [UInt8] {
        var buffer = ByteWriter()
        for (index, payload) in payloads.enumerated() {
            let request = Request(MessageType(rawValue: 0x0a00), .multi, subject: "") {
                $0.header { $0.append(payload) }
            }
            request.encode(into: &buffer, sequence: UInt32(index), port: 7)
        }
        return buffer.bytes
    }

    @Test func `a datagram splits into its messages`() throws {
        let messages = try Message.parse(datagram([[1, 2, 3, 4], [], [5, 6, 7, 8, 9, 10, 11, 12]])[...])
        #expect(messages.map { Array($0.payload) } == [[1, 2, 3, 4], [], [5, 6, 7, 8, 9, 10, 11, 12]])
        #expect(messages.map(\.sequence) == [0, 1, 2])
        #expect(messages.allSatisfy { $0.port == 7 && $0.flags == .multi && $0.type.rawValue == 0x0a00 })
    }

    @Test(arguments: [0, 1, 15, 17, 0xffff_ffff] as [UInt32])
    func `a message length that cannot be is an error, not a loop`(_ length: UInt32) {
        var buffer = ByteWriter()
        buffer.append(datagram([[]]))
        buffer.patch(length, at: 0)
        #expect(throws: DecodeError.self) { try Message.parse(buffer.bytes[...]) }
    }

    @Test(arguments: [0, 3, 9, 0xffff] as [UInt16])
    func `an attribute length that cannot be is an error, not a loop`(_ length: UInt16) {
        var buffer = ByteWriter()
        buffer.integer(length)
        buffer.integer(UInt16(1))
        buffer.append([1, 2, 3, 4])
        #expect(throws: DecodeError.self) { try Attribute.parse(buffer.bytes[...]) }
    }

    @Test func `attributes carry numbers in either order, text, flags and each other`() throws {
        var writer = PayloadWriter()
        writer.attribute(1, UInt32(0x0102_0304))
        writer.attributeBE(2, UInt16(0x0102))
        writer.attribute(3, string: "abc")
        writer.flag(4)
        writer.nested(5) { writer in
            writer.attribute(1, UInt8(9))
            writer.nested(2) { $0.attributeBE(1, UInt64.max) }
        }
        let bytes = writer.buffer.bytes
        #expect(bytes.count % 4 == 0)
        #expect(Array(bytes[8..<16]) == [6, 0, 2, 0, 1, 2, 0, 0])
        let attributes = try Attribute.parse(bytes[...])
        #expect(attributes.map(\.type) == [1, 2, 3, 4, 5])
        #expect(try attributes[0].integer(as: UInt32.self) == 0x0102_0304)
        #expect(try attributes[1].integerBE(as: UInt16.self) == 0x0102)
        #expect(attributes[2].string == "abc" && attributes[2].payload.count == 4)
        #expect(attributes[3].payload.isEmpty)
        let inner = try attributes[4].nested()
        #expect(try inner[type: 1]?.integer(as: UInt8.self) == 9)
        #expect(try inner[type: 2]?.nested()[type: 1]?.integerBE(as: UInt64.self) == .max)
        // A number wider than the attribute.
        #expect(throws: DecodeError.self) { try attributes[1].integerBE(as: UInt32.self) }
    }

    @Test func `of attributes with one type the last counts`() throws {
        var writer = PayloadWriter()
        writer.attribute(1, UInt32(1))
        writer.attribute(1, UInt32(2))
        #expect(try Attribute.parse(writer.buffer.bytes[...])[type: 1]?.integer(as: UInt32.self) == 2)
    }

    @Test func `a request is padded behind, and its length does not count the padding`() {
        let request = Request(MessageType(rawValue: 16), [.request, .create], subject: "") {
            $0.attribute(1, UInt8(1))
        }
        var buffer = ByteWriter()
        request.encode(into: &buffer, sequence: 1, port: 2)
        #expect(buffer.count == request.encodedLength && buffer.count % 4 == 0)
        #expect(Array(buffer.bytes[..<16]) == [24, 0, 0, 0, 16, 0, 1, 4, 1, 0, 0, 0, 2, 0, 0, 0])
    }
}
