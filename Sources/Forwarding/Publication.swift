internal import CLinux
internal import Sys
internal import Wire

/// A published port that is being forwarded.
final class Publication {
    var port: ForwardedPort
    var counters = ForwardCounters()
    let socket: Descriptor
    /// The socket's own, 4 or 6: one of IPv6 may take clients of both.
    let socketFamily: Int32
    let slot: Int
    let generation: UInt32
    /// Not watched: something is lacking to let more in.
    var isPaused = false
    /// Confirmed by the manager that is telling now what there shall be.
    var isConfirmed = true

    /// Of UDP: who has a session, by the client's place.
    var sessions: [Place: Int] = [:]
    /// Sessions that the endpoint has not answered yet, and those that it has.
    var lists = (waiting: SessionList(), answered: SessionList())

    init(
        _ port: ForwardedPort, socket: consuming Descriptor, family: Int32, slot: Int, generation: UInt32
    ) {
        self.port = port
        self.socket = socket
        socketFamily = family
        self.slot = slot
        self.generation = generation
    }

    var token: UInt64 { Token(.port, slot: slot, generation: generation).number }

    /// Families of transparent sockets that its clients may need.
    var families: [IPFamily] { port.targets.map(\.family) }

    /// Whether the socket is what it should be; makes it ready.
    static func family(of socket: borrowing Descriptor, for port: ForwardedPort) -> Int32? {
        var kind = cl_socket_kind()
        let number = socket.rawValue
        let isStream: Int32 = port.transport == .tcp ? 1 : 0
        guard unsafe cl_what_socket(number, &kind) == 0, kind.family != 0, kind.stream == isStream,
            kind.listening == isStream, cl_set_nonblocking(number) == 0
        else { return nil }
        guard (port.transport == .tcp ? cl_stream_options(number) : cl_tell_destination(number)) == 0 else {
            return nil
        }
        return kind.family
    }
}
