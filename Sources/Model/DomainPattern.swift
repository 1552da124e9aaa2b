public import Wire

/// A domain name that rules speak of, or all names below one: `api.example.com`, `*.example.com`, `*`.
///
/// As in Kubernetes' `domainNames`, `*.example.com` means every name below `example.com` at any depth, and not
/// `example.com` itself. Names compare without regard to case (RFC 4343).
public struct DomainPattern: Hashable, Sendable, CustomStringConvertible {
    /// In lower case, without the dot of the root.
    public let description: String

    /// Labels of letters, digits, `-` and `_` (RFC 2181 section 11 allows more; names of hosts have no more),
    /// separated by dots, 253 characters at most; the first label may be `*`.
    /// - Throws: what is wrong with the text.
    public init(_ text: String) throws(ParseError) {
        var name = text.lowercased()
        if name.hasSuffix(".") { name.removeLast() }
        var labels = name.split(separator: ".", omittingEmptySubsequences: false)
        if labels.first == "*" { labels.removeFirst() }
        guard name.utf8.count <= 253, name == "*" || !labels.isEmpty,
            labels.allSatisfy({ DomainPattern.isLabel($0) })
        else {
            throw ParseError(
                "domain name", text,
                "expected labels of letters, digits, '-' and '_' separated by dots; only the first may be *")
        }
        guard labels.last?.utf8.allSatisfy({ (48...57).contains($0) }) != true else {
            throw ParseError("domain name", text, "an address is no name; write it as a cidr")
        }
        description = name
    }

    private static func isLabel(_ label: Substring) -> Bool {
        (1...63).contains(label.utf8.count) && label.utf8.first != 45 && label.utf8.last != 45
            && label.utf8.allSatisfy {
                (97...122).contains($0) || (48...57).contains($0) || $0 == 45 || $0 == 95
            }
    }

    /// - Parameter name: in lower case, without the dot of the root, with what is special in labels escaped.
    public func matches(_ name: String) -> Bool {
        guard description.hasPrefix("*") else { return name == description }
        let suffix = description.utf8.dropFirst()
        guard name.utf8.count > suffix.count, name.utf8.suffix(suffix.count).elementsEqual(suffix) else {
            return false
        }
        // RFC 1035 section 5.1: a dot after a backslash is within a label; a backslash after one is itself.
        let escapes = name.utf8.dropLast(suffix.count).reversed().prefix { $0 == UInt8(ascii: "\\") }
        return suffix.isEmpty || escapes.count % 2 == 0
    }
}

extension DomainPattern: Codable {
    public init(from decoder: any Decoder) throws {
        try self.init(try decoder.singleValueContainer().decode(String.self))
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

extension PolicyRule {
    /// The peers that are domains, in order.
    public var domains: [DomainPattern] {
        (peers ?? []).compactMap { if case .domain(let pattern) = $0 { pattern } else { nil } }
    }
}
