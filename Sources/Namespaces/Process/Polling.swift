internal import CLinux

/// A point in time that something must be done by.
package struct Deadline: Sendable {
    private let end: ContinuousClock.Instant

    package init(seconds: Double) { end = .now + .seconds(seconds) }

    /// Whole milliseconds that are left, rounded up; 0 when it has passed.
    package var milliseconds: Int32 {
        let left = ContinuousClock.now.duration(to: end)
        guard left > .zero else { return 0 }
        return Int32(clamping: Int(left / .milliseconds(1)) + 1)
    }

    package var hasPassed: Bool { milliseconds == 0 }
}

/// Sleeps on the calling thread.
package func pauseThread(milliseconds: Int32) {
    _ = poll(nil, 0, milliseconds)
}
