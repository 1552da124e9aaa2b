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
    /// (port class, run of protocol and port) → outcome
    case port(class: UInt32, range: ClosedRange<UInt32>)
    /// address of a quarantined endpoint → number of its quarantine
    case quarantined(IPAddress)
    /// (number of a quarantine, run of peer addresses) → class of ports that it excepts
    case exception(quarantine: UInt32, first: IPAddress, last: IPAddress)
    /// identity → the chain that limits its new connections
    case limit(subject: UInt32)
}

/// The chain behind a `limit` row: each policy's own bound on new connections a second, for each endpoint by
/// itself.
package struct LimitChain: Hashable, Sendable {
    package struct Bound: Hashable, Sendable {
        package let policy: String
        package let perSecond: Int
    }

    package let number: UInt32
    package let bounds: [Bound]
}

/// What changes in the kernel when the compiler's input changed: the difference, nothing else.
package struct RulesetDelta: Hashable, Sendable {
    package var removed: [Row: UInt32] = [:]
    package var added: [Row: UInt32] = [:]
    package var removedLimits: [LimitChain] = []
    package var addedLimits: [LimitChain] = []

    package init() {}

    package var isEmpty: Bool {
        removed.isEmpty && added.isEmpty && removedLimits.isEmpty && addedLimits.isEmpty
    }
}
