internal import Wire
internal import Yams

/// The native dialect, described in `docs/policy.md`.
extension PolicyReader {
    mutating func policy(_ root: Node) -> FirewallPolicy? {
        let known = [
            "policy", "endpoints", "directions", "allowPorts", "trustedPeers", "rateLimit", "limits", "mode",
        ]
        let lists = [RuleList.ingress, .egress, .ingressDeny, .egressDeny]
        guard let fields = fields(root, "", known + lists.map(\.rawValue)) else { return nil }
        if fields["policy"] == nil { refuse(root, "policy", nil, "is missing: every policy has a name") }
        if fields["endpoints"] == nil {
            refuse(root, "endpoints", nil, "is missing: say which endpoints, or endpoints: all")
        }
        let rules = lists.map { list in
            fields[list.rawValue].map { self.rules($0, list) } ?? []
        }
        if let limits = fields["limits"], fields["rateLimit"] != nil {
            refuse(
                limits, "limits", nil, line: line(of: "limits"),
                "cannot stand beside rateLimit: write limits.ingress.connections")
        }
        var policy = FirewallPolicy(
            name: fields["policy"].flatMap { text($0, "policy") } ?? "",
            selector: fields["endpoints"].flatMap { selector($0, "endpoints") } ?? EndpointSelector(),
            directions: fields["directions"].map { directions($0) } ?? [.ingress, .egress],
            allowPorts: fields["allowPorts"].map { ports($0, "allowPorts") },
            trustedPeers: fields["trustedPeers"].map { peers($0, "trustedPeers") },
            rateLimit: fields["rateLimit"].flatMap { number($0, "rateLimit") },
            limits: fields["limits"].map { limits($0, "limits") } ?? EndpointLimits(), ingress: rules[0],
            egress: rules[1], ingressDeny: rules[2], egressDeny: rules[3])
        if let node = fields["mode"] { policy.mode = mode(node, "mode") }
        return policy
    }

    /// - Returns: to enforce, where what is said cannot be understood and is refused.
    mutating func mode(_ node: Node, _ path: String) -> PolicyMode {
        guard let text = text(node, path) else { return .enforce }
        guard let mode = PolicyMode(rawValue: text) else {
            refuse(node, path, text, "must be enforce or audit")
            return .enforce
        }
        return mode
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

    private mutating func rules(_ node: Node, _ list: RuleList) -> [PolicyRule] {
        let side = list.direction == .ingress ? "from" : "to"
        let known =
            [side, "ports"] + (list.denies ? [] : ["limit"])
            + (list == .egress ? ["toFQDNs", "verifyHost"] : [])
        return items(node, list.rawValue).compactMap { item, path -> PolicyRule? in
            guard let fields = fields(item, path, known) else { return nil }
            var others = fields[side].map { peers($0, "\(path).\(side)") }
            if let names = fields["toFQDNs"] {
                others = (others ?? []) + domains(names, "\(path).toFQDNs")
            }
            return PolicyRule(
                peers: others,
                ports: fields["ports"].map { ports($0, "\(path).ports") },
                limit: fields["limit"].map { limit($0, "\(path).limit") },
                verifyHost: fields["verifyHost"].map { truth($0, "\(path).verifyHost") } ?? false)
        }
    }

    private mutating func limits(_ node: Node, _ path: String) -> EndpointLimits {
        var limits = EndpointLimits()
        guard let fields = fields(node, path, Direction.allCases.map(\.rawValue)) else { return limits }
        if node.mapping?.isEmpty ?? false { refuse(node, path, "{}", "names neither ingress nor egress") }
        for direction in Direction.allCases {
            guard let node = fields[direction.rawValue] else { continue }
            limits[direction] = limit(node, "\(path).\(direction.rawValue)")
        }
        return limits
    }

    private mutating func limit(_ node: Node, _ path: String) -> TrafficLimit {
        var limit = TrafficLimit()
        guard let fields = fields(node, path, LimitKind.allCases.map(\.rawValue)) else { return limit }
        if node.mapping?.isEmpty ?? false {
            refuse(node, path, "{}", "limits nothing: give connections, packets or bandwidth")
        }
        limit.connections = fields["connections"].flatMap { number($0, "\(path).connections") }
        // Validation would call it by its short name.
        if let node = fields["connections"], let number = limit.connections,
            !PolicyLimits.connections.contains(number)
        {
            refuse(
                node, "\(path).connections", "\(number)", "must be 1 to 1000000 new connections a second")
            limit.connections = nil
        }
        limit.packets = fields["packets"].flatMap { number($0, "\(path).packets") }
        limit.bandwidth = fields["bandwidth"].flatMap {
            value($0, "\(path).bandwidth") { text throws(ParseError) in try Bandwidth(text) }
        }
        return limit
    }

    private mutating func ports(_ node: Node, _ path: String) -> [PortMatch] {
        items(node, path).compactMap { item, path in
            value(item, path) { text throws(ParseError) in .range(try PortRange(text)) }
        }
    }

    private mutating func peers(_ node: Node, _ path: String) -> [PolicyPeer] {
        items(node, path).compactMap { item, path in peer(item, path) }
    }

    private mutating func domains(_ node: Node, _ path: String) -> [PolicyPeer] {
        let items = items(node, path)
        if items.isEmpty { refuse(node, path, "[]", "names no domain") }
        return items.compactMap { item, path in
            value(item, path) { text throws(ParseError) in .domain(try DomainPattern(text)) }
        }
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
