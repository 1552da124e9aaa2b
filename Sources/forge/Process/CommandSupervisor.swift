internal import CLinux
internal import Namespaces
internal import Sys

/// Stands between a command and whoever started it: signals go down, the exit code comes up.
///
/// The command stays in our process group, so the terminal is its own and Ctrl-C reaches it without us.
/// Belongs to the main thread, before any other exists: other threads inherit the blocked signals, and the
/// command is told to end when the thread that started it does.
enum CommandSupervisor {
    private static let passedOn = [SIGTERM, SIGHUP, SIGUSR1, SIGUSR2]
    /// The terminal sends them to the command as well.
    private static let fromTerminal = [SIGINT, SIGQUIT]

    /// From here on signals wait for `supervise`.
    static func holdSignals() {
        let all = passedOn + fromTerminal + [SIGCHLD]
        _ = unsafe all.withUnsafeBufferPointer { unsafe cl_block_signals($0.baseAddress, Int32($0.count)) }
    }

    /// Waits until the child has become its command.
    /// - Returns: nil if it has; the exit code if the command cannot be run, after saying why.
    static func launch(_ child: inout ChildProcess, _ command: [String]) -> Int32? {
        do throws(NamespaceError) {
            try child.waitUntilRunning()
            for step in child.skipped { Console.complain("warning: \(step)") }
            return nil
        } catch {
            guard let cause = error.cause, cause.call == "exec" else {
                Console.complain("cannot prepare the command: \(error)")
                return Failure.ours
            }
            let name = command.first ?? ""
            switch cause.errno {
            case .noEntry where name.contains("/"):
                Console.complain("exec \"\(name)\": no such file or directory")
                return 127
            case .noEntry:
                Console.complain("exec \"\(name)\": executable file not found in $PATH")
                return 127
            default:
                Console.complain("exec \"\(name)\": \(cause.errno)")
                return 126
            }
        }
    }

    /// Passes signals on until the command ends.
    /// - Returns: its exit code, or 128 and the signal that ended it.
    static func supervise(_ child: inout ChildProcess) -> Int32 {
        let all = passedOn + fromTerminal + [SIGCHLD]
        do throws(NamespaceError) {
            while true {
                // First, since it may have ended before we began to wait.
                if let status = try child.poll() { return status.code }
                var isFromProcess: Int32 = 0
                let signal = unsafe all.withUnsafeBufferPointer {
                    unsafe cl_wait_signal($0.baseAddress, Int32($0.count), -1, &isFromProcess)
                }
                if passedOn.contains(signal) || fromTerminal.contains(signal) && isFromProcess == 1 {
                    child.kill(signal)
                }
            }
        } catch {
            Console.complain("\(error)")
            return Failure.ours
        }
    }
}
