internal import CLinux
package import Sys

/// The proof that one `forged` alone serves a fabric. The kernel names the holder, so no pid in a file is
/// trusted.
///
/// fcntl(2) record locks: gone with their process, and with the first close of the file in it, so nothing
/// else in the process may open the same file.
package struct FabricLock: ~Copyable, Sendable {
    private let files: [Int32]

    /// Takes the lock; nil if another process has it.
    package static func take(_ paths: FabricPaths) throws(SystemError) -> FabricLock? {
        // The state and the socket must each be served once, whatever combination of directories is
        // configured.
        var taken: [Int32] = []
        for path in paths.locks {
            let file = try Descriptor.open(path, O_RDWR | O_CREAT | O_NOFOLLOW, mode: 0o600)
            let number = file.rawValue
            do throws(SystemError) {
                try system("lock", path) { cl_lock(number) }
            } catch {
                for number in taken { _ = CLinux.close(number) }
                guard error.errno == .again || error.errno == .access else { throw error }
                return nil
            }
            taken.append(file.release())
        }
        return FabricLock(files: taken)
    }

    deinit { for number in files { _ = CLinux.close(number) } }

    /// The process that has the lock; nil if nobody has. Not for the holder itself, which would lose it by
    /// asking.
    package static func holder(_ paths: FabricPaths) throws(SystemError) -> Int32? {
        for path in paths.locks {
            do throws(SystemError) {
                let pid = try holder(try Descriptor.open(path, O_RDWR), path)
                if pid > 0 { return pid }
            } catch {
                if error.errno != .noEntry { throw error }
            }
        }
        return nil
    }

    /// A handle on the holder that stays its even when the number is given to another process.
    package static func holderHandle(_ paths: FabricPaths) throws(SystemError) -> FabricHolder? {
        guard let pid = try holder(paths) else { return nil }
        let handle: Descriptor
        do throws(SystemError) {
            handle = Descriptor(owning: try system("pidfd_open", "\(pid)") { cl_pidfd_open(pid) })
        } catch {
            if error.errno == .noProcess { return nil }
            throw error
        }
        // Still the holder now that we have the handle: so the handle is the holder's.
        guard try holder(paths) == pid else { return nil }
        return FabricHolder(pid: pid, handle: handle)
    }

    private static func holder(_ file: borrowing Descriptor, _ path: String) throws(SystemError) -> Int32 {
        var pid: Int32 = 0
        let number = file.rawValue
        try system("lock", path) { unsafe cl_lock_holder(number, &pid) }
        return pid
    }
}

/// The process that serves a fabric.
package struct FabricHolder: ~Copyable, Sendable {
    package let pid: Int32
    /// A pidfd: readable once the process has ended.
    package let handle: Descriptor

    package borrowing func signal(_ signal: Int32) throws(SystemError) {
        let number = handle.rawValue
        let pid = pid
        try system("pidfd_send_signal", "\(pid)") { cl_pidfd_signal(number, signal) }
    }

    /// - Returns: whether it ended in time.
    package borrowing func waitForEnd(milliseconds: Int32) throws(SystemError) -> Bool {
        try waitReadable([handle.rawValue], milliseconds: milliseconds)[0]
    }
}

extension FabricPaths {
    fileprivate var locks: [String] { [lock, runtimeDirectory + "/forged.lock"] }
}
