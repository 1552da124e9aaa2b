internal import Yams

/// Everything that is wrong with a policy file. Nothing of such a file is applied.
public struct PolicyDocumentError: Error, Hashable, Sendable, CustomStringConvertible {
    public struct Problem: Hashable, Sendable {
        /// Counted from 1.
        public let line: Int
        /// The field, such as `ingress[0].ports[1]`; empty where the document as a whole is meant.
        public let path: String
        /// The offending value, if there is one.
        public let value: String?
        public let reason: String

        public init(line: Int, path: String = "", value: String? = nil, _ reason: String) {
            self.line = line
            self.path = path
            // Hostile input must not flood a log.
            self.value = value.map { $0.count > 100 ? $0.prefix(100) + "…" : $0 }
            self.reason = reason
        }
    }

    public let file: String
    /// At least one, in the order of the file, at most `PolicyLimits.problems`.
    public let problems: [Problem]

    public init(file: String, _ problems: [Problem]) {
        self.file = file
        self.problems = problems
    }

    /// One line for each problem: `web.yaml:7: ingress[0].ports[1] "99999/tcp": expected ports from 1 to
    /// 65535`.
    public var description: String {
        problems.map { problem in
            let subject = [problem.path, problem.value.map { "\"\($0)\"" } ?? ""].filter { !$0.isEmpty }
            let place = "\(file):\(problem.line): "
            return place + (subject.isEmpty ? "" : subject.joined(separator: " ") + ": ") + problem.reason
        }.joined(separator: "\n")
    }
}

/// Policy files: YAML or JSON, many documents a file, in any mix of the native dialect and Kubernetes'. The
/// format is described in `docs/policy.md`.
public enum PolicyDocument {
    /// Bytes of a file.
    public static let textLimit = 4 << 20
    /// Bytes of one document, and characters of it that can begin a value: they bound the memory that parsing
    /// takes.
    static let documentLimit = 1 << 20
    static let nodeLimit = 200_000

    /// Reads and validates all policies of a file, in the file's order.
    ///
    /// - Parameter file: what errors call the text.
    /// - Throws: `PolicyDocumentError` with every problem of every document.
    public static func parse(
        _ text: String, file: String = "policy"
    ) throws(PolicyDocumentError) -> [FirewallPolicy] {
        guard text.utf8.count <= textLimit else {
            throw PolicyDocumentError(
                file: file,
                [
                    .init(line: 1, "the file has \(text.utf8.count) bytes, at most \(textLimit) are read")
                ])
        }
        var policies: [FirewallPolicy] = []
        var problems: [PolicyDocumentError.Problem] = []
        var lines: [PolicyID: Int] = [:]
        for chunk in DocumentChunk.split(text) where problems.count < PolicyLimits.problems {
            if let refused = chunk.refusal() {
                problems.append(refused)
                continue
            }
            for root in compose(chunk, &problems) {
                var reader = PolicyReader(firstLine: chunk.firstLine)
                let found = reader.read(root)
                problems += reader.problems
                for (policy, path) in found {
                    let line = reader.line(of: path)
                    if let other = lines.updateValue(line, forKey: policy.id) {
                        problems.append(
                            .init(
                                line: line, path: path, value: policy.name, "is in line \(other) already"))
                    }
                    policies.append(policy)
                }
            }
        }
        if policies.isEmpty, problems.isEmpty {
            problems.append(.init(line: 1, "the file holds no policy"))
        }
        guard problems.isEmpty else {
            throw PolicyDocumentError(file: file, Array(problems.prefix(PolicyLimits.problems)))
        }
        return policies
    }

    /// The documents of a chunk as trees, without those that are empty.
    private static func compose(
        _ chunk: DocumentChunk, _ problems: inout [PolicyDocumentError.Problem]
    ) -> [Node] {
        var roots: [Node] = []
        do {
            // The encoding is given, since the default asks the environment; text is taken as it stands,
            // unresolved.
            let parser = try Parser(yaml: chunk.text, resolver: .basic, encoding: .utf8)
            while let root = try parser.nextRoot() {
                if root.scalar?.string.isEmpty != true { roots.append(root) }
            }
        } catch {
            problems.append(problem(error, chunk))
        }
        return roots
    }

    private static func problem(_ error: any Error, _ chunk: DocumentChunk) -> PolicyDocumentError.Problem {
        func at(_ line: Int, _ reason: String) -> PolicyDocumentError.Problem {
            // The end of the text counts as a line of its own, where nobody would look.
            .init(line: chunk.firstLine + min(line, chunk.lineCount) - 1, "not YAML: \(reason)")
        }
        switch error as? YamlError {
        case .scanner(let context, let reason, let mark, _), .parser(let context, let reason, let mark, _),
            .composer(let context, let reason, let mark, _):
            return at(mark.line, [context?.text, reason].compactMap(\.self).joined(separator: ": "))
        case .duplicatedKeysInMapping(let keys, let context):
            let key = keys.first ?? ""
            let line = chunk.firstLine + repetition(of: key, in: chunk.text, from: context.mark.line) - 1
            return .init(line: line, path: key, "the key is given more than once")
        case .reader(let reason, let offset, _, _):
            let before = chunk.text.prefix(offset ?? 0)
            return at(1 + before.count { $0.isNewline }, reason)
        default: return at(1, "it cannot be parsed")
        }
    }

    /// The line in which a key stands for the second time, counted from 1. The parser knows where the mapping
    /// begins and no more; where both are in that line, it is the answer.
    private static func repetition(of key: String, in text: String, from first: Int) -> Int {
        let lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
        let places = lines.indices.filter { index in
            index >= first - 1 && lines[index].drop { $0 == " " || $0 == "-" }.hasPrefix(key + ":")
        }
        return places.count > 1 ? places[1] + 1 : first
    }
}
