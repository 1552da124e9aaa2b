/// A request that cannot be carried out, and why: what an API maps to a status and a CLI to one line.
public enum ModelError: Error, Hashable, Sendable, CustomStringConvertible {
    /// A field has a value it may not have.
    case invalid(_ field: String, _ value: String, _ reason: String)
    /// Nothing has this name or id: kind ("network"), what was asked for.
    case notFound(_ kind: String, _ name: String)
    /// Something else has it already.
    case exists(_ kind: String, _ name: String, _ reason: String)
    /// Several things match an abbreviated id.
    case ambiguous(_ kind: String, _ name: String, _ matches: [String])
    /// The state of things forbids it now.
    case precondition(_ field: String, _ value: String, _ reason: String)
    /// Nothing is left to give: addresses.
    case exhausted(_ what: String, _ value: String, _ reason: String)

    public var description: String {
        func cut(_ text: String) -> String {
            text.utf8.count > 100 ? String(decoding: text.utf8.prefix(100), as: UTF8.self) + "…" : text
        }
        switch self {
        case .invalid(let field, let value, let reason), .precondition(let field, let value, let reason),
            .exhausted(let field, let value, let reason):
            return "\(field) \"\(cut(value))\": \(reason)"
        case .notFound(let kind, let name): return "no such \(kind): \"\(cut(name))\""
        case .exists(let kind, let name, let reason): return "\(kind) \"\(cut(name))\" \(reason)"
        case .ambiguous(let kind, let name, let matches):
            return "\(kind) \"\(cut(name))\" is ambiguous: \(matches.prefix(5).joined(separator: ", "))"
        }
    }
}
