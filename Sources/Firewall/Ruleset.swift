package import Model
package import Wire

/// One element of the kernel's maps, without its value. See `docs/architecture.md` for the layout.
package enum Row: Hashable, Sendable {
    /// address → identity
    case identity(IPAddress)
    /// (identity of the judged endpoint, identity of its peer) → port class
    case pair(Direction, subject: UInt32, peer: UInt32)
    /// (identity of the judged endpoint, run of peer addresses) → port class
    case segment(Direction, subject: UInt32, first: IPAddress, last: IPAddress)
    /// (address of an endpoint, address that it was told for a name) → port class
    case named(IPAddress, IPAddress)
    /// (port class, run of protocol and port) → outcome
    case port(class: UInt32, range: ClosedRange<UInt32>)
    /// address of a quarantined endpoint → number of its quarantine
    case quarantined(IPAddress)
    /// (number of a quarantine, run of peer addresses) → class of ports that it excepts
    case exception(quarantine: UInt32, first: IPAddress, last: IPAddress)
    /// address → number of the endpoint, of those whose connections are limited
    case limited(IPAddress)
    /// (number of a rule, or `ownScope`; number of the endpoint) → new connections a second
    case connections(scope: UInt32, endpoint: UInt32)
    /// (number of a rule, of the endpoint, way of a connection) → packets a second
    case rulePackets(rule: UInt32, endpoint: UInt32, isReply: Bool)
    /// (number of a rule, of the endpoint, way of a connection) → kilobits a second
    case ruleBandwidth(rule: UInt32, endpoint: UInt32, isReply: Bool)
    /// host end of a link → packets a second that its endpoint gets or sends
    case packets(Direction, port: LinkName)
}

/// The name of a network interface as the kernel's sets hold it: at most 15 bytes (IFNAMSIZ), zeros behind them.
///
/// Two numbers and no text, so that rows are copied without counting references.
package struct LinkName: Hashable, Sendable {
    private let high: UInt64
    private let low: UInt64

    /// What is longer is cut.
    package init(_ name: String) {
        var bits: UInt128 = 0
        for byte in name.utf8.prefix(15) { bits = bits << 8 | UInt128(byte) }
        bits <<= 8 * UInt128(16 - min(name.utf8.count, 15))
        high = UInt64(truncatingIfNeeded: bits >> 64)
        low = UInt64(truncatingIfNeeded: bits)
    }

    /// Sixteen.
    var bytes: [UInt8] {
        [high, low].flatMap { half in (0..<8).map { UInt8(truncatingIfNeeded: half >> (56 - 8 * $0)) } }
    }
}

/// A row and its value.
package struct RowValue: Sendable {
    package let row: Row
    package let value: UInt32
}

/// What changes in the kernel when the compiler's input changed: the difference, nothing else.
package struct RulesetDelta: Sendable {
    package var removed: [RowValue] = []
    package var added: [RowValue] = []
    /// Chains that come (true) or go.
    package var chains: [OptionalChains: Bool] = [:]

    package init() {}

    package var isEmpty: Bool { removed.isEmpty && added.isEmpty && chains.isEmpty }
}
