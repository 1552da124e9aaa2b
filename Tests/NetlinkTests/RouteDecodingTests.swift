import Netlink
import Testing
import Wire

struct RouteDecodingTests {
    private func message(_ type: MessageType, _ build: (inout PayloadWriter) -> Void) throws -> Message {
        var writer = ByteWriter()
        Request(type, [], subject: "", build).encode(into: &writer, sequence: 0, port: 0)
        return try #require(try Message.parse(writer.bytes[...]).first)
    }

    /// A message with this payload, whatever it is.
    private func message(raw payload: some Collection<UInt8>) throws -> Message {
        var writer = ByteWriter()
        writer.integer(UInt32(Message.headerLength + payload.count))
        writer.integer(MessageType.newLink.rawValue)
        writer.zeros(10)
        writer.append(payload)
        return try #require(try Message.parse(writer.bytes[...]).first)
    }

    private func linkHeader(
        _ writer: inout PayloadWriter, family: UInt8 = 0, index: UInt32 = 5, flags: UInt32 = 0x1_0041
    ) {
        writer.header { header in
            header.integer(family)
            header.integer(UInt8(0))
            header.integer(UInt16(1))
            header.integer(index)
            header.integer(flags)
            header.integer(UInt32(0))
        }
    }

    private func port(_ type: MessageType = .newLink, family: UInt8 = 0) throws -> Message {
        try message(type) { writer in
            linkHeader(&writer, family: family)
            writer.attribute(3, string: "fv0")
            writer.attribute(1, bytes: [2, 0, 0, 0, 0, 1])
            writer.attribute(4, UInt32(1400))
            writer.attribute(10, UInt32(3))
            writer.attribute(20, string: "forge:ab")
            writer.attribute(27, UInt32(0x666f_7267))
            writer.attribute(33, UInt8(1))
            writer.nested(23) {
                for value in 1...25 as ClosedRange<UInt64> { $0.header { $0.integer(value) } }
            }
            writer.nested(26) { $0.nested(10) { $0.attribute(8, UInt8(1)) } }
            writer.nested(18) { info in
                info.attribute(1, string: "veth")
                info.attribute(4, string: "bridge")
                info.nested(5) { data in
                    data.attribute(8, UInt8(0))
                    data.attribute(33, UInt8(1))
                }
            }
        }
    }

    @Test func `a port of a bridge is read with its marks, options and counters`() throws {
        let link = try Link(port())
        #expect(
            link.index == 5 && link.name == "fv0" && link.kind == "veth" && link.mtu == 1400
                && link.master == 3)
        #expect(link.alias == "forge:ab" && link.group == 0x666f_7267 && link.hasCarrier)
        #expect(link.flags == [.up, .running, .lowerUp])
        #expect(try link.mac == MACAddress("02:00:00:00:00:01"))
        #expect(link.port == PortOptions(isolated: true, learning: false) && link.bridge == nil)
        #expect(link.addressGeneration == AddressGeneration.none)
        let counters = try #require(link.statistics)
        #expect(counters.receivedPackets == 1 && counters.sentPackets == 2 && counters.receivedBytes == 3)
        #expect(counters.sentBytes == 4 && counters.receiveDrops == 7 && counters.sendDrops == 8)
    }

    @Test func `news of links are told from a bridge's news of its ports`() throws {
        #expect(try LinkEvent(port()) == .changed(Link(port())))
        #expect(try LinkEvent(port(.deleteLink)) == .deleted(Link(port())))
        #expect(try LinkEvent(port(.deleteLink, family: 7)) == nil)
        #expect(try LinkEvent(port(.newAddress)) == nil)
    }

    @Test func `a tunnel's address is no MAC, and a link may have none`() throws {
        let tunnel = try message(.newLink) { writer in
            linkHeader(&writer)
            writer.attribute(1, bytes: [10, 0, 0, 1])
        }
        #expect(try Link(tunnel).mac == nil)
        #expect(try Link(message(.newLink) { linkHeader(&$0) }).mac == nil)
    }

    @Test func `what these types do not describe is passed over`() throws {
        // A broadcast address in the local table (255), and a route to nowhere (blackhole) in the main one.
        for (table, kind) in [(255, 3), (254, 6)] as [(UInt8, UInt8)] {
            let route = try message(.newRoute) { writer in
                writer.header { $0.append([2, 32, 0, 0, table, 2, 254, kind, 0, 0, 0, 0]) }
                writer.attribute(1, bytes: [10, 0, 0, 1])
            }
            #expect(try Route(route) == nil)
        }
        // A neighbour that was learnt (NUD_REACHABLE), and a port's own address (NUD_PERMANENT).
        for (family, state) in [(2, 2), (7, 0x80)] as [(UInt8, UInt8)] {
            let neighbour = try message(.newNeighbour) { writer in
                writer.header { $0.append([family, 0, 0, 0, 1, 0, 0, 0, state, 0, 0, 0]) }
                writer.attribute(1, bytes: [10, 0, 0, 1])
                writer.attribute(2, bytes: [2, 0, 0, 0, 0, 1])
            }
            #expect(try Neighbour(neighbour) == nil)
        }
        let multicastRouting = try message(.newAddress) {
            $0.header { $0.append([128, 0, 0, 0, 0, 0, 0, 0]) }
        }
        #expect(try InterfaceAddress(multicastRouting) == nil)
    }

    @Test func `an attribute of length zero is an error, not a loop`() throws {
        let hostile = try message(.newLink) { writer in
            linkHeader(&writer)
            writer.header { $0.append([0, 0, 3, 0, 1, 2, 3, 4]) }
        }
        #expect(throws: DecodeError.self) { try Link(hostile) }
    }

    @Test func `a length past the end is an error, also inside a nest`() throws {
        for type in [3, 18, 26] as [UInt16] {
            let outer = try message(.newLink) { writer in
                linkHeader(&writer)
                writer.header { header in
                    header.integer(UInt16(200))
                    header.integer(type)
                }
            }
            #expect(throws: DecodeError.self) { try Link(outer) }
        }
        let inner = try message(.newLink) { writer in
            linkHeader(&writer)
            writer.attribute(18, bytes: [99, 0, 1, 0, 65, 0, 0, 0])
        }
        #expect(throws: DecodeError.self) { try Link(inner) }
    }

    @Test func `a message cut anywhere is read or refused, and never a crash`() throws {
        let whole = try port()
        for length in 0..<whole.payload.count {
            let cut = try message(raw: whole.payload.prefix(length))
            _ = try? LinkEvent(cut)
            _ = try? InterfaceAddress(cut)
            _ = try? Route(cut)
            _ = try? Neighbour(cut)
            if length < 16 { #expect(throws: DecodeError.self) { try Link(cut) } }
        }
    }

    @Test func `random bytes are read or refused, and never a crash`() throws {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<2000 {
            let length = Int.random(in: 0...160, using: &generator)
            // Small numbers make likely lengths, types and families.
            let noise = (0..<length).map { _ in
                UInt8.random(in: 0...(Bool.random(using: &generator) ? 12 : 255), using: &generator)
            }
            let message = try message(raw: noise)
            _ = try? Link(message)
            _ = try? InterfaceAddress(message)
            _ = try? Route(message)
            _ = try? Neighbour(message)
        }
    }

    @Test func `an address of the wrong length is refused`() throws {
        let short = try message(.newAddress) { writer in
            writer.header { $0.append([2, 24, 0, 0, 1, 0, 0, 0]) }
            writer.attribute(2, bytes: [10, 0, 0])
        }
        #expect(throws: DecodeError.self) { try InterfaceAddress(short) }
        let route = try message(.newRoute) { writer in
            writer.header { $0.append([2, 64, 0, 0, 254, 2, 0, 1, 0, 0, 0, 0]) }
            writer.attribute(1, bytes: [10, 0, 0, 1])
        }
        #expect(throws: DecodeError.self) { try Route(route) }
    }
}
