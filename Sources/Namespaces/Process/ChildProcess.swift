internal import CLinux
internal import Sys

/// How a process ended.
package struct ExitStatus: Hashable, Sendable {
    /// The exit code, or 128 and the signal's number, as shells count.
    package let code: Int32
    /// The signal that ended it, 0 if none did.
    package let signal: Int32

    package init(code: Int32, signal: Int32 = 0) {
        self.code = code
        self.signal = signal
    }
}

/// A child of this process, waited for exactly once. Dropping it ends it.
package struct ChildProcess: ~Copyable, Sendable {
    package let pid: Int32
    private let plan: ProcessPlan
    private let reports: Descriptor
    private let go: Descriptor
    private var reaped = false

    /// Steps that failed and were allowed to, as far as `waitUntilPaused` or `waitUntilRunning` have read.
    package private(set) var skipped: [NamespaceError] = []

    init(pid: Int32, plan: ProcessPlan, reports: consuming Descriptor, go: consuming Descriptor) {
        self.pid = pid
        self.plan = plan
        self.reports = reports
        self.go = go
    }

    deinit {
        guard !reaped else { return }
        _ = CLinux.kill(pid, SIGKILL)
        var code: Int32 = 0
        var signal: Int32 = 0
        _ = unsafe cl_wait(pid, 0, &code, &signal)
    }

    /// The child's turn to go on from its pause.
    package borrowing func resume() throws(NamespaceError) {
        do throws(SystemError) { try go.write([1]) } catch { throw NamespaceError(error) }
    }

    /// Waits until all steps before the next pause are done.
    package mutating func waitUntilPaused() throws(NamespaceError) {
        guard try nextReport() else { throw NamespaceError(.child, "the child ended before it was ready") }
    }

    /// Waits until the child has become its program.
    /// - Throws: `.child` with the cause: a step that failed, or exec.
    package mutating func waitUntilRunning() throws(NamespaceError) {
        while try nextReport() {}
    }

    /// False at the end of the reports, true at a pause.
    private mutating func nextReport() throws(NamespaceError) -> Bool {
        let size = MemoryLayout<cl_report>.size
        while true {
            let bytes: [UInt8]
            do throws(SystemError) { bytes = try reports.readAll(limit: size) } catch {
                throw NamespaceError(error)
            }
            guard bytes.count == size else { return false }
            func field(_ index: Int) -> Int32 {
                // struct cl_report: three host-order words.
                bytes[index * 4..<index * 4 + 4].reversed().reduce(0) { $0 << 8 | Int32($1) }
            }
            let step = Int(field(1))
            let cause = SystemError(
                step < 0
                    ? "exec" : plan.steps.indices.contains(step) ? plan.steps[step].subject : "step \(step)",
                Errno(rawValue: field(2)), step < 0 ? plan.arguments.first ?? "" : "")
            switch Int(field(0)) {
            case CL_REPORT_PAUSED: return true
            case CL_REPORT_SKIPPED: skipped.append(NamespaceError(.child, "", cause: cause))
            default:
                if cause.errno == .stale, plan.steps.indices.contains(step),
                    case .joinNetwork(let path, _) = plan.steps[step]
                {
                    throw NamespaceError(.gone, "the network namespace that was attached as \(path) is gone")
                }
                throw NamespaceError(.child, "", cause: cause)
            }
        }
    }

    /// Waits for the end.
    package mutating func wait() throws(NamespaceError) -> ExitStatus {
        guard let status = try reap(hang: true) else {
            throw NamespaceError(SystemError("waitpid", .noProcess))
        }
        return status
    }

    /// The end, if it has come.
    package mutating func poll() throws(NamespaceError) -> ExitStatus? { try reap(hang: false) }

    private mutating func reap(hang: Bool) throws(NamespaceError) -> ExitStatus? {
        var code: Int32 = 0
        var signal: Int32 = 0
        let pid = pid
        do throws(SystemError) {
            let got = try system("waitpid", "\(pid)") { unsafe cl_wait(pid, hang ? 0 : 1, &code, &signal) }
            if got == 0 { return nil }
        } catch {
            throw NamespaceError(error)
        }
        reaped = true
        return ExitStatus(code: code, signal: signal)
    }

    /// Lets it live on without us.
    package mutating func abandon() { reaped = true }

    package borrowing func kill(_ signal: Int32) {
        if !reaped { _ = CLinux.kill(pid, signal) }
    }
}
