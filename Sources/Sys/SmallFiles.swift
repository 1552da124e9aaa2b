internal import CLinux

/// Replaces a file by one with this text, as a whole: a reader has the old one or the new one.
///
/// The new one is made beside it as `PATH.new`. Whoever holds the old one, as a bind mount does, keeps it.
/// - Parameter mode: its permissions, whatever the umask.
package func replaceFile(_ path: String, _ bytes: [UInt8], mode: UInt32) throws(SystemError) {
    let temporary = path + ".new"
    let file = try Descriptor.open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode: mode)
    let number = file.rawValue
    try system("fchmod", temporary) { fchmod(number, mode) }
    try file.write(bytes)
    try system("rename", path) { unsafe rename(temporary, path) }
}

/// Makes a directory for its owner alone; one that is there already stays as it is.
package func makeDirectory(_ path: String) throws(SystemError) {
    do throws(SystemError) { try system("mkdir", path) { unsafe mkdir(path, 0o700) } } catch {
        guard error.errno == .exists else { throw error }
    }
}

/// The names of a directory's entries, in no order; none where it cannot be read.
package func entries(of path: String) -> [String] {
    guard let directory = unsafe opendir(path) else { return [] }
    defer { unsafe closedir(directory) }
    var names: [String] = []
    while let entry = unsafe readdir(directory) {
        let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { name in
            unsafe String(decoding: name.prefix { $0 != 0 }, as: UTF8.self)
        }
        if name != ".", name != ".." { names.append(name) }
    }
    return names
}

/// Removes a directory with the files in it; what is gone already is no error. What is there in its place, a
/// symbolic link too, is removed as it is.
///
/// - Parameter levels: of directories in it, that are removed in the same way.
package func removeDirectory(_ path: String, levels: Int = 0) {
    // unlink(2) refuses directories.
    if unsafe unlink(path) == 0 { return }
    for name in entries(of: path) {
        let entry = "\(path)/\(name)"
        if levels > 0 { removeDirectory(entry, levels: levels - 1) }
        _ = unsafe unlink(entry)
    }
    _ = unsafe rmdir(path)
}
