internal import CLinux
package import Sys
internal import Wire

/// A netlink protocol; a socket is generic over it, so that a route request cannot enter an nf_tables socket.
package protocol NetlinkProtocol: Sendable {
    static var number: Int32 { get }
}

/// rtnetlink(7).
package enum RouteProtocol: NetlinkProtocol {
    package static var number: Int32 { 0 }
}

/// nfnetlink: nf_tables, conntrack, log.
package enum NetfilterProtocol: NetlinkProtocol {
    package static var number: Int32 { 12 }
}

/// A socket to the kernel in the network namespace that the calling thread was in when it was made.
///
/// Calls block for as long as the kernel works: it processes a request inside `send` and its answer is queued
/// when `send` returns. One caller at a time: the type is not copyable and its calls are mutating.
package struct NetlinkSocket<Proto: NetlinkProtocol>: ~Copyable, Sendable {
    package let descriptor: Descriptor
    package let port: UInt32
    private var sequence: UInt32
    private var buffer: [UInt8]

    /// Bytes a single datagram may have; past it the messages are sent in several.
    private static var sendLimit: Int { 64 << 10 }

    package init() throws(NetlinkError) {
        let opened: Descriptor
        var port: UInt32 = 0
        do throws(SystemError) {
            opened = Descriptor(
                owning: try system("socket", "netlink \(Proto.number)") {
                    unsafe cl_netlink_open(Proto.number, &port)
                })
        } catch {
            throw NetlinkError(.socket(error), "open netlink socket")
        }
        self.init(adopting: opened, port: port)
    }

    /// Takes over a bound netlink socket, for instance one opened in another namespace.
    package init(adopting descriptor: consuming Descriptor, port: UInt32) {
        // Extended acknowledgements carry the kernel's own words; strict checking makes it honour dump
        // filters. Each is a help, none a need: kernels without them still answer.
        try? descriptor.setOption(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        try? descriptor.setOption(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        try? descriptor.setOption(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
        // Large batches earn many acknowledgements before the first is read.
        try? descriptor.setOption(SOL_SOCKET, SO_RCVBUF, 4 << 20)
        self.descriptor = descriptor
        self.port = port
        sequence = 0
        buffer = [UInt8](repeating: 0, count: 64 << 10)
    }

    /// Sends requests in as few datagrams as they fit, and checks what the kernel says to every one.
    ///
    /// The kernel works through them in order, does not stop at a failure and always tells of one. Success it
    /// confirms only for the last of a datagram: its word on that ends the exchange, so that ten requests
    /// cost two system calls more than one. The first failure that `tolerate` does not excuse is thrown when
    /// all is read.
    /// - Parameter tolerate: is asked about failures in order, with the request's position, up to the one
    ///   that is thrown.
    /// - Returns: messages that came besides (echoes, single "get" replies), by request.
    @discardableResult
    package mutating func perform(
        _ requests: [Request], tolerate: (Int, Errno) -> Bool = { _, _ in false }
    ) throws(NetlinkError) -> [[Message]] {
        var answers = [[Message]](repeating: [], count: requests.count)
        var failure: NetlinkError?
        var start = 0
        while start < requests.count {
            let end = Self.endOfDatagram(requests, from: start)
            let firstSequence = reserveSequences(end - start)
            var datagram = ByteWriter(capacity: 4096)
            for index in start..<end {
                var request = requests[index]
                request.flags.formUnion(index == end - 1 ? [.request, .acknowledge] : .request)
                request.encode(into: &datagram, sequence: firstSequence &+ UInt32(index - start), port: port)
            }
            try send(datagram.bytes, subject: requests[start].subject)
            var isDone = false
            while !isDone {
                for message in try receive(subject: requests[start].subject) {
                    let position = Int(message.sequence &- firstSequence)
                    // Answers to nobody: left over from a call that failed half way.
                    guard position < end - start else { continue }
                    let index = start + position
                    guard message.type == .error || message.type == .done else {
                        answers[index].append(message)
                        continue
                    }
                    if index == end - 1 { isDone = true }
                    if let refusal = try refusal(in: message, requests[index].subject), failure == nil,
                        !tolerate(index, refusal.errno ?? Errno(rawValue: 0))
                    {
                        failure = refusal
                    }
                }
            }
            start = end
        }
        if let failure { throw failure }
        return answers
    }

    /// How many requests go together: what fits, and no more than whose answers fit the receive buffer.
    private static func endOfDatagram(_ requests: [Request], from start: Int) -> Int {
        var end = start
        var length = 0
        while end < requests.count, end - start < 64 {
            length += requests[end].encodedLength
            if length > sendLimit, end > start { break }
            end += 1
        }
        return end
    }

    /// One request, one acknowledgement.
    @discardableResult
    package mutating func perform(_ request: Request) throws(NetlinkError) -> [Message] {
        try perform([request])[0]
    }

    /// Reads a whole table. A dump that the kernel marks as interrupted is read again, at most eight times.
    package mutating func dump(_ request: Request) throws(NetlinkError) -> [Message] {
        for _ in 0..<8 {
            sequence &+= 1
            var request = request
            request.flags.formUnion([.request, .dump])
            var datagram = ByteWriter()
            request.encode(into: &datagram, sequence: sequence, port: port)
            try send(datagram.bytes, subject: request.subject)
            var messages: [Message] = []
            var interrupted = false
            var done = false
            while !done {
                for message in try receive(subject: request.subject) where message.sequence == sequence {
                    if message.flags.contains(.dumpInterrupted) { interrupted = true }
                    if message.type == .error || message.type == .done {
                        if let refusal = try refusal(in: message, request.subject) {
                            // EINTR here is nfnetlink's way to say "interrupted". The optimizer of Swift 6.3
                            // crashes on "a || b" ahead of throwing the value that both read.
                            let errno = refusal.errno
                            guard errno == .interrupted || errno == .again else { throw refusal }
                            interrupted = true
                        }
                        done = true
                    } else {
                        messages.append(message)
                    }
                }
            }
            if !interrupted { return messages }
        }
        throw NetlinkError(.interrupted, request.subject)
    }

    /// Joins a multicast group, by number.
    package borrowing func subscribe(to group: UInt32) throws(NetlinkError) {
        do throws(SystemError) {
            try descriptor.setOption(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, Int32(bitPattern: group))
        } catch {
            throw NetlinkError(.socket(error), "subscribe to netlink group \(group)")
        }
    }

    /// The messages of one datagram; blocks until there is one. For sockets that only listen.
    /// - Throws: `.socket` with `Errno.noBuffers` when notifications were lost: read the whole table again.
    package mutating func nextNotifications() throws(NetlinkError) -> [Message] {
        try receive(subject: "netlink notification")
    }

    /// As `nextNotifications`, or nil where there is none now.
    package mutating func pendingNotifications() throws(NetlinkError) -> [Message]? {
        do throws(NetlinkError) {
            return try receive(subject: "netlink notification", flags: Int32(MSG_DONTWAIT))
        } catch {
            if case .socket(let failure) = error.code, failure.errno == .again { return nil }
            throw error
        }
    }

    private func send(_ bytes: [UInt8], subject: String) throws(NetlinkError) {
        let number = descriptor.rawValue
        do throws(SystemError) {
            try system("send", subject) {
                unsafe bytes.withUnsafeBytes { unsafe cl_netlink_send(number, $0.baseAddress, $0.count) }
            }
        } catch {
            throw NetlinkError(.socket(error), subject)
        }
    }

    /// Sends raw bytes and hands back whatever the kernel answers until `isLast` says so: for nf_tables
    /// batches.
    package mutating func exchange(
        _ bytes: [UInt8], subject: String, isLast: (Message) throws(NetlinkError) -> Bool
    ) throws(NetlinkError) {
        try send(bytes, subject: subject)
        while true {
            for message in try receive(subject: subject) where try isLast(message) { return }
        }
    }

    /// Takes `count` sequence numbers and returns the first.
    package mutating func reserveSequences(_ count: Int) -> UInt32 {
        let first = sequence &+ 1
        sequence &+= UInt32(count)
        return first
    }

    private mutating func receive(subject: String, flags: Int32 = 0) throws(NetlinkError) -> [Message] {
        let number = descriptor.rawValue
        while true {
            var sender: UInt32 = 0
            let length: Int
            do throws(SystemError) {
                length = try system("recv", subject) {
                    unsafe buffer.withUnsafeMutableBytes {
                        unsafe cl_netlink_recv(number, $0.baseAddress, $0.count, &sender, flags)
                    }
                }
            } catch {
                throw NetlinkError(.socket(error), subject)
            }
            // netlink(7): only port 0 is the kernel; any process may send to our port.
            guard sender == 0 else { continue }
            do throws(DecodeError) {
                // The kernel fills at most 32 KiB at a time (net/netlink/af_netlink.c); no look ahead is
                // needed.
                guard length <= buffer.count else {
                    throw DecodeError(
                        "datagram", at: buffer.count, "\(length) bytes are more than the kernel may send")
                }
                return try Message.parse(ArraySlice(buffer[..<length]))
            } catch {
                throw NetlinkError(.malformed(error), subject)
            }
        }
    }

    /// Reads an ERROR or DONE message: nil is success.
    package func refusal(in message: Message, _ subject: String) throws(NetlinkError) -> NetlinkError? {
        var reader = ByteReader(message.payload)
        do throws(DecodeError) {
            let code: Int32 = reader.remaining >= 4 ? try reader.integer("error") : 0
            guard code != 0 else { return nil }
            var text = ""
            if message.flags.contains(.extendedAcknowledgement) {
                if message.type == .error {
                    // The request's header comes back, and its payload too unless capped.
                    let echoed: UInt32 = try reader.integer("echoed length")
                    let capped = message.flags.contains(.capped)
                    try reader.skip(12 + (capped ? 0 : (Int(echoed) - 16 + 3) / 4 * 4), "echoed request")
                }
                // NLMSGERR_ATTR_MSG
                text = try Attribute.parse(reader.rest)[type: 1]?.string ?? ""
            }
            return NetlinkError(.refused(Errno(rawValue: -code)), subject, kernelText: text)
        } catch {
            throw NetlinkError(.malformed(error), subject)
        }
    }
}
