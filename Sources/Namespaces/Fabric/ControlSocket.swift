internal import CLinux
package import Sys

/// One end of the socket pair between anchor and manager.
package struct ControlSocket: ~Copyable, Sendable {
    package let descriptor: Descriptor

    package init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }

    /// Sends a message, and descriptors along with it. Never waits: a peer that does not read gets nothing.
    package borrowing func send(_ message: ControlMessage, with passengers: Int32...) throws(SystemError) {
        let bytes = message.encoded
        let number = descriptor.rawValue
        try system("send", "control socket") {
            unsafe bytes.withUnsafeBytes { bytes in
                unsafe passengers.withUnsafeBufferPointer {
                    unsafe cl_send_fds(
                        number, bytes.baseAddress, bytes.count, $0.baseAddress, Int32($0.count),
                        Int32(MSG_DONTWAIT))
                }
            }
        }
    }

    /// Two connected ends, each the caller's to close.
    package static func pair() throws(SystemError) -> (Int32, Int32) {
        var ends: [Int32] = [-1, -1]
        try system("socketpair") {
            unsafe ends.withUnsafeMutableBufferPointer { unsafe cl_seqpacket_pair($0.baseAddress) }
        }
        return (ends[0], ends[1])
    }

    /// A message that has come.
    package struct Received: ~Copyable {
        /// Nil if it made no sense.
        package let message: ControlMessage?
        /// What came along; number -1 if nothing did.
        package let passenger: Descriptor
        package let secondPassenger: Descriptor

        /// The passengers' numbers, the caller's to close.
        package consuming func takePassengers() -> (Int32, Int32) {
            (passenger.release(), secondPassenger.release())
        }
    }

    /// Takes what is there, without waiting.
    /// - Returns: nil when the other end is closed.
    /// - Throws: `Errno.again` when nothing is there.
    package borrowing func receive() throws(SystemError) -> Received? {
        var buffer = [UInt8](repeating: 0, count: ControlMessage.limit)
        var passengers: [Int32] = [-1, -1]
        var count: Int32 = 2
        let number = descriptor.rawValue
        let got = try system("receive", "control socket") {
            count = 2
            return unsafe buffer.withUnsafeMutableBytes { buffer in
                unsafe passengers.withUnsafeMutableBufferPointer {
                    unsafe cl_recv_fds(
                        number, buffer.baseAddress, buffer.count, $0.baseAddress, &count, Int32(MSG_DONTWAIT))
                }
            }
        }
        let first = Descriptor(owning: count > 0 ? passengers[0] : -1)
        let second = Descriptor(owning: count > 1 ? passengers[1] : -1)
        if got == 0 { return nil }
        return Received(message: ControlMessage(buffer[..<got]), passenger: first, secondPassenger: second)
    }
}

/// Who is at the other end of a connection.
package struct Peer: Hashable, Sendable {
    package let uid: UInt32
    package let pid: Int32

    /// As the calling process's user namespace counts.
    package init(of connection: Int32) throws(SystemError) {
        var pid: Int32 = 0
        var uid: UInt32 = 0
        var gid: UInt32 = 0
        try system("SO_PEERCRED", "connection") { unsafe cl_peer_credentials(connection, &pid, &uid, &gid) }
        self.init(uid: uid, pid: pid)
    }

    package init(uid: UInt32, pid: Int32) {
        self.uid = uid
        self.pid = pid
    }
}
