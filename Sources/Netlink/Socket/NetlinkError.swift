public import Sys
public import Wire

/// Why the kernel, or our reading of it, refused a netlink exchange.
public struct NetlinkError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: Hashable, Sendable {
        /// The kernel answered with this error.
        case refused(Errno)
        /// The socket itself failed.
        case socket(SystemError)
        /// A reply does not decode.
        case malformed(DecodeError)
        /// A dump changed while it was read, again and again.
        case interrupted
        /// A reply did not come.
        case silent
        /// What must be one datagram is longer than the socket takes.
        case tooLarge(length: Int, limit: Int)
    }

    public let code: Code
    /// What was asked for: "add link fv01".
    public let subject: String
    /// The kernel's own words (NLMSGERR_ATTR_MSG), empty where it gave none.
    public let kernelText: String

    public init(_ code: Code, _ subject: String, kernelText: String = "") {
        self.code = code
        self.subject = subject
        self.kernelText = kernelText
    }

    /// The errno, if the kernel refused.
    public var errno: Errno? {
        if case .refused(let errno) = code { errno } else { nil }
    }

    public var description: String {
        let reason =
            switch code {
            case .refused(let errno): errno.description
            case .socket(let error): error.description
            case .malformed(let error): "malformed reply: \(error)"
            case .interrupted: "the table kept changing while it was read"
            case .silent: "the kernel did not answer"
            case .tooLarge(let length, let limit):
                "\(length) bytes in one message; the socket takes \(limit) (net.core.wmem_max)"
            }
        return "\(subject): \(reason)" + (kernelText.isEmpty ? "" : " (\(kernelText))")
    }
}
