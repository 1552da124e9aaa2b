public import Sys

/// Why a namespace could not be opened, made or entered.
public struct NamespaceError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: String, Hashable, Sendable {
        /// The path leads to something else, or to a namespace of another kind.
        case notANetworkNamespace
        /// It belongs to another user, or to the host.
        case foreign
        /// The process whose namespace was asked for has ended.
        case gone
        /// It is the very namespace that this process works in.
        case own
        /// This system does not let this user make namespaces.
        case notAllowed
        /// A program from a package is needed and not there.
        case missingTool
        /// The id maps were refused.
        case mapping
        /// A child did not come as far as its program.
        case child
        /// A system call failed.
        case system
    }

    public let code: Code
    /// One sentence for a person, naming the offending value.
    public let context: String
    public let cause: SystemError?

    public init(_ code: Code, _ context: String, cause: SystemError? = nil) {
        self.code = code
        self.context = context
        self.cause = cause
    }

    package init(_ cause: SystemError) { self.init(.system, "", cause: cause) }

    public var description: String {
        switch cause {
        case .some(let cause) where context.isEmpty: "\(cause)"
        case .some(let cause) where code == .system: "\(context): \(cause)"
        default: context
        }
    }
}
