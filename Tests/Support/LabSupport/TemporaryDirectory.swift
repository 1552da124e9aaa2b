internal import CLab
internal import CLinux
internal import Namespaces
internal import Sys

/// A directory of a test's own, gone with the value.
package final class TemporaryDirectory {
    package let path: String

    package init() throws {
        // Socket paths are short: unix(7) gives them 107 bytes.
        var template = Array("/tmp/forge-lab-XXXXXX".utf8CString)
        let made = unsafe template.withUnsafeMutableBufferPointer { room in
            unsafe room.baseAddress.map { unsafe mkdtemp($0) != nil } ?? false
        }
        guard made else { throw SystemError("mkdtemp", .current, "/tmp") }
        path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    deinit { _ = try? ProcessPlan(["rm", "-rf", "--one-file-system", path]).run(timeoutSeconds: 10) }
}
