package import Wire

/// What the host asks the fabric's resolver, over a stream that no container can reach.
package struct HostQuestion: Hashable, Sendable {
    package let name: DomainName
    package let type: RecordType

    package init(_ name: DomainName, _ type: RecordType) {
        self.name = name
        self.type = type
    }

    /// The message with its length in front (RFC 1035 section 4.2.2).
    package var frame: [UInt8] {
        let message = UpstreamQuestion(
            id: 0, name: name, cased: name.wire, type: type, wantsSignatures: false, checkingDisabled: false
        ).message
        return [UInt8(message.count >> 8), UInt8(truncatingIfNeeded: message.count)] + message
    }
}

/// The answer to it.
package struct HostAnswer: Hashable, Sendable {
    package struct Entry: Hashable, Sendable {
        package let name: String
        /// Seconds.
        package let ttl: UInt32
        /// `A`, or `TYPE65280` (RFC 3597 section 5).
        package let type: String
        package let data: String
    }

    package let code: ResponseCode
    package let entries: [Entry]

    /// - Parameter message: without its length.
    package init(_ message: [UInt8]) throws(DecodeError) {
        var reader = MessageReader(message, message.startIndex..<message.endIndex)
        try reader.skip(2, "id")
        let flags = try reader.number16("flags")
        code = ResponseCode(rawValue: UInt8(flags & 15))
        let questions = try reader.number16("questions")
        let answers = try reader.number16("answers")
        try reader.skip(4, "counts")
        for _ in 0..<questions {
            _ = try reader.name("question")
            try reader.skip(4, "question")
        }
        var entries: [Entry] = []
        for _ in 0..<answers {
            let record = try reader.record()
            let data = try expandedData(record, reader)
            entries.append(
                Entry(
                    name: record.owner.description, ttl: record.ttl, type: record.type.text,
                    data: Self.text(record.type, data)))
        }
        self.entries = entries
    }

    /// As in a master file (RFC 1035 section 5.1), or as RFC 3597 writes what is not known.
    private static func text(_ type: RecordType, _ data: [UInt8]) -> String {
        func number(_ at: Int) -> Int { Int(data[at]) << 8 | Int(data[at + 1]) }
        func name(from start: Int) -> String? { DomainName(wire: data[start...])?.description }
        switch type {
        case .a where data.count == 4: return data.map { "\($0)" }.joined(separator: ".")
        case .aaaa where data.count == 16:
            return IPAddress(.v6, bits: data.reduce(0) { $0 << 8 | UInt128($1) }).description
        case .cname, .ptr, .ns: if let name = name(from: 0) { return name }
        case .mx where data.count > 2: if let name = name(from: 2) { return "\(number(0)) \(name)" }
        case .srv where data.count > 6:
            if let name = name(from: 6) { return "\(number(0)) \(number(2)) \(number(4)) \(name)" }
        case .txt: return strings(data)
        default: break
        }
        return "\\# \(data.count) " + data.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    /// Strings with a length in front each, in quotes; nothing in them can be taken for anything else.
    private static func strings(_ data: [UInt8]) -> String {
        var rest = data[...]
        var parts: [String] = []
        while let length = rest.popFirst() {
            var text = ""
            for byte in rest.prefix(Int(length)) {
                switch byte {
                case 0x22, 0x5c: text += "\\" + String(UnicodeScalar(byte))
                case 0x20...0x7e: text += String(UnicodeScalar(byte))
                default:
                    text +=
                        "\\" + String(repeating: "0", count: byte < 10 ? 2 : byte < 100 ? 1 : 0) + "\(byte)"
                }
            }
            parts.append("\"\(text)\"")
            rest = rest.dropFirst(Int(length))
        }
        return parts.joined(separator: " ")
    }
}

extension RecordType {
    private static let names: [(String, RecordType)] = [
        ("A", .a), ("AAAA", .aaaa), ("CNAME", .cname), ("MX", .mx), ("NS", .ns), ("PTR", .ptr), ("SOA", .soa),
        ("SRV", .srv), ("TXT", .txt),
    ]

    package var text: String { Self.names.first { $0.1 == self }?.0 ?? "TYPE\(rawValue)" }

    /// Reads `AAAA`, in whatever case; nil if it is none that can be asked for.
    package init?(_ text: String) {
        guard let found = Self.names.first(where: { $0.0 == text.uppercased() }) else { return nil }
        self = found.1
    }

    /// Those that a person can ask for by name.
    package static var known: [String] { names.map(\.0) }
}
