internal import CLinux

/// A file descriptor with one owner: closed when the owner goes, close-on-exec from birth.
public struct Descriptor: ~Copyable, Sendable {
    /// The number, valid as long as this value lives.
    public let rawValue: Int32

    /// Takes over a descriptor that nobody else will close.
    public init(owning rawValue: Int32) { self.rawValue = rawValue }

    deinit { _ = CLinux.close(rawValue) }

    /// Gives the number away; the receiver closes it.
    public consuming func release() -> Int32 {
        let number = rawValue
        discard self
        return number
    }

    /// A second descriptor of the same open file.
    package borrowing func duplicate() throws(SystemError) -> Descriptor {
        let number = rawValue
        return Descriptor(owning: try system("dup", "descriptor \(number)") { CLinux.cl_dup(number) })
    }

    /// Opens a file; close-on-exec is implied.
    package static func open(_ path: String, _ flags: Int32, mode: UInt32 = 0o600) throws(SystemError)
        -> Descriptor
    {
        Descriptor(owning: try system("open", path) { unsafe cl_open(path, flags, mode) })
    }

    /// Sees to it that this many descriptors can be opened.
    ///
    /// Swift's runtime opens some for its threads, and where it cannot, it ends the process without a word.
    package static func requireRoom(for count: Int) throws(SystemError) {
        // All are closed when the last has been opened.
        var held: [Int32] = []
        defer { for number in held { _ = CLinux.close(number) } }
        for _ in 0..<count {
            do throws(SystemError) {
                held.append(try system("eventfd") { eventfd(0, Int32(EFD_CLOEXEC)) })
            } catch {
                throw SystemError(
                    error.call, error.errno, "as one of \(count) files at a time (see ulimit -n)")
            }
        }
    }

    /// Writes the whole buffer, as far as the file takes it.
    package borrowing func write(_ bytes: [UInt8]) throws(SystemError) {
        let number = rawValue
        var done = 0
        while done < bytes.count {
            done += try system("write", "descriptor \(number)") {
                unsafe bytes[done...].withUnsafeBytes {
                    unsafe CLinux.write(number, $0.baseAddress, $0.count)
                }
            }
        }
    }

    /// Reads up to `limit` bytes; an empty result is the end of the file.
    package borrowing func read(upTo limit: Int) throws(SystemError) -> [UInt8] {
        let number = rawValue
        var buffer = [UInt8](repeating: 0, count: limit)
        let got = try system("read", "descriptor \(number)") {
            unsafe buffer.withUnsafeMutableBytes { unsafe CLinux.read(number, $0.baseAddress, $0.count) }
        }
        buffer.removeLast(limit - got)
        return buffer
    }

    /// Reads to the end, or until `limit` bytes have come.
    package borrowing func readAll(limit: Int) throws(SystemError) -> [UInt8] {
        var all: [UInt8] = []
        while all.count < limit {
            let part = try read(upTo: min(64 << 10, limit - all.count))
            if part.isEmpty { break }
            all += part
        }
        return all
    }
}

/// Which file a descriptor or path stands for; namespaces are the same exactly when this is.
public struct FileIdentity: Hashable, Sendable, CustomStringConvertible {
    public let device: UInt64
    public let inode: UInt64

    public init(device: UInt64, inode: UInt64) {
        self.device = device
        self.inode = inode
    }

    package init(of descriptor: borrowing Descriptor) throws(SystemError) {
        let number = descriptor.rawValue
        var status = stat()
        try system("fstat", "descriptor \(number)") { unsafe fstat(number, &status) }
        self.init(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
    }

    public var description: String { "\(device):\(inode)" }
}

/// Writes a small file such as a sysctl in one call.
package func writeFile(_ path: String, _ text: String) throws(SystemError) {
    let file = try Descriptor.open(path, O_WRONLY)
    let number = file.rawValue
    let bytes = Array(text.utf8)
    try system("write", path) {
        unsafe bytes.withUnsafeBytes { unsafe CLinux.write(number, $0.baseAddress, $0.count) }
    }
}

/// Reads a small file such as one of `/proc`, at most 1 MiB.
package func readFile(_ path: String, limit: Int = 1 << 20) throws(SystemError) -> String {
    String(decoding: try Descriptor.open(path, O_RDONLY).readAll(limit: limit), as: UTF8.self)
}
