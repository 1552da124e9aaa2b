internal import Wire
internal import Yams

/// Kubernetes' `ClusterNetworkPolicy`: tiers, priorities, rules in order.
extension PolicyReader {
    static let clusterNetworkPolicyVersion = "policy.networking.k8s.io/v1alpha2"

    /// Kinds of peers that the dialect has and this program not yet.
    private static let unsupportedPeers = ["nodes", "domainNames"]

    mutating func clusterNetworkPolicy(_ root: Node, _ prefix: String) -> FirewallPolicy? {
        let version = PolicyReader.clusterNetworkPolicyVersion
        guard let object = object(root, prefix, version: version) else { return nil }
        if let namespace = object.namespace {
            refuse(
                namespace, prefix + "metadata.namespace", namespace.scalar?.string,
                "a ClusterNetworkPolicy has none")
        }
        let path = prefix + "spec"
        let known = ["tier", "priority", "subject", "ingress", "egress"]
        guard let fields = members(object.spec, path + ".", known) else { return nil }
        let tier = required(fields, "tier", object.spec, path + ".").flatMap { node in
            choice(node, path + ".tier", [("Admin", true), ("Baseline", false)])
        }
        let priority = required(fields, "priority", object.spec, path + ".").flatMap { node in
            integer(node, path + ".priority", PolicyLimits.priority)
        }
        let subject = required(fields, "subject", object.spec, path + ".").flatMap { node in
            self.subject(node, path + ".subject")
        }
        let ingress = fields["ingress"].map { rules($0, path, .ingress) } ?? []
        let egress = fields["egress"].map { rules($0, path, .egress) } ?? []
        guard let tier, let priority, let subject else { return nil }
        let all = ingress + egress
        var policy = FirewallPolicy(
            id: .clusterNetworkPolicy(object.name),
            tier: tier ? .admin(priority: priority) : .baseline(priority: priority), selector: subject,
            directions: Set(all.map(\.direction)), rules: all)
        policy.mode = object.mode
        return policy
    }

    private mutating func subject(_ node: Node, _ path: String) -> EndpointSelector? {
        guard let fields = members(node, path + ".", ["namespaces", "pods"]) else { return nil }
        guard fields.count == 1, let (key, value) = fields.first else {
            refuse(node, path, nil, "must have one of namespaces and pods")
            return nil
        }
        return endpoints(value, "\(path).\(key)", arePods: key == "pods")
    }

    private mutating func endpoints(_ node: Node, _ path: String, arePods: Bool) -> EndpointSelector? {
        guard arePods else {
            return EndpointSelector(labels: LabelSelector(), networkLabels: labelSelector(node, path))
        }
        guard let fields = members(node, path + ".", ["namespaceSelector", "podSelector"]) else { return nil }
        let namespaces = required(fields, "namespaceSelector", node, path + ".")
        let pods = required(fields, "podSelector", node, path + ".")
        guard let namespaces, let pods else { return nil }
        return EndpointSelector(
            labels: labelSelector(pods, path + ".podSelector"),
            networkLabels: labelSelector(namespaces, path + ".namespaceSelector"))
    }

    private mutating func rules(_ node: Node, _ path: String, _ list: RuleList) -> [PolicyRule] {
        let items = items(node, "\(path).\(list.rawValue)")
        if items.count > PolicyLimits.clusterRules {
            refuse(
                node, "\(path).\(list.rawValue)", "\(items.count)",
                "at most \(PolicyLimits.clusterRules) rules in a direction")
        }
        return items.compactMap { item, path in rule(item, path, list) }
    }

    private mutating func rule(_ node: Node, _ path: String, _ list: RuleList) -> PolicyRule? {
        let side = list == .ingress ? "from" : "to"
        guard let fields = members(node, path + ".", ["name", "action", side, "protocols"]) else {
            return nil
        }
        let actions: [(word: String, value: RuleAction)] = [
            ("Accept", .allow), ("Deny", .deny), ("Pass", .pass),
        ]
        let action = required(fields, "action", node, path + ".").flatMap { node in
            choice(node, path + ".action", actions)
        }
        var rule = PolicyRule(list, action ?? .deny)
        rule.name = fields["name"].flatMap { ruleName($0, path + ".name") }
        if let node = required(fields, side, node, path + ".") {
            let items = items(node, "\(path).\(side)")
            if items.isEmpty { refuse(node, "\(path).\(side)", "[]", "names no peer") }
            rule.peers = items.flatMap { item, path in peers(item, path, list) }
        }
        if let node = fields["protocols"] {
            let items = items(node, path + ".protocols")
            let ports = items.compactMap { item, path in port(item, path) }
            if !items.isEmpty { rule.ports = ports }
        }
        return action == nil ? nil : rule
    }

    private mutating func ruleName(_ node: Node, _ path: String) -> String? {
        guard let name = string(node, path) else { return nil }
        guard name.unicodeScalars.count <= 100 else {
            refuse(node, path, name, "at most 100 characters")
            return nil
        }
        return name
    }

    private mutating func peers(_ node: Node, _ path: String, _ list: RuleList) -> [PolicyPeer] {
        let known = ["namespaces", "pods"] + (list == .egress ? ["networks"] : [])
        let unsupported = list == .egress ? PolicyReader.unsupportedPeers : []
        let keys = node.mapping?.keys.compactMap { $0.scalar?.string } ?? []
        guard let fields = members(node, path + ".", known + unsupported) else { return [] }
        for key in keys where unsupported.contains(key) {
            refuse(
                node, "\(path).\(key)", nil, line: line(of: "\(path).\(key)"),
                "peers of this kind are not supported; supported are \(known.joined(separator: ", "))")
        }
        // What a server does not know it leaves out, so that nothing remains: it fails closed.
        guard let (key, value) = fields.first else {
            return keys.allSatisfy(known.contains) ? [.unknown] : []
        }
        guard fields.count == 1 else {
            refuse(node, path, nil, "must have one of " + known.joined(separator: ", "))
            return []
        }
        switch key {
        case "namespaces", "pods":
            return endpoints(value, "\(path).\(key)", arePods: key == "pods").map { [.endpoints($0)] } ?? []
        case "networks":
            let items = items(value, path + ".networks")
            if items.isEmpty { refuse(value, path + ".networks", "[]", "names no network") }
            return items.compactMap { item, path in block(item, path).map { .cidr($0, except: []) } }
        default: return []
        }
    }

    private mutating func port(_ node: Node, _ path: String) -> PortMatch? {
        let transports: [String: TransportProtocol] = ["tcp": .tcp, "udp": .udp, "sctp": .sctp]
        let known = ["tcp", "udp", "sctp", "destinationNamedPort"]
        guard let fields = members(node, path + ".", known) else { return nil }
        guard fields.count == 1, let (key, value) = fields.first else {
            refuse(node, path, nil, "must have one of " + known.joined(separator: ", "))
            return nil
        }
        let path = "\(path).\(key)"
        guard let transport = transports[key] else { return portName(value, path).map { .named($0, nil) } }
        guard let fields = members(value, path + ".", ["destinationPort"]) else { return nil }
        guard let port = fields["destinationPort"] else { return PortMatch(transport) }
        return destination(port, path + ".destinationPort", transport)
    }

    private mutating func destination(_ node: Node, _ path: String, _ transport: TransportProtocol)
        -> PortMatch?
    {
        guard let fields = members(node, path + ".", ["number", "range"]) else { return nil }
        guard fields.count == 1, let (key, value) = fields.first else {
            refuse(node, path, nil, "must have one of number and range")
            return nil
        }
        let path = "\(path).\(key)"
        if key == "number" {
            return integer(value, path, 1...65_535).flatMap { ports(transport, $0, $0, value, path) }
        }
        guard let fields = members(value, path + ".", ["start", "end"]) else { return nil }
        let start = required(fields, "start", value, path + ".")
        let end = required(fields, "end", value, path + ".")
        let first = start.flatMap { integer($0, path + ".start", 1...65_535) }
        let last = end.flatMap { integer($0, path + ".end", 1...65_535) }
        guard let first, let last, let end else { return nil }
        return ports(transport, first, last, end, path + ".end")
    }
}
