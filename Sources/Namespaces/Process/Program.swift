internal import CLinux
package import Sys

/// A pipe: what is written to one end is read from the other.
package struct Pipe: ~Copyable, Sendable {
    package let reader: Descriptor
    package let writer: Descriptor

    package init() throws(SystemError) {
        var ends: [Int32] = [-1, -1]
        try system("pipe") { unsafe ends.withUnsafeMutableBufferPointer { unsafe cl_pipe($0.baseAddress) } }
        reader = Descriptor(owning: ends[0])
        writer = Descriptor(owning: ends[1])
    }

    /// Closes the other end.
    package consuming func keepReader() -> Descriptor { reader }

    /// Closes the other end.
    package consuming func keepWriter() -> Descriptor { writer }
}

/// A program that ran to its end.
package struct ProgramResult: Hashable, Sendable {
    package let status: ExitStatus
    package let output: String
    package let errors: String
    /// It did not end by itself in time, and was killed.
    package let timedOut: Bool
}

extension ProcessPlan {
    /// Starts the program, reads what it says (at most 1 MiB each of output and errors) and waits for its
    /// end.
    ///
    /// Blocks the calling thread. Standard input is empty. What else holds the output open is not waited for.
    /// - Throws: `.child` if a step or exec fails.
    package func run(timeoutSeconds: Double) throws(NamespaceError) -> ProgramResult {
        var plan = self
        let nothing = try funnel { () throws(SystemError) in try Descriptor.open("/dev/null", O_RDONLY) }
        let output = try funnel { () throws(SystemError) in try Pipe() }
        let errors = try funnel { () throws(SystemError) in try Pipe() }
        plan.descriptors.replaceSubrange(
            0..<min(3, plan.descriptors.count),
            with: [nothing.rawValue, output.writer.rawValue, errors.writer.rawValue])
        var child = try plan.start()
        let outputReader = output.keepReader()
        let errorReader = errors.keepReader()
        try child.waitUntilRunning()

        let deadline = Deadline(seconds: timeoutSeconds)
        var texts: [[UInt8]] = [[], []]
        var open = [outputReader.rawValue, errorReader.rawValue]
        do throws(SystemError) {
            while open.contains(where: { $0 >= 0 }), !deadline.hasPassed {
                // poll(2) passes over negative descriptors.
                let ready = try waitReadable(open, milliseconds: deadline.milliseconds)
                for index in 0..<2 where ready[index] {
                    let part =
                        try index == 0 ? outputReader.read(upTo: 64 << 10) : errorReader.read(upTo: 64 << 10)
                    if part.isEmpty || texts[index].count > 1 << 20 { open[index] = -1 }
                    texts[index] += part
                }
            }
        } catch {
            throw NamespaceError(error)
        }
        let late = deadline.hasPassed
        if late { child.kill(SIGKILL) }
        let status = try child.wait()
        return ProgramResult(
            status: status, output: String(decoding: texts[0], as: UTF8.self),
            errors: String(decoding: texts[1], as: UTF8.self), timedOut: late)
    }

    private func funnel<R: ~Copyable>(_ body: () throws(SystemError) -> R) throws(NamespaceError) -> R {
        do throws(SystemError) {
            return try body()
        } catch {
            throw NamespaceError(.child, "cannot run \(arguments.first ?? "a program")", cause: error)
        }
    }
}
