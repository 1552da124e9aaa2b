package import Netlink

/// What the firewall could not do, and why.
package struct FirewallError: Error, Sendable, CustomStringConvertible {
    package enum Code: Hashable, Sendable {
        /// The kernel refused the ruleset or could not be read.
        case kernel
    }

    package let code: Code
    /// What was being done: "apply policies".
    package let context: String
    package let cause: NetlinkError

    package var description: String { "\(context): \(cause)" }
}
