internal import CLinux
internal import Namespaces
internal import Sys

/// Starts and stops the fabric's daemon for the CLI.
enum FabricLauncher {
    /// How a fabric is to be started.
    struct StartOptions: Hashable {
        var host = false
        var useSubordinateIDs = true
    }

    /// What there was to do.
    enum Outcome: Hashable {
        case started
        case alreadyRunning
    }

    /// How long a fabric may take to answer first.
    private static let patience: Double = 20
    /// How long it may take to end.
    private static let stopPatience: Int32 = 10_000

    /// Starts the fabric if nobody answers at its socket, and waits until somebody does.
    /// - Throws: `Failure` in one line: what `forged` said, or what is in the way.
    @discardableResult
    static func ensureRunning(
        _ paths: FabricPaths, options: StartOptions = StartOptions()
    ) throws -> Outcome {
        let deadline = Deadline(seconds: patience)
        do throws(SystemError) {
            // What listens in a directory that is not ours is not our fabric.
            try paths.checkRuntimeDirectory()
        } catch {
            guard error.errno == .noEntry else { throw Failure("\(error)") }
        }
        while true {
            // The lock tells first: where there is none, what still answers is about to end.
            if try holder(paths) != nil {
                // It may have been started a moment ago by another call: then its socket comes.
                if answers(paths) { return .alreadyRunning }
            } else {
                switch try start(paths, options, deadline) {
                case .ready: return .started
                case .failed(let reason):
                    // Lost a race: the winner is waited for.
                    guard try holder(paths) != nil else { throw Failure(reason) }
                }
            }
            if deadline.hasPassed { throw Failure("the fabric does not answer at \(paths.socket)") }
            pauseThread(milliseconds: 5)
        }
    }

    /// Stops the fabric, with everything in it, and waits for its end.
    /// - Returns: false if there was none.
    static func stop(_ paths: FabricPaths) throws -> Bool {
        do throws(SystemError) {
            guard let holder = try FabricLock.holderHandle(paths) else { return false }
            try holder.signal(SIGTERM)
            if try holder.waitForEnd(milliseconds: stopPatience) { return true }
            // Asked and waited for long enough. The handle makes sure that it is still the one that was
            // asked.
            try holder.signal(SIGKILL)
            _ = try holder.waitForEnd(milliseconds: 1000)
        } catch {
            guard error.errno != .noProcess else { return true }
            throw Failure("cannot stop the fabric: \(error)")
        }
        throw Failure("forged did not end when asked to, and was killed")
    }

    private static func holder(_ paths: FabricPaths) throws -> Int32? {
        do throws(SystemError) {
            return try FabricLock.holder(paths)
        } catch {
            throw Failure("\(error)")
        }
    }

    private static func answers(_ paths: FabricPaths) -> Bool {
        do throws(SystemError) {
            _ = try UnixSocket.connect(to: paths.socket)
            return true
        } catch {
            return false
        }
    }

    private enum Answer {
        case ready
        case failed(String)
    }

    private static func start(_ paths: FabricPaths, _ options: StartOptions, _ deadline: Deadline) throws
        -> Answer
    {
        var plan = ProcessPlan(["forged", "--detached", "--ready-fd", "3"])
        plan.program = daemonPath
        if options.host { plan.arguments.append("--host") }
        if !options.useSubordinateIDs { plan.arguments.append("--no-subids") }
        // A session of its own: the terminal's signals and its end are not the fabric's concern.
        plan.add(.newSession)
        plan.add(.changeDirectory("/"))
        do {
            try paths.createDirectories()
            let log = try openLog(paths.log)
            let nothing = try Descriptor.open("/dev/null", O_RDONLY)
            let pipe = try Pipe()
            plan.descriptors = [nothing.rawValue, log.rawValue, log.rawValue, pipe.writer.rawValue]
            var child = try plan.start()
            let reader = pipe.keepReader()
            try child.waitUntilRunning()
            let answer = try readAnswer(reader, deadline)
            if case .ready = answer { child.abandon() }
            return answer
        } catch let error as NamespaceError where error.cause?.errno == .noEntry {
            throw Failure("forged is not installed next to forge, nor in PATH")
        } catch let error as Failure {
            throw error
        } catch {
            throw Failure("cannot start the fabric: \(error)")
        }
    }

    private static func readAnswer(_ pipe: borrowing Descriptor, _ deadline: Deadline) throws -> Answer {
        var text: [UInt8] = []
        while text.last != 0x0A {
            guard try waitReadable([pipe.rawValue], milliseconds: deadline.milliseconds)[0] else {
                return .failed("forged did not get ready within \(Int(patience)) s")
            }
            let part = try pipe.read(upTo: 4096)
            if part.isEmpty { break }
            text += part
        }
        let line = String(decoding: text, as: UTF8.self).split(separator: "\n").first ?? ""
        if line == "ready" { return .ready }
        return .failed(
            line.hasPrefix("failed ") ? String(line.dropFirst(7)) : "forged ended before it was ready")
    }

    /// Appends to the log; one that has grown is kept aside, once.
    private static func openLog(_ path: String) throws -> Descriptor {
        var status = stat()
        if unsafe stat(path, &status) == 0, status.st_size > 1 << 20 { _ = unsafe rename(path, path + ".1") }
        return try Descriptor.open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW)
    }

    /// The `forged` beside this program, else the first in PATH.
    private static var daemonPath: String {
        let own = (try? ownPath()) ?? ""
        let beside =
            own.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
            + "/forged"
        return unsafe access(beside, X_OK) == 0 ? beside : "forged"
    }

    private static func ownPath() throws(SystemError) -> String {
        var room = [CChar](repeating: 0, count: Int(PATH_MAX))
        let length = try system("readlink", "/proc/self/exe") {
            unsafe readlink("/proc/self/exe", &room, room.count)
        }
        return String(decoding: room[..<length].map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}
