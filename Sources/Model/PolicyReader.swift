internal import Wire
internal import Yams

/// Reads one document's tree as policies and keeps going after an error, so that all are reported at once.
///
/// Here are the parts that the dialects have in common; each has a file of its own.
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

    /// The policies of a document with the path of each one's name; none if anything is wrong.
    mutating func read(_ root: Node) -> [(policy: FirewallPolicy, path: String)] {
        let isKubernetes = root.mapping?.keys.contains { ["apiVersion", "kind"].contains($0.scalar?.string) }
        guard isKubernetes ?? false else {
            guard let policy = policy(root), problems.isEmpty else { return [] }
            return valid(policy, "").map { [($0, "policy")] } ?? []
        }
        return readKubernetes(root, "")
    }

    /// The policy, if validation has nothing against it either.
    ///
    /// - Parameter prefix: goes before the paths that validation names.
    mutating func valid(_ policy: FirewallPolicy, _ prefix: String) -> FirewallPolicy? {
        let found = policy.problems()
        for case .invalid(let path, let value, let reason) in found {
            let path = prefix + path
            problems.append(.init(line: line(of: path), path: path, value: value, reason))
        }
        return found.isEmpty ? policy : nil
    }
}

// MARK: - Nodes

extension PolicyReader {
    mutating func refuse(
        _ node: Node, _ path: String, _ value: String?, line: Int? = nil, _ reason: String
    ) {
        guard problems.count < PolicyLimits.problems else { return }
        problems.append(.init(line: line ?? note(node, path), path: path, value: value, reason))
    }

    /// Remembers where a field stands.
    @discardableResult
    mutating func note(_ node: Node, _ path: String) -> Int {
        let line = firstLine + (node.mark?.line ?? 1) - 1
        lines[path] = lines[path] ?? line
        return line
    }

    /// The pairs of a mapping, whose keys are plain text and differ; nil if it is none.
    mutating func pairs(_ node: Node, _ path: String) -> [(key: String, value: Node)]? {
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
    mutating func fields(_ node: Node, _ path: String, _ known: [String]) -> [String: Node]? {
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

    mutating func items(_ node: Node, _ path: String) -> [(Node, String)] {
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

    mutating func text(_ node: Node, _ path: String) -> String? {
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

    mutating func number(_ node: Node, _ path: String) -> Int? {
        guard let text = text(node, path) else { return nil }
        guard let number = Int(text), String(number) == text else {
            refuse(node, path, text, "must be a whole number")
            return nil
        }
        return number
    }

    mutating func truth(_ node: Node, _ path: String) -> Bool {
        guard let text = text(node, path) else { return false }
        if text != "true", text != "false" { refuse(node, path, text, "must be true or false") }
        return text == "true"
    }

    mutating func value<T>(_ node: Node, _ path: String, _ read: (String) throws(ParseError) -> T)
        -> T?
    {
        guard let text = text(node, path) else { return nil }
        do throws(ParseError) { return try read(text) } catch {
            refuse(node, path, text, error.reason)
            return nil
        }
    }

    /// A plain scalar that YAML reads as nothing.
    func isNull(_ node: Node) -> Bool {
        node.scalar.map { $0.style == .plain && ["", "~", "null", "Null", "NULL"].contains($0.string) }
            ?? false
    }

    /// Text is read as it stands whatever YAML would make of it, so a tag (`!!int`) would be a promise not
    /// kept. The parser was given no rules to resolve tags by, so a node without one has its kind's own.
    func isUntagged(_ node: Node) -> Bool {
        switch node {
        case .scalar: node.tag.rawValue == Tag.Name.str.rawValue
        case .mapping: node.tag.rawValue == Tag.Name.map.rawValue
        case .sequence: node.tag.rawValue == Tag.Name.seq.rawValue
        case .alias: false
        }
    }
}
