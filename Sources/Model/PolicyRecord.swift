internal import Foundation
internal import Wire

/// The text that a policy is stored as: what `JSONEncoder` makes of it and `JSONDecoder` reads, written in a
/// tenth of the time, since thousands are stored at once.
extension FirewallPolicy {
    package var record: String {
        get throws {
            var writer = RecordWriter()
            try writer.policy(self)
            return writer.text
        }
    }
}

/// Writes by hand what every policy has, and leaves to the encoder what few have. Into bytes, which take less to add
/// to than a string.
private struct RecordWriter {
    private var bytes: [UInt8] = []

    var text: String { String(decoding: bytes, as: UTF8.self) }

    mutating func policy(_ policy: FirewallPolicy) throws {
        bytes.reserveCapacity(512)
        put(#"{"id":{"dialect":"#)
        quoted(policy.id.dialect.rawValue)
        put(#","name":"#)
        string(policy.id.name)
        if let namespace = policy.id.namespace {
            put(#","namespace":"#)
            string(namespace)
        }
        put(#"},"tier":"#)
        switch policy.tier {
        case .standard: put(#"{"standard":{}}"#)
        case .admin(let priority): put(#"{"admin":{"priority":"#, "\(priority)", "}}")
        case .baseline(let priority): put(#"{"baseline":{"priority":"#, "\(priority)", "}}")
        }
        put(#","selector":"#)
        try selector(policy.selector)
        put(#","directions":"#)
        list(Direction.allCases.filter(policy.directions.contains)) { $0.quoted($1.rawValue) }
        if policy.limitsAreShort {
            put(#","rateLimit":"#, policy.rateLimit.map(String.init) ?? "null")
        } else if !policy.limits.isEmpty {
            put(#","limits":"#)
            try encoded(policy.limits)
        }
        if policy.mode != .enforce {
            put(#","mode":"#)
            quoted(policy.mode.rawValue)
        }
        put(#","rules":"#)
        try list(policy.rules) { try $0.rule($1) }
        put("}")
    }

    private mutating func rule(_ rule: PolicyRule) throws {
        put(#"{"list":"#)
        quoted(rule.list.rawValue)
        put(#","action":"#)
        quoted(rule.action.rawValue)
        if let name = rule.name {
            put(#","name":"#)
            string(name)
        }
        if let peers = rule.peers {
            put(#","peers":"#)
            try list(peers) { try $0.peer($1) }
        }
        if let ports = rule.ports {
            put(#","ports":"#)
            try list(ports) { writer, port in
                if case .range(let range) = port {
                    writer.quoted(range.description)
                } else {
                    try writer.encoded(port)
                }
            }
        }
        if let limit = rule.limit {
            put(#","limit":"#)
            try encoded(limit)
        }
        if rule.verifyHost { put(#","verifyHost":true"#) }
        put("}")
    }

    private mutating func peer(_ peer: PolicyPeer) throws {
        switch peer {
        case .endpoints(let selector): try self.selector(selector)
        case .cidr(let block, let except):
            put(#"{"cidr":"#)
            quoted(block.description)
            if !except.isEmpty {
                put(#","except":"#)
                list(except) { $0.quoted($1.description) }
            }
            put("}")
        case .domain(let pattern):
            put(#"{"domain":"#)
            quoted(pattern.description)
            put("}")
        case .unknown: put(#"{"unknown":true}"#)
        }
    }

    private mutating func selector(_ selector: EndpointSelector) throws {
        guard selector.labels.matchExpressions.isEmpty, selector.networkLabels.matchesEverything else {
            try encoded(selector)
            return
        }
        var separator = "{"
        func key(_ name: String, _ writer: inout RecordWriter) {
            writer.put(separator)
            writer.quoted(name)
            writer.put(":")
            separator = ","
        }
        if !selector.matchLabels.isEmpty {
            key("labels", &self)
            put("{")
            for (index, (name, value)) in selector.matchLabels.enumerated() {
                if index > 0 { put(",") }
                string(name)
                put(":")
                string(value)
            }
            put("}")
        }
        if let names = selector.endpoints {
            key("names", &self)
            list(names.sorted()) { $0.string($1) }
        }
        if let network = selector.network {
            key("network", &self)
            string(network)
        }
        put(separator == "{" ? "{}" : "}")
    }

    private mutating func list<Value>(
        _ values: [Value], _ write: (inout RecordWriter, Value) throws -> Void
    ) rethrows {
        put("[")
        for (index, value) in values.enumerated() {
            if index > 0 { put(",") }
            try write(&self, value)
        }
        put("]")
    }

    private mutating func string(_ value: String) {
        if value.utf8.allSatisfy(DocumentValue.isPlain) {
            quoted(value)
        } else {
            put(DocumentValue.text(value).flow)
        }
    }

    /// Of what needs no escapes.
    private mutating func quoted(_ value: String) { put("\"", value, "\"") }

    private mutating func encoded(_ value: some Encodable) throws {
        bytes += try JSONEncoder().encode(value)
    }

    private mutating func put(_ text: String) { bytes += text.utf8 }

    private mutating func put(_ first: String, _ value: String, _ last: String = "") {
        put(first)
        put(value)
        put(last)
    }
}
