internal import CBench
internal import Glibc

/// Network namespaces such as a container runtime makes: bound to files, empty, untouched.
struct Containers {
    /// Bind mounts go here; it is private to the fabric's user.
    let directory: String

    init() throws(Problem) {
        guard let runtime = environment("XDG_RUNTIME_DIR") else {
            throw Problem("XDG_RUNTIME_DIR is not set")
        }
        directory = runtime + "/bench-netns"
        _ = unsafe mkdir(directory, 0o700)
    }

    func path(_ name: String) -> String { "\(directory)/\(name)" }

    /// The API's socket.
    static var socket: String { (environment("XDG_RUNTIME_DIR") ?? "") + "/forge/forge.sock" }

    func make(_ name: String) throws(Problem) {
        let error = unsafe bench_make_namespace(path(name))
        guard error == 0 else {
            throw Problem("cannot make the network namespace \(path(name)): errno \(error)")
        }
    }

    func remove(_ name: String) { unsafe bench_remove_namespace(path(name)) }

    /// Removes every namespace that is left here.
    func removeAll() {
        guard let listing = unsafe opendir(directory) else { return }
        defer { unsafe closedir(listing) }
        while let entry = unsafe readdir(listing) {
            let name = unsafe withUnsafeBytes(of: entry.pointee.d_name) {
                unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { remove(name) }
        }
        _ = unsafe rmdir(directory)
    }
}

private func environment(_ name: String) -> String? {
    guard let value = unsafe getenv(name) else { return nil }
    return unsafe String(cString: value)
}
