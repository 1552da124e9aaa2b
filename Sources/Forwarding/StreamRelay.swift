internal import CLinux
internal import Sys

/// A TCP connection of a client, and the one to the endpoint that continues it.
final class StreamRelay {
    let port: Publication
    let slot: Int
    let generation: UInt32
    /// When the endpoint must have answered, in milliseconds of the forwarder's clock.
    let connectBy: Int64

    private let client: Descriptor
    private let server: Descriptor
    private var inbound = Way()
    private var outbound = Way()
    private(set) var isConnecting = true
    /// Waits for its turn to go on.
    var isQueued = false
    /// Of one that came through a gate.
    let question: HostClaim?

    /// Descriptors that it may come to have: two sockets, two pipes.
    static let cost = 6

    init(
        _ port: Publication, slot: Int, generation: UInt32, client: consuming Descriptor,
        server: consuming Descriptor, connectBy: Int64, question: HostClaim? = nil,
        prefix: [UInt8] = []
    ) {
        self.port = port
        self.slot = slot
        self.generation = generation
        self.connectBy = connectBy
        self.client = client
        self.server = server
        self.question = question
        inbound.prefix = prefix[...]
    }

    func watch(by poller: borrowing Poller) throws(SystemError) {
        let events: Poller.Events = [.readable, .writable, .peerClosed, .edge]
        for (number, kind) in [(server.rawValue, Token.Kind.server), (client.rawValue, .client)] {
            try poller.add(
                number, events, token: Token(kind, slot: slot, generation: generation).number)
        }
    }

    /// Notes what an event says.
    /// - Returns: false where it is the end.
    func note(_ events: Poller.Events, of kind: Token.Kind) -> Bool {
        let isClient = kind == .client
        if events.contains(.error), cl_pending_error(isClient ? client.rawValue : server.rawValue) != 0 {
            return false
        }
        let readable = !events.isDisjoint(with: [.readable, .peerClosed, .hangUp, .error])
        let isEnding = events.contains(.peerClosed)
        let writable = !events.isDisjoint(with: [.writable, .hangUp, .error])
        if isClient {
            inbound.canRead = inbound.canRead || readable
            inbound.isEnding = inbound.isEnding || isEnding
            outbound.canWrite = outbound.canWrite || writable
        } else {
            // A socket that is not connected yet is said to have hung up.
            if isConnecting, events.contains(.hangUp) { return true }
            if writable { isConnecting = false }
            outbound.canRead = outbound.canRead || readable
            outbound.isEnding = outbound.isEnding || isEnding
            inbound.canWrite = inbound.canWrite || writable
        }
        return true
    }

    /// Moves what can be moved now, a turn's worth.
    func advance(_ pipes: inout PipePool) -> Way.Progress {
        if isConnecting { return .waiting }
        let there = inbound.move(
            from: client.rawValue, to: server.rawValue, &pipes, &port.counters.bytesIn)
        if there == .broken { return .broken }
        let back = outbound.move(
            from: server.rawValue, to: client.rawValue, &pipes, &port.counters.bytesOut)
        if back == .broken { return .broken }
        if there == .done, back == .done { return .done }
        return there == .unfinished || back == .unfinished ? .unfinished : .waiting
    }

    /// Lets go of pipes. Sockets are closed when the relay goes: by RST where it is broken.
    func end(_ pipes: inout PipePool, isBroken: Bool) {
        inbound.end(&pipes)
        outbound.end(&pipes)
        guard isBroken else { return }
        _ = cl_reset_on_close(client.rawValue)
        _ = cl_reset_on_close(server.rawValue)
    }
}
