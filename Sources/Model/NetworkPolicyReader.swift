internal import Wire
internal import Yams

/// Kubernetes' `NetworkPolicy`: its namespace is a network, its pods are endpoints.
extension PolicyReader {
    static let networkPolicyVersion = "networking.k8s.io/v1"

    mutating func networkPolicy(_ root: Node, _ prefix: String) -> FirewallPolicy? {
        guard let object = object(root, prefix, version: PolicyReader.networkPolicyVersion) else {
            return nil
        }
        let path = prefix + "spec"
        let namespace =
            object.namespace.map { string($0, prefix + "metadata.namespace") ?? "" } ?? "default"
        guard
            let fields = members(
                object.spec, path + ".", ["podSelector", "policyTypes", "ingress", "egress"])
        else { return nil }
        let pods = fields["podSelector"].map { labelSelector($0, path + ".podSelector") } ?? LabelSelector()
        let ingress = fields["ingress"].map { rules($0, path, .ingress, namespace) } ?? []
        let egress = fields["egress"].map { rules($0, path, .egress, namespace) } ?? []
        var directions: Set<Direction> = []
        for (item, path) in fields["policyTypes"].map({ items($0, path + ".policyTypes") }) ?? [] {
            if let direction = choice(item, path, [("Ingress", Direction.ingress), ("Egress", .egress)]) {
                directions.insert(direction)
            }
        }
        if directions.isEmpty { directions = egress.isEmpty ? [.ingress] : [.ingress, .egress] }
        var policy = FirewallPolicy(
            id: .networkPolicy(object.name, in: namespace),
            selector: EndpointSelector(labels: pods, network: namespace), directions: directions,
            // Rules of a direction that the policy is not for have no effect.
            rules: (ingress + egress).filter { directions.contains($0.direction) })
        policy.mode = object.mode
        return policy
    }

    private mutating func rules(
        _ node: Node, _ path: String, _ list: RuleList, _ namespace: String
    ) -> [PolicyRule] {
        let side = list == .ingress ? "from" : "to"
        return items(node, "\(path).\(list.rawValue)").compactMap { item, path in
            guard let fields = members(item, path + ".", [side, "ports"]) else { return nil }
            var rule = PolicyRule(list, .allow)
            // An empty list means the same as none.
            if let node = fields[side] {
                let items = items(node, "\(path).\(side)")
                let peers = items.compactMap { item, path in peer(item, path, namespace) }
                if !items.isEmpty { rule.peers = peers }
            }
            if let node = fields["ports"] {
                let items = items(node, "\(path).ports")
                let ports = items.compactMap { item, path in port(item, path) }
                if !items.isEmpty { rule.ports = ports }
            }
            return rule
        }
    }

    private mutating func peer(_ node: Node, _ path: String, _ namespace: String) -> PolicyPeer? {
        let known = ["podSelector", "namespaceSelector", "ipBlock"]
        guard let fields = members(node, path + ".", known) else { return nil }
        let pods = fields["podSelector"].map { labelSelector($0, path + ".podSelector") }
        let namespaces = fields["namespaceSelector"].map { labelSelector($0, path + ".namespaceSelector") }
        if let block = fields["ipBlock"] {
            if pods != nil || namespaces != nil {
                refuse(block, path + ".ipBlock", nil, "cannot stand beside a selector")
            }
            return addresses(block, path + ".ipBlock")
        }
        guard pods != nil || namespaces != nil else {
            // Keys that are not known have been refused already.
            if node.mapping?.allSatisfy({ known.contains($0.key.scalar?.string ?? "") }) ?? false {
                refuse(node, path, "{}", "must have a podSelector, a namespaceSelector or an ipBlock")
            }
            return nil
        }
        return .endpoints(
            EndpointSelector(
                labels: pods ?? LabelSelector(), networkLabels: namespaces ?? LabelSelector(),
                network: namespaces == nil ? namespace : nil))
    }

    private mutating func addresses(_ node: Node, _ path: String) -> PolicyPeer? {
        guard let fields = members(node, path + ".", ["cidr", "except"]) else { return nil }
        let block = required(fields, "cidr", node, path + ".").flatMap { self.block($0, path + ".cidr") }
        var except: [CIDR] = []
        for (item, path) in fields["except"].map({ items($0, path + ".except") }) ?? [] {
            guard let inner = self.block(item, path) else { continue }
            if let block, !block.contains(inner) {
                refuse(item, path, "\(inner)", "must lie inside \(block)")
            }
            except.append(inner)
        }
        return block.map { .cidr($0, except: except) }
    }

    private mutating func port(_ node: Node, _ path: String) -> PortMatch? {
        guard let fields = members(node, path + ".", ["protocol", "port", "endPort"]) else { return nil }
        var transport = TransportProtocol.tcp
        if let node = fields["protocol"] {
            let known: [(word: String, value: TransportProtocol)] = [
                ("TCP", .tcp), ("UDP", .udp), ("SCTP", .sctp),
            ]
            guard let choice = choice(node, path + ".protocol", known) else { return nil }
            transport = choice
        }
        guard let port = fields["port"] else {
            if let end = fields["endPort"] {
                refuse(end, path + ".endPort", end.scalar?.string, "needs a port that it ends")
            }
            return PortMatch(transport)
        }
        if let text = port.scalar?.string, port.scalar?.style != .plain || Int(text) == nil {
            if let end = fields["endPort"] {
                refuse(end, path + ".endPort", end.scalar?.string, "cannot follow a port that is a name")
            }
            return portName(port, path + ".port").map { .named($0, transport) }
        }
        let first = integer(port, path + ".port", 1...65_535)
        let last = fields["endPort"].map { integer($0, path + ".endPort", 1...65_535) } ?? first
        guard let first, let last else { return nil }
        return ports(transport, first, last, fields["endPort"] ?? port, path + ".endPort")
    }

    /// A range of ports, whose last is given by `node`.
    mutating func ports(
        _ transport: TransportProtocol, _ first: Int, _ last: Int, _ node: Node, _ path: String
    ) -> PortMatch? {
        guard first <= last else {
            refuse(node, path, "\(last)", "the range ends before it begins (at \(first))")
            return nil
        }
        return PortMatch(transport, UInt16(clamping: first)...UInt16(clamping: last))
    }
}
