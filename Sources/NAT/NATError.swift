package import Netlink

/// What could not be translated, and why.
package struct NATError: Error, Sendable, CustomStringConvertible {
    /// What was being done: "network shop".
    package let context: String
    package let cause: NetlinkError

    package var description: String { "\(context): \(cause)" }
}
