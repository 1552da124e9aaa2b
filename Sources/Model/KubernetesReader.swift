internal import Wire
internal import Yams

/// What the Kubernetes dialects have in common. A key whose value is null counts as left out.
extension PolicyReader {
    /// What servers write beside what people write; it has no say here.
    private static let ignoredMetadata = [
        "labels", "annotations", "creationTimestamp", "generation", "managedFields", "resourceVersion",
        "selfLink", "uid", "finalizers", "ownerReferences",
    ]

    /// The annotation that puts an object into audit mode.
    static let modeAnnotation = "forge/mode"

    private static let lists = ["List", "NetworkPolicyList", "ClusterNetworkPolicyList"]

    /// - Parameter prefix: goes before the paths of what is read: `items[0].` in a list.
    mutating func readKubernetes(_ root: Node, _ prefix: String) -> [(policy: FirewallPolicy, path: String)] {
        guard let mapping = root.mapping else {
            refuse(root, String(prefix.dropLast()), root.scalar?.string, "must be a mapping (key: value)")
            return []
        }
        let kind = mapping.first { $0.key.scalar?.string == "kind" }?.value
        guard let name = kind?.scalar?.string, let kind else {
            refuse(root, prefix + "kind", nil, "is missing: NetworkPolicy, ClusterNetworkPolicy or List")
            return []
        }
        if PolicyReader.lists.contains(name) {
            guard prefix.isEmpty else {
                refuse(kind, prefix + "kind", name, "a list cannot stand in a list")
                return []
            }
            return list(root, name)
        }
        let before = problems.count
        let policy: FirewallPolicy?
        switch name {
        case "NetworkPolicy": policy = networkPolicy(root, prefix)
        case "ClusterNetworkPolicy": policy = clusterNetworkPolicy(root, prefix)
        default:
            refuse(
                kind, prefix + "kind", name, "must be NetworkPolicy, ClusterNetworkPolicy or List")
            return []
        }
        guard let policy, problems.count == before else { return [] }
        return valid(policy, prefix).map { [($0, prefix + "metadata.name")] } ?? []
    }

    private mutating func list(_ root: Node, _ kind: String) -> [(policy: FirewallPolicy, path: String)] {
        guard let fields = members(root, "", ["apiVersion", "kind", "metadata", "items"]) else { return [] }
        let versions = [
            "List": "v1", "NetworkPolicyList": PolicyReader.networkPolicyVersion,
            "ClusterNetworkPolicyList": PolicyReader.clusterNetworkPolicyVersion,
        ]
        version(fields, root, "", versions[kind] ?? "")
        guard let list = fields["items"] else { return [] }
        var found: [(policy: FirewallPolicy, path: String)] = []
        for (item, path) in items(list, "items") { found += readKubernetes(item, path + ".") }
        return problems.isEmpty ? found : []
    }

    /// The parts of an object: its name, its namespace and its `spec`; nil if it has no spec.
    mutating func object(
        _ root: Node, _ prefix: String, version: String
    ) -> (name: String, namespace: Node?, spec: Node, mode: PolicyMode)? {
        let known = ["apiVersion", "kind", "metadata", "spec", "status"]
        guard let fields = members(root, prefix, known) else { return nil }
        self.version(fields, root, prefix, version)
        var name = ""
        var namespace: Node?
        var mode = PolicyMode.enforce
        let path = prefix + "metadata"
        if let metadata = required(fields, "metadata", root, prefix),
            let fields = members(metadata, path + ".", ["name", "namespace"] + PolicyReader.ignoredMetadata)
        {
            namespace = fields["namespace"]
            for (key, value) in fields["annotations"].flatMap({ pairs($0, path + ".annotations") }) ?? []
            where key == PolicyReader.modeAnnotation {
                mode = self.mode(value, "\(path).annotations.\(key)")
            }
            if let node = required(fields, "name", metadata, path + ".") {
                name = string(node, path + ".name") ?? ""
            }
        }
        guard let spec = required(fields, "spec", root, prefix) else { return nil }
        return (name, namespace, spec, mode)
    }

    private mutating func version(
        _ fields: [String: Node], _ root: Node, _ prefix: String, _ expected: String
    ) {
        guard let node = required(fields, "apiVersion", root, prefix),
            let version = string(node, prefix + "apiVersion")
        else { return }
        if version != expected { refuse(node, prefix + "apiVersion", version, "must be \(expected)") }
    }

    // MARK: Selectors

    mutating func labelSelector(_ node: Node, _ path: String) -> LabelSelector {
        var selector = LabelSelector()
        guard let fields = members(node, path + ".", ["matchLabels", "matchExpressions"]) else {
            return selector
        }
        if let labels = fields["matchLabels"] {
            for (key, value) in pairs(labels, path + ".matchLabels") ?? [] {
                let path = "\(path).matchLabels.\(key)"
                guard let text = string(value, path) else { continue }
                check(value, path) { () throws(ModelError) in
                    try LabelSyntax.check([key: text], field: path)
                }
                selector.matchLabels[key] = text
            }
        }
        for (item, path) in fields["matchExpressions"].map({ items($0, path + ".matchExpressions") }) ?? [] {
            if let requirement = requirement(item, path) { selector.matchExpressions.append(requirement) }
        }
        return selector
    }

    private mutating func requirement(_ node: Node, _ path: String) -> LabelRequirement? {
        guard let fields = members(node, path + ".", ["key", "operator", "values"]) else { return nil }
        let key = required(fields, "key", node, path + ".").flatMap { string($0, path + ".key") }
        let condition = required(fields, "operator", node, path + ".").flatMap { node in
            choice(node, path + ".operator", LabelRequirement.Operator.allCases.map { ($0.rawValue, $0) })
        }
        var values: Set<String> = []
        for (item, path) in fields["values"].map({ items($0, path + ".values") }) ?? [] {
            if let value = string(item, path) { values.insert(value) }
        }
        guard let key, let condition else { return nil }
        let requirement = LabelRequirement(key, condition, values)
        check(node, path) { () throws(ModelError) in try LabelSyntax.check(requirement, field: path) }
        return requirement
    }

    // MARK: Values

    /// As `fields`, without those that are null. `path` ends in a dot, or is empty.
    mutating func members(_ node: Node, _ path: String, _ known: [String]) -> [String: Node]? {
        fields(node, String(path.dropLast()), known)?.filter { !isNull($0.value) }
    }

    mutating func required(_ fields: [String: Node], _ key: String, _ parent: Node, _ path: String) -> Node? {
        if fields[key] == nil { refuse(parent, path + key, nil, "is missing") }
        return fields[key]
    }

    /// Text, and not something that YAML takes for a number or a truth value.
    mutating func string(_ node: Node, _ path: String) -> String? {
        guard let text = text(node, path) else { return nil }
        guard let scalar = node.scalar, scalar.style != .plain || !PolicyReader.isResolved(text) else {
            refuse(node, path, text, "must be text: write it in quotes")
            return nil
        }
        return text
    }

    /// A whole number that is not in quotes.
    mutating func integer(_ node: Node, _ path: String, _ range: ClosedRange<Int>) -> Int? {
        guard let text = text(node, path) else { return nil }
        guard node.scalar?.style == .plain, let number = Int(text), String(number) == text else {
            refuse(node, path, text, "must be a whole number")
            return nil
        }
        guard range.contains(number) else {
            refuse(node, path, text, "must be \(range.lowerBound) to \(range.upperBound)")
            return nil
        }
        return number
    }

    mutating func choice<T>(_ node: Node, _ path: String, _ choices: [(word: String, value: T)]) -> T? {
        guard let text = string(node, path) else { return nil }
        guard let choice = choices.first(where: { $0.word == text }) else {
            refuse(node, path, text, "must be " + choices.map(\.word).joined(separator: ", "))
            return nil
        }
        return choice.value
    }

    /// A block of addresses; unlike in the native dialect, bits behind the prefix do not matter.
    mutating func block(_ node: Node, _ path: String) -> CIDR? {
        value(node, path) { text throws(ParseError) in
            let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, let address = try? IPAddress(parts[0]), let length = Int(parts[1]) else {
                return try CIDR(text)
            }
            let block = CIDR(containing: address, prefixLength: length)
            return try CIDR("\(block.first)/\(parts[1])")
        }
    }

    /// The name of a port.
    mutating func portName(_ node: Node, _ path: String) -> String? {
        guard let name = text(node, path) else { return nil }
        var isGood = true
        do throws(ModelError) { try Name.checkPort(name, field: path) } catch {
            isGood = false
            refuse(error, node, path)
        }
        return isGood ? name : nil
    }

    mutating func check(_ node: Node, _ path: String, _ body: () throws(ModelError) -> Void) {
        do throws(ModelError) { try body() } catch { refuse(error, node, path) }
    }

    private mutating func refuse(_ error: ModelError, _ node: Node, _ path: String) {
        guard case .invalid(let field, let value, let reason) = error else { return }
        refuse(node, field.hasPrefix(path) ? field : path, value, reason)
    }

    /// Whether YAML 1.2's core schema (section 10.3.2) reads a plain word as something else than text.
    private static func isResolved(_ text: String) -> Bool {
        let words: Set = ["true", "True", "TRUE", "false", "False", "FALSE"]
        if words.contains(text) || Int(text) != nil { return true }
        guard let first = text.utf8.first, (48...57).contains(first) || [43, 45, 46].contains(first) else {
            return false
        }
        if text.hasPrefix("0x") || text.hasPrefix("0o") {
            return Int(text.dropFirst(2), radix: text.hasPrefix("0x") ? 16 : 8) != nil
        }
        return Double(text) != nil || [".inf", "-.inf", "+.inf", ".nan"].contains(text.lowercased())
    }
}
