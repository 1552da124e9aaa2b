internal import Wire
internal import Yams

/// Reads one document's tree as a policy and keeps going after an error, so that all are reported at once.
struct PolicyReader {
    private let firstLine: Int
    private(set) var problems: [PolicyDocumentError.Problem] = []
    /// Where each field stands, so that what validation finds can be given a line.
    private var lines: [String: Int] = [:]

    init(firstLine: Int) { self.firstLine = firstLine }

    /// The line of a field, or of the nearest one around it.
    func line(of path: String) -> Int {
        var path = Substring(path)
        while !path.isEmpty {
            if let line = lines[String(path)] { return line }
            path = path.lastIndex { $0 == "." || $0 == "[" }.map { path[..<$0] } ?? ""
        }
        return lines[""] ?? firstLine
    }

    /// nil if anything is wrong.
    mutating func read(_ root: Node) -> FirewallPolicy? {
        guard let policy = policy(root), problems.isEmpty else { return nil }
        for case .invalid(let path, let value, let reason) in policy.problems() {
            problems.append(.init(line: line(of: path), path: path, value: value, reason))
        }
        return problems.isEmpty ? policy : nil
    }

    private mutating func policy(_ root: Node) -> FirewallPolicy? {
        let known = ["policy", "endpoints", "directions", "allowPorts", "trustedPeers", "rateLimit"]
        let lists = [RuleList.ingress, .egress, .ingressDeny, .egressDeny]
        guard let fields = fields(root, "", known + lists.map(\.rawValue)) else { return nil }
        if fields["policy"] == nil { refuse(root, "policy", nil, "is missing: every policy has a name") }
        if fields["endpoints"] == nil {
            refuse(root, "endpoints", nil, "is missing: say which endpoints, or endpoints: all")
        }
        let rules = lists.map { list in
            fields[list.rawValue].map { self.rules($0, list.rawValue, list.direction) } ?? []
        }
        return FirewallPolicy(
            name: fields["policy"].flatMap { text($0, "policy") } ?? "",
            selector: fields["endpoints"].flatMap { selector($0, "endpoints") } ?? EndpointSelector(),
            directions: fields["directions"].map { directions($0) } ?? [.ingress, .egress],
            allowPorts: fields["allowPorts"].map { ports($0, "allowPorts") },
            trustedPeers: fields["trustedPeers"].map { peers($0, "trustedPeers") },
            rateLimit: fields["rateLimit"].flatMap { number($0, "rateLimit") },
            ingress: rules[0], egress: rules[1], ingressDeny: rules[2], egressDeny: rules[3])
    }

    private mutating func directions(_ node: Node) -> Set<Direction> {
        var result: Set<Direction> = []
        for (item, path) in items(node, "directions") {
            guard let text = text(item, path) else { continue }
            guard let direction = Direction(rawValue: text) else {
                refuse(item, path, text, "must be ingress or egress")
                continue
            }
            if !result.insert(direction).inserted { refuse(item, path, text, "is given twice") }
        }
        return result
    }

    private mutating func rules(_ node: Node, _ path: String, _ direction: Direction) -> [PolicyRule] {
        let side = direction == .ingress ? "from" : "to"
        return items(node, path).compactMap { item, path in
            guard let fields = fields(item, path, [side, "ports"]) else { return nil }
            return PolicyRule(
                peers: fields[side].map { peers($0, "\(path).\(side)") },
                ports: fields["ports"].map { ports($0, "\(path).ports") })
        }
    }

    private mutating func ports(_ node: Node, _ path: String) -> [PortRange] {
        items(node, path).compactMap { item, path in
            value(item, path) { text throws(ParseError) in try PortRange(text) }
        }
    }

    private mutating func peers(_ node: Node, _ path: String) -> [PolicyPeer] {
        items(node, path).compactMap { item, path in peer(item, path) }
    }

    private mutating func peer(_ node: Node, _ path: String) -> PolicyPeer? {
        let conditions = ["labels", "names", "network"]
        if node.mapping == nil { return selector(node, path).map { .endpoints($0) } }
        guard let fields = fields(node, path, conditions + ["cidr", "except"]) else { return nil }
        guard let block = fields["cidr"] else {
            if fields["except"] != nil { refuse(node, "\(path).except", nil, "belongs to a cidr") }
            return selector(node, path, fields).map { .endpoints($0) }
        }
        for condition in conditions where fields[condition] != nil {
            refuse(node, "\(path).\(condition)", nil, "cannot stand beside a cidr: make it a peer of its own")
        }
        let except = fields["except"].map { node in
            items(node, "\(path).except").compactMap { item, path in
                value(item, path) { text throws(ParseError) in try CIDR(text) }
            }
        }
        return value(block, "\(path).cidr") { text throws(ParseError) in try CIDR(text) }.map {
            .cidr($0, except: except ?? [])
        }
    }

    private mutating func selector(_ node: Node, _ path: String) -> EndpointSelector? {
        if let text = node.scalar?.string {
            if text == "all", !isNull(node) { return EndpointSelector() }
            refuse(node, path, text, "must be all, or a mapping of labels, names and network")
            return nil
        }
        return fields(node, path, ["labels", "names", "network"]).flatMap { selector(node, path, $0) }
    }

    private mutating func selector(_ node: Node, _ path: String, _ fields: [String: Node])
        -> EndpointSelector?
    {
        guard !fields.isEmpty else {
            // Keys that are not known have been refused already.
            guard node.mapping?.isEmpty ?? true else { return nil }
            refuse(node, path, "{}", "names nothing: write all to mean every endpoint")
            return nil
        }
        var selector = EndpointSelector()
        if let labels = fields["labels"], let pairs = pairs(labels, "\(path).labels") {
            if pairs.isEmpty { refuse(labels, "\(path).labels", "{}", "names nothing") }
            for (key, value) in pairs {
                if let text = text(value, "\(path).labels.\(key)") { selector.matchLabels[key] = text }
            }
        }
        if let names = fields["names"] {
            selector.endpoints = Set(
                items(names, "\(path).names").compactMap { item, path in text(item, path) })
        }
        if let network = fields["network"] { selector.network = text(network, "\(path).network") }
        return selector
    }
}

// MARK: - Nodes

extension PolicyReader {
    private mutating func refuse(
        _ node: Node, _ path: String, _ value: String?, line: Int? = nil, _ reason: String
    ) {
        guard problems.count < PolicyLimits.problems else { return }
        problems.append(.init(line: line ?? note(node, path), path: path, value: value, reason))
    }

    /// Remembers where a field stands.
    @discardableResult
    private mutating func note(_ node: Node, _ path: String) -> Int {
        let line = firstLine + (node.mark?.line ?? 1) - 1
        lines[path] = lines[path] ?? line
        return line
    }

    /// The pairs of a mapping, whose keys are plain text and differ; nil if it is none.
    private mutating func pairs(_ node: Node, _ path: String) -> [(key: String, value: Node)]? {
        note(node, path)
        guard let mapping = node.mapping, isUntagged(node) else {
            refuse(node, path, node.scalar?.string, "must be a mapping (key: value)")
            return nil
        }
        var seen: Set<String> = []
        return mapping.compactMap { key, value in
            guard let text = key.scalar?.string, isUntagged(key) else {
                refuse(key, path, nil, "keys must be plain words")
                return nil
            }
            guard seen.insert(text).inserted else {
                refuse(key, path, text, "the key is given more than once")
                return nil
            }
            note(key, path.isEmpty ? text : "\(path).\(text)")
            return (text, value)
        }
    }

    /// The values of a mapping by key; nil if it is none. Keys that are not known are refused.
    private mutating func fields(_ node: Node, _ path: String, _ known: [String]) -> [String: Node]? {
        guard let pairs = pairs(node, path) else { return nil }
        var fields: [String: Node] = [:]
        for (key, value) in pairs {
            if known.contains(key) {
                fields[key] = value
            } else {
                let path = path.isEmpty ? key : "\(path).\(key)"
                // Where the key stands; its value may begin on a later line.
                refuse(
                    value, path, nil, line: lines[path],
                    "unknown key; known are \(known.joined(separator: ", "))")
            }
        }
        return fields
    }

    private mutating func items(_ node: Node, _ path: String) -> [(Node, String)] {
        note(node, path)
        guard let sequence = node.sequence, isUntagged(node) else {
            refuse(node, path, node.scalar?.string, "must be a list")
            return []
        }
        return sequence.enumerated().map { index, item in
            let path = "\(path)[\(index)]"
            note(item, path)
            return (item, path)
        }
    }

    private mutating func text(_ node: Node, _ path: String) -> String? {
        note(node, path)
        guard let scalar = node.scalar, isUntagged(node) else {
            refuse(node, path, nil, "must be text")
            return nil
        }
        guard !isNull(node) else {
            refuse(node, path, nil, "has no value (write \"\" for empty text)")
            return nil
        }
        return scalar.string
    }

    private mutating func number(_ node: Node, _ path: String) -> Int? {
        guard let text = text(node, path) else { return nil }
        guard let number = Int(text), String(number) == text else {
            refuse(node, path, text, "must be a whole number")
            return nil
        }
        return number
    }

    private mutating func value<T>(_ node: Node, _ path: String, _ read: (String) throws(ParseError) -> T)
        -> T?
    {
        guard let text = text(node, path) else { return nil }
        do throws(ParseError) { return try read(text) } catch {
            refuse(node, path, text, error.reason)
            return nil
        }
    }

    /// A plain scalar that YAML reads as nothing.
    private func isNull(_ node: Node) -> Bool {
        node.scalar.map { $0.style == .plain && ["", "~", "null", "Null", "NULL"].contains($0.string) }
            ?? false
    }

    /// Text is read as it stands whatever YAML would make of it, so a tag (`!!int`) would be a promise not
    /// kept. The parser was given no rules to resolve tags by, so a node without one has its kind's own.
    private func isUntagged(_ node: Node) -> Bool {
        switch node {
        case .scalar: node.tag.rawValue == Tag.Name.str.rawValue
        case .mapping: node.tag.rawValue == Tag.Name.map.rawValue
        case .sequence: node.tag.rawValue == Tag.Name.seq.rawValue
        case .alias: false
        }
    }
}
