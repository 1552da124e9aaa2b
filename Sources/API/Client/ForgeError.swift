internal import GRPCCore

/// Why a call to the fabric did not succeed.
public struct ForgeError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What kind of trouble, for programs.
    public enum Code: Hashable, Sendable {
        /// A field has a value it may not have.
        case invalidArgument
        /// Nothing has this name or id.
        case notFound
        /// Something else has this name, address or container id.
        case alreadyExists
        /// The state of things forbids it now.
        case failedPrecondition
        /// No address is left, or the request is too large.
        case resourceExhausted
        /// Nobody answers at the socket, or the connection broke before the answer came.
        case unavailable
        /// The kernel or the store refused, or the server is at fault.
        case failed
    }

    public let code: Code
    /// One line that names the field and the offending value.
    public let message: String

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    init(_ error: any Error) {
        guard let error = error as? RPCError else {
            self.init(.failed, "\(error)")
            return
        }
        let code: Code =
            switch error.code {
            case .invalidArgument: .invalidArgument
            case .notFound: .notFound
            case .alreadyExists: .alreadyExists
            case .failedPrecondition: .failedPrecondition
            case .resourceExhausted: .resourceExhausted
            case .unavailable: .unavailable
            default: .failed
            }
        self.init(code, error.message)
    }

    public var description: String { message }
}
