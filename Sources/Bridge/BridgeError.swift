/// Why a bridge or an endpoint's link could not be made, read or removed.
package struct BridgeError: Error, Sendable, CustomStringConvertible {
    package enum Code: String, Hashable, Sendable {
        /// A link of that name is there and does not carry our mark; it is left alone.
        case foreignLink
        /// The container has an interface of that name already.
        case interfaceExists
        /// The endpoint's link is there already.
        case attached
        /// The bridge is not there, or not any more.
        case noBridge
        /// The bridge has as many ports as the kernel allows (1,023).
        case bridgeFull
        /// An address lies in none of the network's subnets.
        case addressOutside
        /// A setting under /proc/sys cannot be read or written.
        case setting
        /// The kernel refused.
        case kernel
    }

    package let code: Code
    /// One sentence for a person, naming the offending value.
    package let context: String
    package let cause: (any Error)?

    package init(_ code: Code, _ context: String, cause: (any Error)? = nil) {
        self.code = code
        self.context = context
        self.cause = cause
    }

    package var description: String {
        switch (code, cause) {
        case (.kernel, let cause?), (.setting, let cause?): "\(context): \(cause)"
        default: context
        }
    }
}
