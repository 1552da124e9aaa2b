internal import CLinux

/// Where a user's fabric keeps its sockets and its state (XDG base directories; for root the system's own).
package struct FabricPaths: Hashable, Sendable {
    /// Sockets, process ids: gone with the session. Mode 0700.
    package let runtimeDirectory: String
    /// What outlives a restart of the machine. Mode 0700.
    package let stateDirectory: String

    /// The API's Unix socket.
    package var socket: String { runtimeDirectory + "/forge.sock" }
    /// The resolver's Unix socket for the host itself: DNS as over TCP.
    package var nameSocket: String { runtimeDirectory + "/dns.sock" }
    /// Locked by the one `forged` of this fabric; holds its pid.
    package var lock: String { stateDirectory + "/forged.lock" }
    /// The last lines that `forged` wrote, when nobody was there to read them.
    package var log: String { stateDirectory + "/forged.log" }

    /// Exactly these directories: tests, `--host` with its own.
    package init(runtimeDirectory: String, stateDirectory: String) {
        self.runtimeDirectory = runtimeDirectory
        self.stateDirectory = stateDirectory
    }

    /// The calling user's, after `FORGE_RUNTIME_DIR`, `FORGE_STATE_DIR`, `XDG_RUNTIME_DIR`, `XDG_STATE_HOME`
    /// and `HOME`.
    ///
    /// Nothing is created here. A relative path in the XDG variables is ignored, as their specification says.
    package init(environment: (String) -> String? = FabricPaths.environment, uid: UInt32 = geteuid()) {
        func absolute(_ name: String) -> String? {
            guard let value = environment(name), value.hasPrefix("/") else { return nil }
            return value.count > 1 && value.hasSuffix("/") ? String(value.dropLast()) : value
        }
        if let own = absolute("FORGE_RUNTIME_DIR") {
            runtimeDirectory = own
        } else if uid == 0 {
            runtimeDirectory = "/run/forge"
        } else if let xdg = absolute("XDG_RUNTIME_DIR") {
            runtimeDirectory = xdg + "/forge"
        } else if FabricPaths.owner(of: "/run/user/\(uid)") == uid {
            runtimeDirectory = "/run/user/\(uid)/forge"
        } else {
            runtimeDirectory = "/tmp/forge-\(uid)"
        }
        if let own = absolute("FORGE_STATE_DIR") {
            stateDirectory = own
        } else if uid == 0 {
            stateDirectory = "/var/lib/forge"
        } else if let xdg = absolute("XDG_STATE_HOME") {
            stateDirectory = xdg + "/forge"
        } else {
            stateDirectory = (absolute("HOME") ?? "/tmp/forge-\(uid)") + "/.local/state/forge"
        }
    }

    /// Makes both directories, mode 0700, and checks that nobody else could have put them there.
    package func createDirectories() throws(SystemError) {
        for path in [runtimeDirectory, stateDirectory] {
            try FabricPaths.createDirectory(path)
            let directory = try FabricPaths.openOwned(path)
            let number = directory.rawValue
            if try FabricPaths.status(of: directory, path).st_mode & 0o077 != 0 {
                try system("fchmod", path) { fchmod(number, 0o700) }
            }
        }
    }

    /// Refuses a runtime directory that another user made: what listens there would not be our fabric.
    package func checkRuntimeDirectory() throws(SystemError) {
        // Root may look after another user's fabric.
        _ = try FabricPaths.openOwned(runtimeDirectory, orByRoot: true)
    }

    /// In a world-writable parent such as `/tmp` another user may have made the name first.
    private static func openOwned(_ path: String, orByRoot: Bool = false) throws(SystemError) -> Descriptor {
        let directory = try Descriptor.open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
        guard try status(of: directory, path).st_uid == geteuid() || orByRoot && geteuid() == 0 else {
            throw SystemError("open", .access, "\(path) (it is another user's)")
        }
        return directory
    }

    private static func status(of file: borrowing Descriptor, _ path: String) throws(SystemError) -> stat {
        let number = file.rawValue
        var status = stat()
        try system("fstat", path) { unsafe fstat(number, &status) }
        return status
    }

    /// As `mkdir -p`; the parents get mode 0700 too, as the XDG specification asks.
    private static func createDirectory(_ path: String) throws(SystemError) {
        var partial = ""
        for part in path.split(separator: "/") {
            partial += "/" + part
            do throws(SystemError) { try system("mkdir", partial) { unsafe mkdir(partial, 0o700) } } catch {
                // A parent that is there already may be on a file system that is read-only or not ours.
                if owner(of: partial) == nil { throw error }
            }
        }
    }

    private static func owner(of path: String) -> UInt32? {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { return nil }
        return status.st_uid
    }

    /// A variable of this process's environment; nil where it is not set or empty.
    package static func environment(_ name: String) -> String? {
        guard let value = unsafe getenv(name) else { return nil }
        let text = unsafe String(cString: value)
        return text.isEmpty ? nil : text
    }
}
