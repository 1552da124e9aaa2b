import Synchronization
import Sys
import Testing

@testable import API

@Suite struct EventLoopTests {
    @Test(.timeLimit(.minutes(1)))
    func `what a long task leaves to be sent does not wait for the next one`() async throws {
        let loop = try EventLoop.shared
        let order = Mutex<[String]>([])
        await withCheckedContinuation { done in
            // Both are of one round: they are handed over by a task of the round before.
            loop.execute {
                loop.execute {
                    loop.whenSettled { order.withLock { $0.append("sent") } }
                    let start = ContinuousClock.now
                    while start.duration(to: .now) < .milliseconds(20) {}
                }
                loop.execute {
                    order.withLock { $0.append("next") }
                    done.resume()
                }
            }
        }
        #expect(order.withLock { $0 } == ["sent", "next"])
    }
}
