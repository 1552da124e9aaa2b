internal import CLinux
internal import Namespaces
internal import Sys

/// What every fabric stands on, with or without an anchor: its directories, the lock, the API's socket.
struct Ground: ~Copyable {
    let paths: FabricPaths
    let listener: Descriptor
    let lock: FabricLock

    /// Makes the directories, takes the lock, then listens.
    /// - Throws: `Failure` in one line: another `forged` is there, a directory is not ours, the disk is full.
    static func take(_ paths: FabricPaths) throws(Failure) -> Ground {
        do throws(SystemError) {
            try paths.createDirectories()
        } catch {
            throw Failure("\(error)")
        }
        let lock = try takeLock(paths)
        // Of commands that were killed together with their forge run. Those that still run have the files
        // mounted.
        removeDirectory(paths.commandFiles, levels: 1)
        return Ground(paths: paths, listener: try listen(paths.socket), lock: lock)
    }

    private static func takeLock(_ paths: FabricPaths) throws(Failure) -> FabricLock {
        do throws(SystemError) {
            if let lock = try FabricLock.take(paths) { return lock }
            let holder = try FabricLock.holder(paths).map { " (process \($0))" } ?? ""
            throw SystemError("lock", .busy, holder)
        } catch {
            guard error.errno == .busy else { throw Failure("\(error)") }
            throw Failure("another forged\(error.subject) already serves \(paths.stateDirectory)")
        }
    }

    private static func listen(_ path: String) throws(Failure) -> Descriptor {
        // We hold the lock, so a socket that is still there has nobody behind it.
        _ = unsafe unlink(path)
        do throws(SystemError) {
            return try UnixSocket.listen(at: path)
        } catch {
            guard error.errno.rawValue == ENAMETOOLONG else { throw Failure("\(error)") }
            throw Failure(
                "socket path \(path) is longer than 107 bytes; FORGE_RUNTIME_DIR names a shorter directory")
        }
    }

    /// Removes what a fabric that has ended leaves in the runtime directory.
    borrowing func clear() {
        for path in [paths.socket, paths.nameSocket, paths.record] { _ = unsafe unlink(path) }
        for directory in [paths.commandFiles, paths.endpointFiles] { removeDirectory(directory, levels: 1) }
    }
}

/// Tells the program that started us how it went, once.
struct ReadyPipe: ~Copyable {
    private var descriptor: Int32?

    init(_ descriptor: Int32?) { self.descriptor = descriptor }

    mutating func ready() { finish("ready\n") }

    /// - Parameter reason: one line.
    mutating func failed(_ reason: String) {
        finish("failed \(reason.split(separator: "\n").joined(separator: "; "))\n")
    }

    private mutating func finish(_ line: String) {
        guard let number = descriptor else { return }
        descriptor = nil
        // A reader that has gone does not want to know.
        try? Descriptor(owning: number).write(Array(line.utf8))
    }
}
