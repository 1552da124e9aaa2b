import Sys
import Testing

@testable import NetworkManager

/// The line between manager and proxy, without either.
struct ProxyLineTests {
    private func number(_ bytes: [UInt8]) -> Int { bytes.reduce(0) { $0 << 8 | Int($1) } }
    private func bytes(_ number: Int) -> [UInt8] {
        [16, 8, 0].map { UInt8(truncatingIfNeeded: number >> $0) }
    }

    @Test func `what nobody reads yet stays with who sent it`() async throws {
        let (ours, theirs) = try PacketLink.pair()
        let line = ProxyLine(Descriptor(owning: ours)) { _ in }
        let other = PacketLink(Descriptor(owning: theirs))
        var sent = 0
        // Full is full: the kernel's queue of a pair, and as much as the line takes.
        var refusals = 0
        while sent < 20_000, refusals < 20 {
            do throws(SystemError) {
                try other.send(bytes(sent))
                sent += 1
                refusals = 0
            } catch {
                try #require(error.errno == .again)
                refusals += 1
                try await Task.sleep(for: .milliseconds(10))
            }
        }
        #expect(sent < 20_000)
        // Nothing is lost of what was taken, nor of what comes later.
        var taken = 0
        var isLater = false
        for await (bytes, passenger) in line.messages {
            #expect(number(bytes) == taken && passenger == -1)
            taken += 1
            guard taken == sent else { continue }
            if isLater { break }
            isLater = true
            try other.send(self.bytes(sent))
            sent += 1
        }
        #expect(taken == sent)
    }

    @Test func `orders that were lost are known to be, and the line goes on`() async throws {
        let (ours, theirs) = try PacketLink.pair()
        let told = AsyncStream<Void>.makeStream()
        let most = 2000
        let line = ProxyLine(Descriptor(owning: ours), most: most) { line in
            told.continuation.yield()
            line.send([9])
        }
        let other = PacketLink(Descriptor(owning: theirs))
        for number in 0..<2 * most { line.send(bytes(number)) }
        // Whoever reads slowly reads from the first on, and without a gap until there was no room.
        var next = 0
        var isAgain = false
        // Without a rest: where other tests keep every thread busy, none of a task's ends in time.
        while !isAgain, try waitReadable([other.descriptor.rawValue], milliseconds: 60_000)[0] {
            guard let received = try other.receive() else { break }
            let message = received.bytes
            if message == [9] {
                isAgain = true
            } else {
                #expect(number(message) == next)
                next += 1
            }
        }
        #expect(isAgain && next < 2 * most)
        var iterator = told.stream.makeAsyncIterator()
        _ = await iterator.next()
    }
}
