/// When to start a role again that has ended: at once, unless it keeps ending.
package struct RestartPolicy: Hashable, Sendable {
    /// A role that lived this long counts as having worked.
    package static let goodLife = Duration.seconds(1)
    /// Early ends in a row that are answered at once.
    package static let freeRestarts = 3
    package static let longestDelay = Duration.seconds(5)

    private var earlyEnds = 0

    package init() {}

    /// - Parameter life: how long it ran.
    /// - Returns: how long to wait before the next start.
    package mutating func ended(after life: Duration) -> Duration {
        guard life < Self.goodLife else {
            earlyEnds = 0
            return .zero
        }
        earlyEnds += 1
        guard earlyEnds > Self.freeRestarts else { return .zero }
        // 0.1 s, doubled each time.
        let doublings = min(earlyEnds - Self.freeRestarts - 1, 10)
        return min(.milliseconds(100 << doublings), Self.longestDelay)
    }
}
