package import Netlink

/// What the firewall could not do, and why.
package struct FirewallError: Error, Sendable, CustomStringConvertible {
    package enum Code: Hashable, Sendable {
        /// The kernel refused the ruleset or could not be read.
        case kernel
        /// The rows would be more than the kernel's sets should hold.
        case tooLarge
    }

    package let code: Code
    /// What was being done: "apply policies".
    package let context: String
    /// nil where it is not the kernel's.
    package let cause: NetlinkError?

    package init(code: Code, context: String, cause: NetlinkError? = nil) {
        self.code = code
        self.context = context
        self.cause = cause
    }

    package var description: String { cause.map { "\(context): \($0)" } ?? context }
}
