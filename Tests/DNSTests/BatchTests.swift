import Foundation
import Sys
import Testing

/// Datagrams that leave in one call arrive one by one, whatever goes down to the link in one piece.
struct BatchTests {
    private static func socket() throws -> Descriptor {
        try Descriptor.bound(to: ServerFixture.address("127.0.0.1", 0), stream: false)
    }

    /// Lengths, and which of two receivers each is for: runs of one length, runs that a shorter one ends, one that is
    /// longer, an empty one, more than a call takes, more than a datagram can hold.
    private static let plan: [(length: Int, receiver: Int)] =
        [(40, 0), (40, 0), (40, 0), (30, 0), (40, 0), (50, 0), (50, 1), (50, 1), (0, 1), (50, 1), (7, 0)]
        + (0..<100).map { _ in (60, 0) } + (0..<5).map { _ in (20000, 1) }

    @Test func `what was sent as one piece is taken as one, and as much of it as there is room for`() throws {
        let sender = try Self.socket()
        let receiver = try Self.socket()
        receiver.takePiecesWhole()
        let address = try receiver.localAddress()
        func send(_ lengths: [Int]) {
            var outbox = DatagramOutbox()
            var bytes: [UInt8] = []
            for (number, length) in lengths.enumerated() {
                bytes += [UInt8](repeating: UInt8(number + 1), count: length)
                outbox.append(start: bytes.count - length, end: bytes.count, to: address)
            }
            #expect(outbox.flush(bytes, through: sender.rawValue) == lengths.count)
        }
        // Two pieces, a datagram alone, one that is too long for the room, and a piece that is.
        send([20, 20, 20, 7])
        send([30, 30])
        send([40])
        send([101])
        send([40, 40, 40, 40])
        var inbox = DatagramInbox(capacity: 10, room: 100)
        #expect(try inbox.receive(from: receiver.rawValue) == 5)
        let taken = (0..<5).map { piece in
            (0..<inbox.count(piece)).map { Array(inbox.bytes[inbox.range(piece, $0)]) }
        }
        func datagrams(_ lengths: Int...) -> [[UInt8]] {
            lengths.enumerated().map { [UInt8](repeating: UInt8($0 + 1), count: $1) }
        }
        #expect(
            taken == [datagrams(20, 20, 20, 7), datagrams(30, 30), datagrams(40), [], datagrams(40, 40)])
    }

    /// - Parameter unchecked: a socket that makes no checksums, for which the kernel cuts nothing (SO_NO_CHECK).
    @Test(arguments: [false, true])
    func `every datagram of a batch arrives, alone and in order`(unchecked: Bool) throws {
        let sender = try Self.socket()
        if unchecked {
            var yes: Int32 = 1
            let result = unsafe setsockopt(
                sender.rawValue, SOL_SOCKET, SO_NO_CHECK, &yes, socklen_t(MemoryLayout<Int32>.size))
            try #require(result == 0)
        }
        let first = try Self.socket()
        let second = try Self.socket()
        let addresses = [try first.localAddress(), try second.localAddress()]
        var bytes: [UInt8] = [1, 2, 3]
        var outbox = DatagramOutbox()
        var expected: [[[UInt8]]] = [[], []]
        for (number, (length, receiver)) in Self.plan.enumerated() {
            let datagram = [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: length)
            outbox.append(start: bytes.count, end: bytes.count + length, to: addresses[receiver])
            bytes += datagram
            expected[receiver].append(datagram)
        }
        #expect(outbox.flush(bytes, through: sender.rawValue) == Self.plan.count)
        #expect(outbox.isEmpty)
        for datagram in expected[0] { #expect(try ServerFixture.receive(first) == datagram) }
        for datagram in expected[1] { #expect(try ServerFixture.receive(second) == datagram) }
    }
}
