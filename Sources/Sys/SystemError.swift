internal import CLinux

/// A number of `errno.h`.
public struct Errno: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    public let rawValue: Int32
    public init(rawValue: Int32) { self.rawValue = rawValue }

    /// The calling thread's current value; read it before anything else can change it.
    package static var current: Errno { Errno(rawValue: cl_errno()) }

    public static let notPermitted = Errno(rawValue: EPERM)
    public static let noEntry = Errno(rawValue: ENOENT)
    public static let noProcess = Errno(rawValue: ESRCH)
    public static let interrupted = Errno(rawValue: EINTR)
    public static let again = Errno(rawValue: EAGAIN)
    public static let noMemory = Errno(rawValue: ENOMEM)
    public static let access = Errno(rawValue: EACCES)
    public static let busy = Errno(rawValue: EBUSY)
    public static let exists = Errno(rawValue: EEXIST)
    public static let noDevice = Errno(rawValue: ENODEV)
    public static let invalid = Errno(rawValue: EINVAL)
    public static let noSpace = Errno(rawValue: ENOSPC)
    public static let exchangeFull = Errno(rawValue: EXFULL)
    public static let brokenPipe = Errno(rawValue: EPIPE)
    public static let notSupported = Errno(rawValue: EOPNOTSUPP)
    public static let addressInUse = Errno(rawValue: EADDRINUSE)
    public static let addressNotAvailable = Errno(rawValue: EADDRNOTAVAIL)
    public static let networkDown = Errno(rawValue: ENETDOWN)
    public static let noBuffers = Errno(rawValue: ENOBUFS)
    public static let tooLong = Errno(rawValue: EMSGSIZE)
    public static let stale = Errno(rawValue: ESTALE)
    public static let connectionRefused = Errno(rawValue: ECONNREFUSED)

    /// The C library's sentence for it.
    public var description: String {
        var room = [CChar](repeating: 0, count: 128)
        unsafe room.withUnsafeMutableBufferPointer { unsafe cl_strerror(rawValue, $0.baseAddress, $0.count) }
        return String(decoding: room.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}

/// A system call that failed, and on what.
public struct SystemError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The call: "open", "setns".
    public let call: String
    public let errno: Errno
    /// What it was done to: a path, a pid.
    public let subject: String

    public init(_ call: String, _ errno: Errno, _ subject: String = "") {
        self.call = call
        self.errno = errno
        self.subject = subject
    }

    public var description: String {
        subject.isEmpty ? "\(call): \(errno)" : "\(call) \(subject): \(errno)"
    }
}

/// The one funnel for system calls: retries EINTR and turns -1 into an error.
@discardableResult
package func system<T: FixedWidthInteger>(
    _ call: String, _ subject: @autoclosure () -> String = "", _ body: () -> T
) throws(SystemError) -> T {
    while true {
        let result = body()
        if result != -1 { return result }
        let failure = Errno.current
        if failure != .interrupted { throw SystemError(call, failure, subject()) }
    }
}
