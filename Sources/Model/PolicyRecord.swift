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

/// Writes by hand what every policy has, and leaves to the encoder what few have.
private struct RecordWriter {
    private(set) var text = ""

    mutating func policy(_ policy: FirewallPolicy) throws {
        text.reserveCapacity(512)
        text += "{\"id\":{\"dialect\":\"\(policy.id.dialect.rawValue)\",\"name\":"
        string(policy.id.name)
        if let namespace = policy.id.namespace {
            text += ",\"namespace\":"
            string(namespace)
        }
        text += "},\"tier\":"
        switch policy.tier {
        case .standard: text += "{\"standard\":{}}"
        case .admin(let priority): text += "{\"admin\":{\"priority\":\(priority)}}"
        case .baseline(let priority): text += "{\"baseline\":{\"priority\":\(priority)}}"
        }
        text += ",\"selector\":"
        try selector(policy.selector)
        text += ",\"directions\":"
        list(Direction.allCases.filter(policy.directions.contains)) { $0.text += "\"\($1.rawValue)\"" }
        if policy.limitsAreShort {
            text += ",\"rateLimit\":\(policy.rateLimit.map(String.init) ?? "null")"
        } else if !policy.limits.isEmpty {
            text += ",\"limits\":"
            try encoded(policy.limits)
        }
        if policy.mode != .enforce { text += ",\"mode\":\"\(policy.mode.rawValue)\"" }
        text += ",\"rules\":"
        try list(policy.rules) { try $0.rule($1) }
        text += "}"
    }

    private mutating func rule(_ rule: PolicyRule) throws {
        text += "{\"list\":\"\(rule.list.rawValue)\",\"action\":\"\(rule.action.rawValue)\""
        if let name = rule.name {
            text += ",\"name\":"
            string(name)
        }
        if let peers = rule.peers {
            text += ",\"peers\":"
            try list(peers) { try $0.peer($1) }
        }
        if let ports = rule.ports {
            text += ",\"ports\":"
            try list(ports) { writer, port in
                if case .range(let range) = port {
                    writer.text += "\"\(range.description)\""
                } else {
                    try writer.encoded(port)
                }
            }
        }
        if let limit = rule.limit {
            text += ",\"limit\":"
            try encoded(limit)
        }
        if rule.verifyHost { text += ",\"verifyHost\":true" }
        text += "}"
    }

    private mutating func peer(_ peer: PolicyPeer) throws {
        switch peer {
        case .endpoints(let selector): try self.selector(selector)
        case .cidr(let block, let except):
            text += "{\"cidr\":\"\(block.description)\""
            if !except.isEmpty {
                text += ",\"except\":"
                list(except) { $0.text += "\"\($1.description)\"" }
            }
            text += "}"
        case .domain(let pattern): text += "{\"domain\":\"\(pattern)\"}"
        case .unknown: text += "{\"unknown\":true}"
        }
    }

    private mutating func selector(_ selector: EndpointSelector) throws {
        guard selector.labels.matchExpressions.isEmpty, selector.networkLabels.matchesEverything else {
            try encoded(selector)
            return
        }
        var separator = "{"
        func key(_ name: String, _ writer: inout RecordWriter) {
            writer.text += "\(separator)\"\(name)\":"
            separator = ","
        }
        if !selector.matchLabels.isEmpty {
            key("labels", &self)
            text += "{"
            for (index, (name, value)) in selector.matchLabels.enumerated() {
                if index > 0 { text += "," }
                string(name)
                text += ":"
                string(value)
            }
            text += "}"
        }
        if let names = selector.endpoints {
            key("names", &self)
            list(names.sorted()) { $0.string($1) }
        }
        if let network = selector.network {
            key("network", &self)
            string(network)
        }
        text += separator == "{" ? "{}" : "}"
    }

    private mutating func list<Value>(
        _ values: [Value], _ write: (inout RecordWriter, Value) throws -> Void
    ) rethrows {
        text += "["
        for (index, value) in values.enumerated() {
            if index > 0 { text += "," }
            try write(&self, value)
        }
        text += "]"
    }

    private mutating func string(_ value: String) { text += DocumentValue.text(value).flow }

    private mutating func encoded(_ value: some Encodable) throws {
        text += String(decoding: try JSONEncoder().encode(value), as: UTF8.self)
    }
}
