internal import CLab
internal import CLinux
package import Testing

/// The private network that this test process is in: its own network and mount namespace, entered before
/// main.
///
/// As root these are made as they are; as an ordinary user within a user namespace in which that user is
/// root. Nothing that tests do with interfaces, rules and packets is seen outside, and all of it ends with
/// the process.
package enum Lab {
    /// Why there is no lab; nil if there is one.
    package static var unavailable: String? {
        guard let text = unsafe clab_unavailable(), unsafe text.pointee != 0 else { return nil }
        return unsafe String(cString: text)
    }

    /// Whether the process was started by root, not by an ordinary user.
    package static var isRoot: Bool { clab_started_as_root() == 1 }

    /// Whether tests can become other users.
    package static var hasOtherUsers: Bool { clab_has_other_users() == 1 }

    /// Set by CI, where a test that cannot run is a failure.
    package static var isCI: Bool { environment("CI") == "true" }

    /// For tests that need the lab. Where there is none: fails in CI, else is reported and returns false.
    package static func isAvailable(sourceLocation: SourceLocation = #_sourceLocation) -> Bool {
        guard let reason = unavailable else { return true }
        missing("the lab cannot be entered: \(reason)", sourceLocation: sourceLocation)
        return false
    }

    /// Reports something that a test needs and the machine lacks: as a failure in CI, else loudly as skipped.
    package static func missing(_ what: String, sourceLocation: SourceLocation = #_sourceLocation) {
        if isCI {
            Issue.record("\(what); in CI this is a failure", sourceLocation: sourceLocation)
        } else {
            let place = "\(sourceLocation.fileID):\(sourceLocation.line)"
            writeError("SKIPPED \(place): \(what)\n")
        }
    }

    /// Cancels the running test where there is no lab.
    package static func requirePrivileges(sourceLocation: SourceLocation = #_sourceLocation) throws {
        guard let reason = unavailable else { return }
        missing("the lab cannot be entered: \(reason)", sourceLocation: sourceLocation)
        try Test.cancel("the lab cannot be entered: \(reason)")
    }

    static func environment(_ name: String) -> String? {
        guard let value = unsafe getenv(name) else { return nil }
        return unsafe String(cString: value)
    }

    private static func writeError(_ text: String) {
        let bytes = Array(text.utf8)
        _ = unsafe bytes.withUnsafeBytes { unsafe write(2, $0.baseAddress, $0.count) }
    }
}
