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
/// Calls block for as long as the kernel works: it processes a request inside `send` and its answer is queued when `send`
/// returns. One caller at a time: the type is not copyable and its calls are mutating.
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
                owning: try system("socket", "netlink \(Proto.number)") { unsafe cl_netlink_open(Proto.number, &port) })
        } catch {
            throw NetlinkError(.socket(error), "open netlink socket")
        }
        self.init(adopting: opened, port: port)
    }

    /// Takes over a bound netlink socket, for instance one opened in another namespace.
    package init(adopting descriptor: consuming Descriptor, port: UInt32) {
        // Extended acknowledgements carry the kernel's own words; strict checking makes it honour dump filters.
        // Each is a help, none a need: kernels without them still answer.
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

    /// Sends requests that each ask for an acknowledgement, in as few datagrams as they fit, and checks every answer.
    ///
    /// The kernel works through them in order and does not stop at a failure; all answers are read, then the first
    /// failure whose request is not excused by `tolerate` is thrown.
    /// - Returns: messages that came before each acknowledgement (echoes, single "get" replies), by request.
    @discardableResult
    package mutating func perform(
        _ requests: [Request], tolerate: (Int, Errno) -> Bool = { _, _ in false }
    ) throws(NetlinkError) -> [[Message]] {
        var answers = [[Message]](repeating: [], count: requests.count)
        var failure: NetlinkError?
        var start = 0
        while start < requests.count {
            var datagram = ByteWriter(capacity: 4096)
            let firstSequence = sequence &+ 1
            var end = start
            while end < requests.count, end == start || datagram.count + requests[end].encodedLength <= Self.sendLimit {
                sequence &+= 1
                var request = requests[end]
                request.flags.formUnion([.request, .acknowledge])
                request.encode(into: &datagram, sequence: sequence, port: port)
                end += 1
            }
            try send(datagram.bytes, subject: requests[start].subject)
            var pending = end - start
            while pending > 0 {
                for message in try receive(subject: requests[start].subject) {
                    let index = Int(message.sequence &- firstSequence)
                    // Answers to nobody: left over from a call that failed half way.
                    guard index >= 0, index < end - start else { continue }
                    let request = requests[start + index]
                    guard message.type == .error || message.type == .done else {
                        answers[start + index].append(message)
                        continue
                    }
                    pending -= 1
                    if let refusal = try refusal(in: message, request.subject), failure == nil,
                        !tolerate(start + index, refusal.errno ?? Errno(rawValue: 0))
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
                            // EINTR here is nfnetlink's way to say "interrupted".
                            guard refusal.errno == .interrupted || refusal.errno == .again else { throw refusal }
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

    private func send(_ bytes: [UInt8], subject: String) throws(NetlinkError) {
        let number = descriptor.rawValue
        do throws(SystemError) {
            try system("send", subject) { unsafe bytes.withUnsafeBytes { unsafe cl_netlink_send(number, $0.baseAddress, $0.count) } }
        } catch {
            throw NetlinkError(.socket(error), subject)
        }
    }

    /// Sends raw bytes and hands back whatever the kernel answers until `isLast` says so: for nf_tables batches.
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

    private mutating func receive(subject: String) throws(NetlinkError) -> [Message] {
        let number = descriptor.rawValue
        while true {
            var sender: UInt32 = 0
            let got: Int
            do throws(SystemError) {
                // A look first: the length of the datagram, whatever its size.
                let length = try system("recv", subject) {
                    unsafe buffer.withUnsafeMutableBytes {
                        unsafe cl_netlink_recv(number, $0.baseAddress, $0.count, &sender, Int32(MSG_PEEK))
                    }
                }
                if length > buffer.count { buffer = [UInt8](repeating: 0, count: length) }
                got = try system("recv", subject) {
                    unsafe buffer.withUnsafeMutableBytes {
                        unsafe cl_netlink_recv(number, $0.baseAddress, $0.count, &sender, 0)
                    }
                }
            } catch {
                throw NetlinkError(.socket(error), subject)
            }
            // netlink(7): only port 0 is the kernel; any process may send to our port.
            guard sender == 0 else { continue }
            do throws(DecodeError) {
                return try Message.parse(ArraySlice(buffer[..<min(got, buffer.count)]))
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
