internal import CLinux

/// The terminal, or what stands in its place.
enum Console {
    static var isTerminal: Bool { isatty(STDOUT_FILENO) == 1 }

    /// One line on stderr for each line of the message.
    static func complain(_ message: String) {
        for line in message.split(separator: "\n") { writeAll("forge: \(line)\n", to: STDERR_FILENO) }
    }

    /// Text on stdout as it is. A reader that went away ends the command, as SIGPIPE would.
    static func show(_ text: String) {
        if !writeAll(text, to: STDOUT_FILENO) { exit(Failure.ours) }
    }

    static func line(_ text: String) { show(text + "\n") }

    @discardableResult
    private static func writeAll(_ text: String, to descriptor: Int32) -> Bool {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let done = unsafe bytes.withUnsafeBytes { unsafe write(descriptor, $0.baseAddress, $0.count) }
            if done < 0 {
                if cl_errno() == EINTR { continue }
                return false
            }
            bytes = bytes.dropFirst(done)
        }
        return true
    }
}
