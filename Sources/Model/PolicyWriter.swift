internal import Wire

/// Writes a policy in the canonical form of its file: reading it back gives the same policy.
extension FirewallPolicy {
    /// The policy as a YAML document.
    public var yaml: String { document.yaml }

    /// The policy as a JSON object (which is YAML too).
    public var json: String { document.flow }

    private var document: DocumentValue {
        switch id.dialect {
        case .native: nativeDocument
        case .networkPolicy: networkPolicyDocument
        case .clusterNetworkPolicy: clusterNetworkPolicyDocument
        }
    }

    private var nativeDocument: DocumentValue {
        var fields: [(String, DocumentValue)] = [
            ("policy", .text(name)), ("endpoints", DocumentValue(selector)),
        ]
        if directions != Set(Direction.allCases) {
            let names = Direction.allCases.filter(directions.contains).map { DocumentValue.text($0.rawValue) }
            fields.append(("directions", .list(names)))
        }
        if mode != .enforce { fields.append(("mode", .text(mode.rawValue))) }
        if let allowPorts { fields.append(("allowPorts", DocumentValue(allowPorts))) }
        if let trustedPeers { fields.append(("trustedPeers", DocumentValue(trustedPeers))) }
        if limitsAreShort, let rateLimit {
            fields.append(("rateLimit", .number(rateLimit)))
        } else if !limits.isEmpty {
            let given = Direction.allCases.filter { !limits[$0].isEmpty }
            fields.append(("limits", .map(given.map { ($0.rawValue, DocumentValue(limits[$0])) })))
        }
        for list in RuleList.allCases where list != .trusted && !rules(list).isEmpty {
            let side = list.direction == .ingress ? "from" : "to"
            let rules = rules(list).map { rule in
                var parts: [(String, DocumentValue)] = []
                let domains = rule.domains
                if let peers = rule.peers, domains.isEmpty || domains.count < peers.count {
                    parts.append((side, DocumentValue(peers)))
                }
                if !domains.isEmpty {
                    parts.append(("toFQDNs", .list(domains.map { .text($0.description) })))
                }
                if let ports = rule.ports { parts.append(("ports", DocumentValue(ports))) }
                if let limit = rule.limit { parts.append(("limit", DocumentValue(limit))) }
                if rule.verifyHost { parts.append(("verifyHost", .truth(true))) }
                return DocumentValue.map(parts)
            }
            fields.append((list.rawValue, .list(rules)))
        }
        return .map(fields)
    }
}

/// What a document is made of.
enum DocumentValue {
    case text(String)
    case number(Int)
    case truth(Bool)
    case list([DocumentValue])
    case map([(String, DocumentValue)])

    init(_ ports: [PortMatch]) { self = .list(ports.map { .text($0.description) }) }

    init(_ peers: [PolicyPeer]) {
        self = .list(
            peers.compactMap { peer in
                switch peer {
                case .endpoints(let selector): return DocumentValue(selector)
                // In a list of their own.
                case .domain: return nil
                case .cidr(let block, let except):
                    let excepted = ("except", DocumentValue.list(except.map { .text($0.description) }))
                    return .map([("cidr", .text(block.description))] + (except.isEmpty ? [] : [excepted]))
                case .unknown: return .map([])
                }
            })
    }

    init(_ limit: TrafficLimit) {
        var fields: [(String, DocumentValue)] = []
        if let connections = limit.connections { fields.append(("connections", .number(connections))) }
        if let packets = limit.packets { fields.append(("packets", .number(packets))) }
        if let bandwidth = limit.bandwidth { fields.append(("bandwidth", .text(bandwidth.description))) }
        self = .map(fields)
    }

    init(_ selector: EndpointSelector) {
        var fields: [(String, DocumentValue)] = []
        if !selector.matchLabels.isEmpty {
            let labels = selector.matchLabels.sorted { $0.key < $1.key }
            fields.append(("labels", .map(labels.map { ($0.key, .text($0.value)) })))
        }
        if let names = selector.endpoints {
            fields.append(("names", .list(names.sorted().map { .text($0) })))
        }
        if let network = selector.network { fields.append(("network", .text(network))) }
        self = fields.isEmpty ? .text("all") : .map(fields)
    }

    /// Block style for the outermost mapping and its lists of rules, flow style within.
    var yaml: String {
        guard case .map(let fields) = self else { return flow + "\n" }
        return fields.map { key, value in
            guard case .list(let items) = value, items.contains(where: \.isMap) else {
                return "\(key): \(value.word)\n"
            }
            return "\(key):\n" + items.map { "  - \($0.word)\n" }.joined()
        }.joined()
    }

    private var isMap: Bool { if case .map = self { true } else { false } }

    /// As `flow`, with words left bare where YAML cannot take them for anything but text.
    private var word: String {
        switch self {
        case .text(let text): DocumentValue.isWord(text) ? text : flow
        case .number, .truth: flow
        case .list(let items): "[" + items.map(\.word).joined(separator: ", ") + "]"
        case .map(let fields):
            "{"
                + fields.map { key, value in
                    (DocumentValue.isWord(key) ? key : DocumentValue.text(key).flow) + ": " + value.word
                }.joined(separator: ", ") + "}"
        }
    }

    /// JSON (RFC 8259).
    var flow: String {
        switch self {
        case .text(let text) where text.utf8.allSatisfy(DocumentValue.isPlain): "\"\(text)\""
        case .text(let text): "\"" + text.unicodeScalars.map(DocumentValue.escaped).joined() + "\""
        case .number(let number): String(number)
        case .truth(let value): value ? "true" : "false"
        case .list(let items): "[" + items.map(\.flow).joined(separator: ", ") + "]"
        case .map(let fields):
            "{" + fields.map { DocumentValue.text($0).flow + ": " + $1.flow }.joined(separator: ", ") + "}"
        }
    }

    /// Stands for itself in a JSON string.
    static func isPlain(_ byte: UInt8) -> Bool {
        (0x20..<0x7f).contains(byte) && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\\")
    }

    private static func escaped(_ scalar: Unicode.Scalar) -> String {
        switch scalar {
        case "\"", "\\": return "\\\(scalar)"
        case "\u{0}"..."\u{1f}", "\u{7f}"..."\u{9f}":
            let digits = String(scalar.value, radix: 16)
            return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        default: return String(scalar)
        }
    }

    /// A letter first, no blank, colon or bracket, and none of the words that stand for something else (YAML
    /// 1.1).
    private static func isWord(_ text: String) -> Bool {
        let reserved: Set = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"]
        guard let first = text.unicodeScalars.first, !reserved.contains(text.lowercased()) else {
            return false
        }
        let isBare: (Unicode.Scalar) -> Bool = { scalar in
            switch scalar {
            case "a"..."z", "A"..."Z", "0"..."9", "-", "_", ".", "/": true
            default: false
            }
        }
        // A port such as 80/tcp or a block such as 10.0.0.0/8 begins with a digit; its slash makes it text.
        // And so does the unit of a bandwidth.
        let isText =
            ("a"..."z").contains(first) || ("A"..."Z").contains(first) || text.contains("/")
            || text.hasSuffix("bit")
        return isText && text != "-" && text.unicodeScalars.allSatisfy(isBare)
    }
}
