internal import CBench
internal import Glibc

/// Network namespaces such as a container runtime makes: bound to files, empty, untouched.
package struct Containers {
    /// Bind mounts go here; it is private to the fabric's user.
    package let directory: String

    package init() throws(Problem) {
        guard let runtime = environment("XDG_RUNTIME_DIR") else {
            throw Problem("XDG_RUNTIME_DIR is not set")
        }
        directory = runtime + "/bench-netns"
        _ = unsafe mkdir(directory, 0o700)
    }

    package func path(_ name: String) -> String { "\(directory)/\(name)" }

    /// The API's socket.
    package static var socket: String { (environment("XDG_RUNTIME_DIR") ?? "") + "/forge/forge.sock" }

    package func make(_ name: String) throws(Problem) {
        let error = unsafe bench_make_namespace(path(name))
        guard error == 0 else {
            throw Problem("cannot make the network namespace \(path(name)): errno \(error)")
        }
    }

    package func remove(_ name: String) { unsafe bench_remove_namespace(path(name)) }

    /// Removes every namespace that is left here.
    package func removeAll() {
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

/// Why there is no result, in one line.
package struct Problem: Error, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }
}

/// One JSON object of lists.
package func json(_ lists: KeyValuePairs<String, [Double]>) -> String {
    let fields = lists.map { name, values in
        "\"\(name)\":[\(values.map { "\($0)" }.joined(separator: ","))]"
    }
    return "{\(fields.joined(separator: ","))}"
}
