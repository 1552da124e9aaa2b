internal import Wire

/// Writes policies of the Kubernetes dialects: reading them back gives the same policy.
extension FirewallPolicy {
    var networkPolicyDocument: DocumentValue {
        var spec: [(String, DocumentValue)] = [("podSelector", DocumentValue(selector.labels))]
        let types = Direction.allCases.filter(directions.contains).map {
            DocumentValue.text($0 == .ingress ? "Ingress" : "Egress")
        }
        spec.append(("policyTypes", .list(types)))
        for (list, side) in [(RuleList.ingress, "from"), (.egress, "to")] where !rules(list).isEmpty {
            let rules = rules(list).map { rule in
                var parts: [(String, DocumentValue)] = []
                if let peers = rule.peers {
                    parts.append((side, .list(peers.map { networkPolicyPeer($0) })))
                }
                if let ports = rule.ports {
                    parts.append(("ports", .list(ports.map { DocumentValue(networkPolicyPort: $0) })))
                }
                return DocumentValue.map(parts)
            }
            spec.append((list.rawValue, .list(rules)))
        }
        return object(
            version: PolicyReader.networkPolicyVersion, namespace: [("namespace", .text(id.namespace ?? ""))],
            spec)
    }

    var clusterNetworkPolicyDocument: DocumentValue {
        var spec: [(String, DocumentValue)] = [("tier", .text(tier.name.capitalizedFirst))]
        if case .admin(let priority) = tier { spec.append(("priority", .number(priority))) }
        if case .baseline(let priority) = tier { spec.append(("priority", .number(priority))) }
        spec.append(("subject", DocumentValue(clusterSelector: selector)))
        for (list, side) in [(RuleList.ingress, "from"), (.egress, "to")] where !rules(list).isEmpty {
            let rules = rules(list).map { rule in
                var parts: [(String, DocumentValue)] = []
                if let name = rule.name { parts.append(("name", .text(name))) }
                parts.append(("action", .text(rule.action.word)))
                let peers = (rule.peers ?? []).map { DocumentValue(clusterPeer: $0) }
                parts.append((side, .list(peers)))
                if let ports = rule.ports {
                    parts.append(("protocols", .list(ports.map { DocumentValue(clusterPort: $0) })))
                }
                return DocumentValue.map(parts)
            }
            spec.append((list.rawValue, .list(rules)))
        }
        return object(version: PolicyReader.clusterNetworkPolicyVersion, namespace: [], spec)
    }

    private func object(
        version: String, namespace: [(String, DocumentValue)], _ spec: [(String, DocumentValue)]
    ) -> DocumentValue {
        let annotations: [(String, DocumentValue)] =
            mode == .enforce
            ? [] : [("annotations", .map([(PolicyReader.modeAnnotation, .text(mode.rawValue))]))]
        return .map([
            ("apiVersion", .text(version)), ("kind", .text(id.dialect.rawValue)),
            ("metadata", .map([("name", .text(id.name))] + namespace + annotations)), ("spec", .map(spec)),
        ])
    }

    private func networkPolicyPeer(_ peer: PolicyPeer) -> DocumentValue {
        switch peer {
        case .endpoints(let selector):
            let pods = ("podSelector", DocumentValue(selector.labels))
            if selector.network != nil { return .map([pods]) }
            let namespaces = ("namespaceSelector", DocumentValue(selector.networkLabels))
            return .map([namespaces] + (selector.labels.matchesEverything ? [] : [pods]))
        case .cidr(let block, let except):
            let excepted = ("except", DocumentValue.list(except.map { .text($0.description) }))
            let parts = [("cidr", DocumentValue.text(block.description))] + (except.isEmpty ? [] : [excepted])
            return .map([("ipBlock", .map(parts))])
        // No Kubernetes policy has a domain.
        case .domain, .unknown: return .map([])
        }
    }
}

extension RuleAction {
    /// As a `ClusterNetworkPolicy` has it.
    fileprivate var word: String {
        switch self {
        case .allow: "Accept"
        case .deny: "Deny"
        case .pass: "Pass"
        }
    }
}

extension String {
    fileprivate var capitalizedFirst: String { prefix(1).uppercased() + dropFirst() }
}

extension DocumentValue {
    fileprivate init(_ selector: LabelSelector) {
        var fields: [(String, DocumentValue)] = []
        if !selector.matchLabels.isEmpty {
            let labels = selector.matchLabels.sorted { $0.key < $1.key }
            fields.append(("matchLabels", .map(labels.map { ($0.key, .text($0.value)) })))
        }
        if !selector.matchExpressions.isEmpty {
            let expressions = selector.matchExpressions.map { one in
                DocumentValue.map(
                    [("key", .text(one.key)), ("operator", .text(one.condition.rawValue))]
                        + (one.values.isEmpty
                            ? [] : [("values", .list(one.values.sorted().map { .text($0) }))])
                )
            }
            fields.append(("matchExpressions", .list(expressions)))
        }
        self = .map(fields)
    }

    fileprivate init(clusterSelector selector: EndpointSelector) {
        let namespaces = DocumentValue(selector.networkLabels)
        guard !selector.labels.matchesEverything else {
            self = .map([("namespaces", namespaces)])
            return
        }
        let pods = DocumentValue(selector.labels)
        self = .map([("pods", .map([("namespaceSelector", namespaces), ("podSelector", pods)]))])
    }

    fileprivate init(clusterPeer peer: PolicyPeer) {
        switch peer {
        case .endpoints(let selector): self.init(clusterSelector: selector)
        case .cidr(let block, _): self = .map([("networks", .list([.text(block.description)]))])
        case .domain, .unknown: self = .map([])
        }
    }

    fileprivate init(networkPolicyPort port: PortMatch) {
        func fields(_ transport: TransportProtocol) -> [(String, DocumentValue)] {
            [("protocol", .text(transport.rawValue.uppercased()))]
        }
        switch port {
        case .named(let name, let transport):
            self = .map(fields(transport ?? .tcp) + [("port", .text(name))])
        case .range(let range):
            var parts = fields(range.transport)
            if range.ports != 0...UInt16.max {
                parts.append(("port", .number(Int(range.ports.lowerBound))))
                if range.ports.count > 1 { parts.append(("endPort", .number(Int(range.ports.upperBound)))) }
            }
            self = .map(parts)
        }
    }

    fileprivate init(clusterPort port: PortMatch) {
        switch port {
        case .named(let name, _): self = .map([("destinationNamedPort", .text(name))])
        case .range(let range):
            let (first, last) = (Int(range.ports.lowerBound), Int(range.ports.upperBound))
            let ports: DocumentValue =
                first == last
                ? .map([("number", .number(first))])
                : .map([("range", .map([("start", .number(first)), ("end", .number(last))]))])
            let isWhole = range.ports == 0...UInt16.max
            self = .map([(range.transport.rawValue, .map(isWhole ? [] : [("destinationPort", ports)]))])
        }
    }
}
