internal import CLinux
package import Sys

/// Waits until one of the descriptors has something to read, has ended or failed.
///
/// - Parameter milliseconds: how long at most; negative waits for ever.
/// - Returns: for each whether it is worth reading; all false when time is up.
package func waitForInput(_ descriptors: [Int32], milliseconds: Int) throws(SystemError) -> [Bool] {
    var entries = descriptors.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
    let limit = Int32(clamping: milliseconds)
    try system("poll") {
        unsafe entries.withUnsafeMutableBufferPointer { unsafe poll($0.baseAddress, nfds_t($0.count), limit) }
    }
    return entries.map { $0.revents != 0 }
}

/// A point in time that something must be done by.
package struct Deadline: Sendable {
    private let end: ContinuousClock.Instant

    package init(seconds: Double) { end = .now + .seconds(seconds) }

    /// Whole milliseconds that are left, rounded up; 0 when it has passed.
    package var milliseconds: Int {
        let left = ContinuousClock.now.duration(to: end)
        guard left > .zero else { return 0 }
        return Int(left / .milliseconds(1)) + 1
    }

    package var hasPassed: Bool { milliseconds == 0 }
}

/// Sleeps on the calling thread.
package func pauseThread(milliseconds: Int) {
    _ = poll(nil, 0, Int32(clamping: milliseconds))
}
