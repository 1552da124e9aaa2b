internal import CLinux

/// One end of a socket pair that keeps messages apart (SOCK_SEQPACKET) and takes descriptors along.
package struct PacketLink: ~Copyable, Sendable {
    package let descriptor: Descriptor

    /// Bytes of the largest message.
    package static let limit = 60 << 10

    package init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }

    /// Two connected ends, each the caller's to close.
    package static func pair() throws(SystemError) -> (Int32, Int32) {
        var ends: [Int32] = [-1, -1]
        try system("socketpair") {
            unsafe ends.withUnsafeMutableBufferPointer { unsafe cl_seqpacket_pair($0.baseAddress) }
        }
        return (ends[0], ends[1])
    }

    /// Sends a message, and a descriptor along with it, without waiting.
    /// - Throws: `Errno.again` while the other end has too much to read; `Errno.tooLong` for more than `limit` bytes,
    ///   of which the other end would read a part.
    package borrowing func send(_ bytes: [UInt8], with passenger: Int32? = nil) throws(SystemError) {
        try send(bytes, passengers: passenger.map { [$0] } ?? [])
    }

    /// As above, with as many as 64 descriptors.
    package borrowing func send(_ bytes: [UInt8], passengers: [Int32]) throws(SystemError) {
        guard bytes.count <= Self.limit else {
            throw SystemError("send", .tooLong, "a message of \(bytes.count) bytes")
        }
        let number = descriptor.rawValue
        try system("send", "link") {
            unsafe bytes.withUnsafeBytes { bytes in
                unsafe passengers.withUnsafeBufferPointer {
                    unsafe cl_send_fds(
                        number, bytes.baseAddress, bytes.count, $0.baseAddress, Int32($0.count),
                        Int32(MSG_DONTWAIT))
                }
            }
        }
    }

    /// A message that has come.
    package struct Received: ~Copyable {
        package let bytes: [UInt8]
        /// What came along; number -1 if nothing did.
        package let passenger: Descriptor

        package consuming func take() -> ([UInt8], Int32) {
            let bytes = bytes
            return (bytes, passenger.release())
        }
    }

    /// Takes the next message, without waiting.
    /// - Returns: nil when the other end is closed.
    /// - Throws: `Errno.again` when nothing is there.
    package borrowing func receive() throws(SystemError) -> Received? {
        var passenger: Int32 = -1
        var count: Int32 = 1
        let number = descriptor.rawValue
        // A copy of what has come: a message that waits for its reader takes no more room than it fills.
        let bytes = try unsafe withUnsafeTemporaryAllocation(byteCount: Self.limit, alignment: 16) {
            buffer throws(SystemError) -> [UInt8] in
            let got = try system("receive", "link") {
                count = 1
                return unsafe cl_recv_fds(
                    number, buffer.baseAddress, buffer.count, &passenger, &count, Int32(MSG_DONTWAIT))
            }
            return unsafe Array(buffer[..<got])
        }
        let companion = Descriptor(owning: count > 0 ? passenger : -1)
        return bytes.isEmpty ? nil : Received(bytes: bytes, passenger: companion)
    }
}
