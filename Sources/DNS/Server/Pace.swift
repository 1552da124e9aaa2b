/// Whether it is worth to wait a moment until more has come.
///
/// A pass over the sockets and the waking of a client cost as much as some queries do. When queries come so fast
/// that the next pass would find one or two of them, a short rest lets it find a batch: that halves the
/// processor's time for each, on either side, and delays none by more than the rest.
struct Pace {
    /// Datagrams of one millisecond from which on there are rests.
    static let busy = 40
    /// Microseconds. The kernel adds up to 50 of its own (PR_SET_TIMERSLACK of prctl(2)).
    static let rest: UInt32 = 10

    private var millisecond: UInt64 = 0
    private var count = 0
    private var wasBusy = false
    private var isDue = false

    /// So many datagrams were read in one go.
    mutating func read(_ number: Int, at now: UInt64) {
        if now != millisecond {
            wasBusy = now == millisecond + 1 && count >= Self.busy
            millisecond = now
            count = 0
        }
        count += number
        // Where a batch waited already there is nothing to wait for.
        isDue = wasBusy && number < FairPass.few
    }

    mutating func takeRest() -> Bool {
        defer { isDue = false }
        return isDue
    }
}
