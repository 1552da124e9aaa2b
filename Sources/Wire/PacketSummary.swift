/// What tells a packet from others, read from the first bytes of it: addresses, protocol, ports.
///
/// A sender may cut its packet anywhere: an address that is not there is an error, a port that is not there is
/// absent.
public struct PacketSummary: Hashable, Sendable {
    public var source: IPAddress
    public var destination: IPAddress
    /// The protocol above IP; nil in ARP, which has none.
    public var l4proto: UInt8?
    /// Of TCP, UDP, SCTP, DCCP and UDP-Lite, in the first fragment.
    public var sourcePort: UInt16?
    public var destinationPort: UInt16?
    /// Of ICMP and ICMPv6, in the first fragment.
    public var icmpType: UInt8?
    public var icmpCode: UInt8?

    public init(source: IPAddress, destination: IPAddress, l4proto: UInt8?) {
        self.source = source
        self.destination = destination
        self.l4proto = l4proto
    }

    /// Reads a packet from its network header on.
    ///
    /// - Parameter etherType: what the frame says is in it.
    /// - Returns: nil for anything but IPv4, IPv6 and ARP for IPv4.
    public init?(etherType: UInt16, _ bytes: ArraySlice<UInt8>) throws(DecodeError) {
        var reader = ByteReader(bytes)
        switch etherType {
        case 0x0800: try self.init(ipv4: &reader)
        case 0x86dd: try self.init(ipv6: &reader)
        case 0x0806: try self.init(arp: &reader)
        default: return nil
        }
    }

    /// RFC 791 section 3.1
    private init(ipv4 reader: inout ByteReader) throws(DecodeError) {
        let first: UInt8 = try reader.integer("IPv4 version")
        guard first >> 4 == 4 else { throw DecodeError("IPv4 version", at: 0, "\(first >> 4) is not 4") }
        let length = Int(first & 0xf) * 4
        guard length >= 20 else { throw DecodeError("IPv4 header length", at: 0, "\(length) is below 20") }
        try reader.skip(5, "IPv4 lengths and identification")
        let fragment: UInt16 = try reader.integerBE("IPv4 fragment offset")
        try reader.skip(1, "IPv4 time to live")
        let l4proto: UInt8 = try reader.integer("IPv4 protocol")
        try reader.skip(2, "IPv4 checksum")
        self.init(
            source: try Self.address(&reader, 4, "IPv4 source"),
            destination: try Self.address(&reader, 4, "IPv4 destination"), l4proto: l4proto)
        guard fragment & 0x1fff == 0, length - 20 <= reader.remaining else { return }
        try reader.skip(length - 20, "IPv4 options")
        readTransport(reader)
    }

    /// RFC 8200 section 3
    private init(ipv6 reader: inout ByteReader) throws(DecodeError) {
        let first: UInt8 = try reader.integer("IPv6 version")
        guard first >> 4 == 6 else { throw DecodeError("IPv6 version", at: 0, "\(first >> 4) is not 6") }
        try reader.skip(5, "IPv6 flow label and length")
        let next: UInt8 = try reader.integer("IPv6 next header")
        try reader.skip(1, "IPv6 hop limit")
        self.init(
            source: try Self.address(&reader, 16, "IPv6 source"),
            destination: try Self.address(&reader, 16, "IPv6 destination"), l4proto: next)
        readExtensions(reader)
    }

    /// Extension headers that are looked behind; RFC 8200 section 4.1 has at most seven in a packet.
    private static let mostExtensions = 8

    /// Ends at what is no extension header, at a later fragment, or where the bytes end.
    private mutating func readExtensions(_ start: ByteReader) {
        var reader = start
        for _ in 0..<Self.mostExtensions {
            guard let header = l4proto else { return }
            let length: (UInt8) -> Int
            switch header {
            // Hop-by-hop options, routing, destination options: in units of 8 bytes beyond the first.
            case 0, 43, 60: length = { (Int($0) + 1) * 8 }
            // RFC 8200 section 4.5
            case 44: length = { _ in 8 }
            // RFC 4302 section 2.2: in units of 4 bytes, less 2.
            case 51: length = { (Int($0) + 2) * 4 }
            default:
                readTransport(reader)
                return
            }
            var inner = reader
            guard let next: UInt8 = try? inner.integer("next header"),
                let size: UInt8 = try? inner.integer("header length")
            else { return }
            if header == 44 {
                guard let offset: UInt16 = try? inner.integerBE("fragment offset") else { return }
                l4proto = next
                if offset >> 3 != 0 { return }
            }
            guard (try? reader.skip(length(size), "extension header")) != nil else { return }
            l4proto = next
        }
    }

    /// RFC 826: sender's and target's protocol addresses at 14 and 24.
    private init(arp reader: inout ByteReader) throws(DecodeError) {
        let kind = try reader.take(6, "ARP hardware and protocol")
        guard Array(kind) == [0, 1, 8, 0, 6, 4] else {
            throw DecodeError("ARP hardware and protocol", at: 0, "not IPv4 over Ethernet")
        }
        try reader.skip(8, "ARP operation and sender's MAC")
        let source = try Self.address(&reader, 4, "ARP sender's address")
        try reader.skip(6, "ARP target's MAC")
        self.init(
            source: source, destination: try Self.address(&reader, 4, "ARP target's address"), l4proto: nil)
    }

    private static func address(
        _ reader: inout ByteReader, _ length: Int, _ field: String
    ) throws(DecodeError) -> IPAddress {
        let start = reader.offset
        guard let address = IPAddress(bytes: try reader.take(length, field)) else {
            throw DecodeError(field, at: start, "is no address")
        }
        return address
    }

    private mutating func readTransport(_ start: ByteReader) {
        var reader = start
        switch l4proto {
        // TCP, UDP, DCCP, SCTP, UDP-Lite begin with source and destination port.
        case 6, 17, 33, 132, 136:
            sourcePort = try? reader.integerBE("source port")
            if sourcePort != nil { destinationPort = try? reader.integerBE("destination port") }
        // RFC 792, RFC 4443
        case 1, 58:
            icmpType = try? reader.integer("ICMP type")
            if icmpType != nil { icmpCode = try? reader.integer("ICMP code") }
        default: break
        }
    }
}
