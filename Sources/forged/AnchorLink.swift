internal import CLinux
internal import Namespaces
internal import Synchronization
internal import Sys

/// The manager's line to the anchor, which sees the host as the host sees itself.
final class AnchorLink: Sendable {
    private struct State: ~Copyable {
        let socket: ControlSocket
        var lastID: UInt32 = 0
    }

    private let state: Mutex<State>

    init(_ descriptor: consuming Descriptor) { state = Mutex(State(socket: ControlSocket(descriptor))) }

    func reportReady() { state.withLock { try? $0.socket.send(.ready) } }
    func reportFailure(_ text: String) { state.withLock { try? $0.socket.send(.failed(text)) } }

    /// Who is at the other end of a Unix connection, in the host's numbers: in the fabric's own user
    /// namespace the host's root and strangers look alike. Takes some 30 µs.
    /// - Throws: `SystemError`; `Errno.again` if the anchor does not answer within a second.
    func peer(of connection: Int32) throws -> Peer {
        try state.withLock { state in
            state.lastID &+= 1
            let id = state.lastID
            try state.socket.send(.whoIs(id: id), with: connection)
            let deadline = Deadline(seconds: 1)
            while true {
                let number = state.socket.descriptor.rawValue
                guard try waitReadable([number], milliseconds: deadline.milliseconds)[0] else {
                    throw SystemError("receive", .again, "answer of the anchor")
                }
                guard let received = try state.socket.receive() else {
                    throw SystemError("receive", .brokenPipe, "answer of the anchor")
                }
                // An answer to an earlier question that we gave up on is passed over.
                if case .peer(id, let errno, let uid, let pid)? = received.message {
                    guard errno == 0 else {
                        throw SystemError("SO_PEERCRED", Errno(rawValue: errno), "connection")
                    }
                    return Peer(uid: uid, pid: pid)
                }
            }
        }
    }
}
