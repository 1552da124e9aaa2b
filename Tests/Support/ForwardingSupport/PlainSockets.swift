internal import CLinux
package import Forwarding
internal import Foundation
internal import Synchronization
package import Sys
package import Wire

/// Sockets for tests of forwarding, beyond LabSockets.
package enum PlainSockets {
    /// Sockets that are neither bound nor transparent, for the time of a closure.
    package static func send(
        _ count: Int, _ family: IPFamily, _ transport: ForwardTransport, _ body: ([Int32]) throws -> Void
    ) throws {
        var sockets: [Int32] = []
        defer { for socket in sockets { close(socket) } }
        let kind = transport == .tcp ? SOCK_STREAM.rawValue : SOCK_DGRAM.rawValue
        for _ in 0..<count {
            sockets.append(
                try system("socket") {
                    socket(family == .v4 ? AF_INET : AF_INET6, Int32(kind | SOCK_CLOEXEC.rawValue), 0)
                })
        }
        try body(sockets)
    }

    /// A socket bound to an address, which neither listens nor is connected, in the calling thread's namespace.
    package static func bind(_ transport: ForwardTransport, _ address: String, port: UInt16) throws
        -> Descriptor
    {
        var place = try place(address, port)
        let family = Int32(place.family)
        let kind = transport == .tcp ? SOCK_STREAM.rawValue : SOCK_DGRAM.rawValue
        let socket = Descriptor(
            owning: try system("socket") {
                CLinux.socket(family == 4 ? AF_INET : AF_INET6, Int32(kind | SOCK_CLOEXEC.rawValue), 0)
            })
        try socket.setOption(SOL_SOCKET, SO_REUSEADDR, 1)
        let number = socket.rawValue
        try system("bind", address) { unsafe cl_bind_place(number, family, &place) }
        return socket
    }

    package static func connect(_ socket: borrowing Descriptor, _ address: String, port: UInt16) throws {
        var place = try place(address, port)
        let family = Int32(place.family)
        let number = socket.rawValue
        try system("connect", address) { unsafe cl_connect_place(number, family, &place) }
    }

    private static func place(_ address: String, _ port: UInt16) throws -> cl_place {
        let address = try IPAddress(address)
        return cl_place(
            high: UInt64(truncatingIfNeeded: address.bits >> 64),
            low: UInt64(truncatingIfNeeded: address.bits), scope: 0, port: port,
            family: address.family.rawValue)
    }

    /// A connection that a server has accepted, and who has made it: "203.0.113.9 5000".
    package final class Accepted {
        package let socket: Descriptor
        package let peer: String

        fileprivate init(_ socket: consuming Descriptor) throws {
            let number = socket.rawValue
            peer = try unsafe PlainSockets.name("getpeername") { unsafe getpeername(number, $0, $1) }
            // A test that fails ends.
            var limit = timeval(tv_sec: 20, tv_usec: 0)
            _ = unsafe setsockopt(
                number, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
            self.socket = socket
        }

        /// When it goes, it goes by RST.
        package func becomeAbrupt() { _ = cl_reset_on_close(socket.rawValue) }
    }

    /// Accepts within a time.
    package static func accept(_ socket: borrowing Descriptor, milliseconds: Int32 = 2000) throws -> Accepted
    {
        try expectInput(socket, milliseconds)
        return try Accepted(try socket.accept())
    }

    /// The next datagram and who sent it, within a time.
    package static func receive(_ socket: borrowing Descriptor, milliseconds: Int32 = 2000) throws -> (
        text: String, peer: String
    ) {
        try expectInput(socket, milliseconds)
        let number = socket.rawValue
        var bytes = [UInt8](repeating: 0, count: 65536)
        var got = 0
        let peer = try unsafe name("recvfrom") { name, length in
            got = unsafe recvfrom(number, &bytes, bytes.count, 0, name, length)
            return Int32(clamping: got)
        }
        return (String(decoding: bytes[..<got], as: UTF8.self), peer)
    }

    /// A socket's own address and port.
    package static func local(_ socket: borrowing Descriptor) throws -> String {
        let number = socket.rawValue
        return try unsafe name("getsockname") { unsafe getsockname(number, $0, $1) }
    }

    private static func expectInput(_ socket: borrowing Descriptor, _ milliseconds: Int32) throws {
        guard try waitReadable([socket.rawValue], milliseconds: milliseconds)[0] else {
            throw SystemError("receive", Errno(rawValue: ETIMEDOUT))
        }
    }

    /// The address and port that a call tells.
    private static func name(
        _ call: String, _ body: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
    ) throws -> String {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        _ = try unsafe withUnsafeMutablePointer(to: &storage) { name in
            try unsafe name.withMemoryRebound(to: sockaddr.self, capacity: 1) { name in
                try system(call) { unsafe body(name, &length) }
            }
        }
        // sockaddr_in and sockaddr_in6 have the port at the same place, in network order.
        let raw = unsafe withUnsafeBytes(of: storage) { unsafe Array($0) }
        let port = UInt16(raw[2]) << 8 | UInt16(raw[3])
        let address = IPAddress(bytes: storage.ss_family == UInt16(AF_INET) ? raw[4..<8] : raw[8..<24])
        return address.map { "\($0) \(port)" } ?? "?"
    }

    /// Sends FIN.
    package static func finish(_ socket: borrowing Descriptor) throws {
        let number = socket.rawValue
        try system("shutdown") { shutdown(number, Int32(SHUT_WR)) }
    }

    /// Closes by RST.
    package static func reset(_ socket: consuming Descriptor) { _ = cl_reset_on_close(socket.rawValue) }

    /// What ends a stream of which nothing more is expected: "end", or the error.
    package static func ending(_ socket: borrowing Descriptor, milliseconds: Int32 = 2000) throws -> String {
        guard try waitReadable([socket.rawValue], milliseconds: milliseconds)[0] else { return "nothing" }
        do throws(SystemError) {
            return try socket.read(upTo: 1).isEmpty ? "end" : "bytes"
        } catch {
            return error.errno == Errno(rawValue: ECONNRESET) ? "reset" : "\(error.errno)"
        }
    }

    /// A listening socket takes one connection more, and no others.
    package static func shortenQueue(_ socket: borrowing Descriptor) throws {
        let number = socket.rawValue
        try system("listen") { listen(number, 0) }
    }

    /// Sends a pattern and FIN.
    package static func send(_ size: Int, inPartsOf part: Int = 256 << 10, by number: Int32) throws -> Digest
    {
        var pattern = Pattern()
        for _ in 0..<size / part { try borrow(number) { try $0.write(pattern.next(part)) } }
        try system("shutdown") { shutdown(number, Int32(SHUT_WR)) }
        return Digest(count: size / part * part, sum: pattern.sum)
    }

    /// Reads a stream to its end.
    package static func digest(of number: Int32) throws -> Digest {
        var pattern = Pattern()
        var count = 0
        while true {
            let part = try borrow(number) { try $0.read(upTo: 256 << 10) }
            if part.isEmpty { return Digest(count: count, sum: pattern.sum) }
            count += part.count
            pattern.add(part)
        }
    }

    private static func borrow<R>(_ number: Int32, _ body: (borrowing Descriptor) throws -> R) throws -> R {
        let descriptor = Descriptor(owning: number)
        let result = Result { try body(descriptor) }
        _ = descriptor.release()
        return try result.get()
    }

    /// Runs closures at once, each on a thread of its own, and waits for all.
    package static func together(_ bodies: [@Sendable () throws -> Digest]) throws -> [Digest] {
        let results = Mutex([Int: Result<Digest, any Error>]())
        let done = DispatchSemaphore(value: 0)
        for (index, body) in bodies.enumerated() {
            Thread.detachNewThread {
                let result = Result { try body() }
                results.withLock { $0[index] = result }
                done.signal()
            }
        }
        for _ in bodies { done.wait() }
        let all = results.withLock { $0 }
        return try bodies.indices.compactMap { try all[$0]?.get() }
    }
}

/// A stream's length and a sum of its bytes in their order.
package struct Digest: Hashable, Sendable {
    package let count: Int
    package let sum: UInt64
}

/// A descriptor that is closed at will.
package final class Held {
    private var descriptor: Descriptor?

    package init(_ descriptor: consuming Descriptor) { self.descriptor = consume descriptor }

    package func close() { descriptor = nil }

    /// Of use until it is closed.
    package func use<R>(_ body: (borrowing Descriptor) throws -> R) throws -> R {
        guard let descriptor = descriptor.take() else { throw SystemError("use", Errno(rawValue: EBADF)) }
        let result = Result { try body(descriptor) }
        self.descriptor = consume descriptor
        return try result.get()
    }
}

/// Bytes that no two places of a stream have in common for long, and a sum that knows their order.
package struct Pattern {
    private var state: UInt64 = 0x9e37_79b9_7f4a_7c15
    package private(set) var sum: UInt64 = 0xcbf2_9ce4_8422_2325

    package init() {}

    /// The next bytes, counted into the sum.
    package mutating func next(_ count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        for _ in 0..<count {
            // xorshift
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            bytes.append(UInt8(truncatingIfNeeded: state))
        }
        add(bytes)
        return bytes
    }

    /// FNV-1a.
    package mutating func add(_ bytes: [UInt8]) {
        for byte in bytes { sum = (sum ^ UInt64(byte)) &* 0x100_0000_01b3 }
    }
}
