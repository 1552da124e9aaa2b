internal import CLinux
internal import Namespaces
internal import Sys

/// One end of the socket pair between anchor and manager.
struct ControlSocket: ~Copyable, Sendable {
    let descriptor: Descriptor

    init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }

    /// Sends a message, and a descriptor along with it. Never waits: a peer that does not read gets nothing.
    borrowing func send(_ message: ControlMessage, with passenger: Int32? = nil) throws(SystemError) {
        let bytes = message.encoded
        let number = descriptor.rawValue
        let passengers = passenger.map { [$0] } ?? []
        try system("send", "control socket") {
            unsafe bytes.withUnsafeBytes { bytes in
                unsafe passengers.withUnsafeBufferPointer {
                    unsafe cl_send_fds(
                        number, bytes.baseAddress, bytes.count, $0.baseAddress, Int32($0.count), Int32(MSG_DONTWAIT))
                }
            }
        }
    }

    /// A message that has come.
    struct Received: ~Copyable {
        /// Nil if it made no sense.
        let message: ControlMessage?
        /// What came along; number -1 if nothing did.
        let passenger: Descriptor
    }

    /// Takes what is there, without waiting.
    /// - Returns: nil when the other end is closed.
    /// - Throws: `Errno.again` when nothing is there.
    borrowing func receive() throws(SystemError) -> Received? {
        var buffer = [UInt8](repeating: 0, count: ControlMessage.limit)
        var passenger: Int32 = -1
        var count: Int32 = 1
        let number = descriptor.rawValue
        let got = try system("receive", "control socket") {
            count = 1
            return unsafe buffer.withUnsafeMutableBytes {
                unsafe cl_recv_fds(
                    number, $0.baseAddress, $0.count, &passenger, &count, Int32(MSG_DONTWAIT))
            }
        }
        let companion = Descriptor(owning: count > 0 ? passenger : -1)
        if got == 0 { return nil }
        return Received(message: ControlMessage(buffer[..<got]), passenger: companion)
    }
}

/// Who is at the other end of a connection.
struct Peer: Hashable, Sendable {
    let uid: UInt32
    let pid: Int32

    /// As the calling process's user namespace counts.
    init(of connection: Int32) throws(SystemError) {
        var pid: Int32 = 0
        var uid: UInt32 = 0
        var gid: UInt32 = 0
        try system("SO_PEERCRED", "connection") { unsafe cl_peer_credentials(connection, &pid, &uid, &gid) }
        self.init(uid: uid, pid: pid)
    }

    init(uid: UInt32, pid: Int32) {
        self.uid = uid
        self.pid = pid
    }
}
