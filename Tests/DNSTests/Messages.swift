import Sys
import Testing
import Wire

@testable import DNS

/// A message taken apart in the plainest way, to hold the codec against.
struct PlainMessage {
    struct Entry: Equatable, CustomStringConvertible {
        var owner: String
        var type: RecordType
        var ttl: UInt32
        /// Text of an address or a name; hexadecimal for anything else.
        var data: String
        var description: String { "\(owner) \(type.rawValue) \(ttl) \(data)" }
    }

    var id: UInt16
    var flags: UInt16
    /// As on the wire, with its case.
    var question: String
    var type: RecordType
    var answers: [Entry] = []
    var authority: [Entry] = []
    var additional: [Entry] = []

    var code: ResponseCode { ResponseCode(rawValue: UInt8(flags & 0xf)) }
    var isTruncated: Bool { flags & 0x200 != 0 }
    var isAuthoritative: Bool { flags & 0x400 != 0 }
    /// The addresses or names in the answers, in order.
    var data: [String] { answers.map(\.data) }

    init(_ bytes: [UInt8]) throws {
        var at = 12
        func word(_ at: Int) throws -> UInt16 {
            try #require(at + 2 <= bytes.count)
            return UInt16(bytes[at]) << 8 | UInt16(bytes[at + 1])
        }
        func name(_ start: Int) throws -> (String, Int) {
            var (at, end, text, jumps) = (start, -1, "", 0)
            while true {
                try #require(at < bytes.count)
                let length = Int(bytes[at])
                if length == 0 { return (text.isEmpty ? "." : text, end < 0 ? at + 1 : end) }
                if length >= 0xc0 {
                    if end < 0 { end = at + 2 }
                    at = Int(try word(at) & 0x3fff)
                    jumps += 1
                    try #require(jumps < 100)
                    continue
                }
                try #require(at + 1 + length <= bytes.count)
                text +=
                    (text.isEmpty ? "" : ".")
                    + String(decoding: bytes[at + 1..<at + 1 + length], as: UTF8.self)
                at += 1 + length
            }
        }
        id = try word(0)
        flags = try word(2)
        let counts = try [4, 6, 8, 10].map { Int(try word($0)) }
        (question, type) = ("", RecordType(rawValue: 0))
        if counts[0] == 1 {
            (question, at) = try name(12)
            type = RecordType(rawValue: try word(at))
            at += 4
        }
        for section in 1...3 {
            for _ in 0..<counts[section] {
                let (owner, fields) = try name(at)
                let type = RecordType(rawValue: try word(fields))
                let length = Int(try word(fields + 8))
                try #require(fields + 10 + length <= bytes.count)
                let raw = Array(bytes[fields + 10..<fields + 10 + length])
                var data = raw.map { String($0, radix: 16) }.joined(separator: " ")
                switch type {
                case .a, .aaaa: data = try #require(IPAddress(bytes: raw)).description
                case .ns, .cname, .ptr: data = try name(fields + 10).0
                case .srv: data = "\(try word(fields + 14)) \(try name(fields + 16).0)"
                default: break
                }
                let entry = Entry(
                    owner: owner, type: type,
                    ttl: UInt32(try word(fields + 4)) << 16 | UInt32(try word(fields + 6)), data: data)
                switch section {
                case 1: answers.append(entry)
                case 2: authority.append(entry)
                default: additional.append(entry)
                }
                at = fields + 10 + length
            }
        }
        try #require(at == bytes.count, "bytes behind the message")
    }
}

/// Writes messages, right ones and wrong ones.
struct MessageBuilder {
    var bytes: [UInt8] = []

    static func word(_ value: Int) -> [UInt8] { [UInt8(value >> 8 & 0xff), UInt8(value & 0xff)] }

    /// Text to wire, with its case.
    static func name(_ text: String) -> [UInt8] {
        text.split(separator: ".").flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) } + [0]
    }

    static func query(
        _ name: String, _ type: RecordType = .a, id: UInt16 = 0x1234, flags: Int = 0x0100, room: Int? = nil,
        signatures: Bool = false, class questionClass: Int = 1
    ) -> [UInt8] {
        var bytes = word(Int(id)) + word(flags) + word(1) + word(0) + word(0) + word(room == nil ? 0 : 1)
        bytes += self.name(name) + word(Int(type.rawValue)) + word(questionClass)
        if let room {
            bytes += [0] + word(41) + word(room) + [0, 0] + word(signatures ? 0x8000 : 0) + word(0)
        }
        return bytes
    }

    static func record(_ owner: String, _ type: RecordType, ttl: Int, _ data: [UInt8]) -> [UInt8] {
        name(owner) + word(Int(type.rawValue)) + word(1) + word(ttl >> 16) + word(ttl) + word(data.count)
            + data
    }

    static func a(_ owner: String, _ address: String, ttl: Int = 300) throws -> [UInt8] {
        record(owner, .a, ttl: ttl, try IPAddress(address).bytes)
    }

    static func cname(_ owner: String, _ target: String, ttl: Int = 300) -> [UInt8] {
        record(owner, .cname, ttl: ttl, name(target))
    }

    static func soa(_ owner: String, ttl: Int = 600, minimum: Int = 60) -> [UInt8] {
        record(
            owner, .soa, ttl: ttl,
            name("ns." + owner) + name("admin." + owner) + word(0) + word(1) + word(0) + word(3600) + word(0)
                + word(600) + word(1) + word(0) + word(minimum >> 16) + word(minimum))
    }

    /// What an upstream says to a query.
    static func response(
        to query: [UInt8], code: Int = 0, flags: Int = 0x8180, answers: [[UInt8]] = [],
        authority: [[UInt8]] = [], additional: [[UInt8]] = []
    ) -> [UInt8] {
        var end = 12
        while query[end] != 0 { end += Int(query[end]) + 1 }
        let parts = [answers, authority, additional]
        return Array(query[0..<2]) + word(flags | code) + word(1) + parts.flatMap { word($0.count) }
            + query[12..<end + 5] + parts.flatMap { $0.flatMap { $0 } }
    }
}

/// Numbers that look random and are the same each time.
struct SteadyGenerator: RandomNumberGenerator {
    var state: UInt64 = 42
    mutating func next() -> UInt64 {
        // Steele, Lea and Flood's SplitMix64.
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }
}
