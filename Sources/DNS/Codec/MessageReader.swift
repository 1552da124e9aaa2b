internal import Wire

/// Reads a message from an upstream, front to back, each step checked against the message's end.
struct MessageReader {
    let bytes: [UInt8]
    /// The message within `bytes`.
    let range: Range<Int>
    private(set) var position: Int

    init(_ bytes: [UInt8], _ range: Range<Int>) {
        self.bytes = bytes
        self.range = range
        position = range.lowerBound
    }

    private func failure(_ field: String, _ reason: String) -> DecodeError {
        DecodeError(field, at: position - range.lowerBound, reason)
    }

    mutating func number16(_ field: @autoclosure () -> String) throws(DecodeError) -> UInt16 {
        guard position + 2 <= range.upperBound else { throw failure(field(), "needs 2 bytes") }
        defer { position += 2 }
        return number(bytes, position)
    }

    mutating func number32(_ field: @autoclosure () -> String) throws(DecodeError) -> UInt32 {
        UInt32(try number16(field())) << 16 | UInt32(try number16(field()))
    }

    mutating func skip(_ count: Int, _ field: @autoclosure () -> String) throws(DecodeError) {
        guard count >= 0, position + count <= range.upperBound else {
            throw failure(field(), "needs \(count) bytes")
        }
        position += count
    }

    mutating func take(_ count: Int, _ field: @autoclosure () -> String) throws(DecodeError) -> ArraySlice<
        UInt8
    > {
        let start = position
        try skip(count, field())
        return bytes[start..<position]
    }

    /// A name, compressed or not (RFC 1035 section 4.1.4), in lower case.
    ///
    /// A pointer must lead to before the labels that it ends, so each one leads further to the front and no
    /// chain of them is endless; what is read is 255 bytes at most.
    mutating func name(_ field: @autoclosure () -> String) throws(DecodeError) -> DomainName {
        var wire: [UInt8] = []
        var at = position
        // Where the labels that are being read begin.
        var segment = position
        var after: Int?
        while true {
            guard at < range.upperBound else { throw failure(field(), "does not end") }
            let length = Int(bytes[at])
            switch length {
            case 0:
                wire.append(0)
                position = after ?? at + 1
                return DomainName(checked: wire)
            case 1...Limit.label:
                guard at + 1 + length <= range.upperBound else { throw failure(field(), "label is cut off") }
                guard wire.count + length + 2 <= Limit.name else {
                    throw failure(field(), "longer than 255 bytes")
                }
                wire.append(bytes[at])
                for index in at + 1...at + length { wire.append(lowerCased(bytes[index])) }
                at += length + 1
            case 0xc0...:
                guard at + 2 <= range.upperBound else { throw failure(field(), "pointer is cut off") }
                let target = range.lowerBound + Int(number(bytes, at) & 0x3fff)
                guard target < segment, target >= range.lowerBound + Limit.header else {
                    throw failure(field(), "pointer does not lead back")
                }
                if after == nil { after = at + 2 }
                at = target
                segment = target
            default: throw failure(field(), "label of unknown kind")
            }
        }
    }

    /// A resource record (RFC 1035 section 4.1.3).
    mutating func record() throws(DecodeError) -> Record {
        let owner = try name("owner")
        let type = RecordType(rawValue: try number16("type"))
        let recordClass = try number16("class")
        let ttl = try number32("TTL")
        let length = Int(try number16("RDLENGTH"))
        let start = position
        try skip(length, "RDATA")
        return Record(
            owner: owner, type: type, recordClass: recordClass,
            // RFC 2181 section 8: the top bit set means zero.
            ttl: ttl >> 31 == 1 ? 0 : ttl, data: start..<position)
    }

    /// Goes to the front of a record's data, to read names there that may be compressed.
    func reading(_ data: Range<Int>) -> MessageReader {
        var reader = MessageReader(bytes, range.lowerBound..<data.upperBound)
        reader.position = data.lowerBound
        return reader
    }
}

/// A record in a message that lives elsewhere.
struct Record {
    let owner: DomainName
    let type: RecordType
    let recordClass: UInt16
    let ttl: UInt32
    /// Where its data are in the message.
    let data: Range<Int>
}

/// The data of a record with its names written out, since those may have been compressed.
///
/// RFC 3597 section 4: names are compressed in the types of RFC 1035, and in a few more that a receiver must
/// understand; of any other type data are bytes.
func expandedData(_ record: Record, _ message: MessageReader) throws(DecodeError) -> [UInt8] {
    var reader = message.reading(record.data)
    var data: [UInt8] = []
    switch record.type {
    case .a, .aaaa:
        let length = record.type == .a ? 4 : 16
        guard record.data.count == length else {
            throw DecodeError("RDATA", at: record.data.lowerBound, "an address has \(length) bytes")
        }
        data += try reader.take(length, "address")
    case .ns, .cname, .ptr, .dname: data += try reader.name("RDATA").wire
    case .soa:
        data += try reader.name("MNAME").wire
        data += try reader.name("RNAME").wire
        data += try reader.take(20, "SOA")
    case .minfo, .rp:
        data += try reader.name("RDATA").wire
        data += try reader.name("RDATA").wire
    case .mx, .afsdb, .rt, .kx:
        data += try reader.take(2, "preference")
        data += try reader.name("exchange").wire
    case .srv:
        data += try reader.take(6, "SRV")
        data += try reader.name("target").wire
    case .naptr:
        data += try reader.take(4, "NAPTR")
        for _ in 0..<3 {
            let length = try reader.take(1, "NAPTR")
            data += length
            data += try reader.take(Int(length[length.startIndex]), "NAPTR")
        }
        data += try reader.name("replacement").wire
    default: data += try reader.take(record.data.count, "RDATA")
    }
    guard reader.position == record.data.upperBound else {
        throw DecodeError("RDATA", at: reader.position - message.range.lowerBound, "is longer than it says")
    }
    return data
}
