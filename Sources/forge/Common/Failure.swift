internal import API

/// Why a command stops: what is said on stderr, and the exit code.
struct Failure: Error {
    /// The exit code of trouble that is ours and not the command's that we ran (docker's habit).
    static let ours: Int32 = 125

    let message: String
    let exitCode: Int32

    init(_ message: String, exitCode: Int32 = Failure.ours) {
        self.message = message
        self.exitCode = exitCode
    }

    init(_ error: any Error) {
        self.init((error as? Failure)?.message ?? "\(error)")
    }
}
