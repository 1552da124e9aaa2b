/// Why a piece of text is not the value it should be.
///
/// `value` is the offending text, cut to 100 characters so that hostile input cannot flood a log.
public struct ParseError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What was being read: "IPv4 address", "CIDR".
    public let what: String
    /// The text that was refused.
    public let value: String
    /// What is wrong with it.
    public let reason: String

    public init(_ what: String, _ value: some StringProtocol, _ reason: String) {
        self.what = what
        self.value = value.count > 100 ? value.prefix(100) + "…" : String(value)
        self.reason = reason
    }

    public var description: String { "\(what) \"\(value)\": \(reason)" }
}
