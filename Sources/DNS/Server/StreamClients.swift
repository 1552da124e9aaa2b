internal import Sys

/// A client on a stream.
final class StreamClient {
    let descriptor: Descriptor
    let listener: Int32
    let peer: SocketAddress
    var frames = StreamFrames(limit: StreamClients.longestQuery)
    /// Answers that the client has not taken yet.
    var output: [UInt8] = []
    /// Queries that are not answered yet.
    var pending = 0
    var lastHeard: UInt64 = 0
    var interest: Epoll.Interest = .read
    /// It says no more; it is closed when all is answered.
    var hasEnded = false

    init(_ descriptor: consuming Descriptor, listener: Int32, peer: SocketAddress) {
        self.descriptor = descriptor
        self.listener = listener
        self.peer = peer
    }
}

/// All clients on streams, bounded (RFC 7766 section 6.2).
struct StreamClients {
    static let most = 512
    static let mostOfOne = 32
    /// Milliseconds.
    static let idleTime: UInt64 = 10_000
    static let longestQuery = 4096
    static let mostPending = 64
    static let mostOutput = 256 << 10

    private(set) var all: [UInt64: StreamClient] = [:]
    private var last: UInt64 = 0
    /// No client is idle for too long before.
    private(set) var nextIdle: UInt64?

    subscript(id: UInt64) -> StreamClient? { all[id] }

    /// - Returns: its number, and who must go to make room for it.
    mutating func add(_ client: StreamClient, now: UInt64) -> (id: UInt64, tooMany: [UInt64]) {
        last += 1
        client.lastHeard = now
        var tooMany: [UInt64] = []
        if client.peer.family != 0 {
            let same = all.filter {
                $0.value.listener == client.listener && $0.value.peer.low == client.peer.low
                    && $0.value.peer.high == client.peer.high
            }
            if same.count >= Self.mostOfOne, let idlest = Self.idlest(same) { tooMany.append(idlest) }
        }
        if tooMany.isEmpty, all.count >= Self.most, let idlest { tooMany.append(idlest) }
        all[last] = client
        nextIdle = min(nextIdle ?? .max, now + Self.idleTime)
        return (last, tooMany)
    }

    mutating func remove(_ id: UInt64) -> StreamClient? { all.removeValue(forKey: id) }

    var idlest: UInt64? { Self.idlest(all) }

    private static func idlest(_ clients: [UInt64: StreamClient]) -> UInt64? {
        clients.min { ($0.value.lastHeard, $0.key) < ($1.value.lastHeard, $1.key) }?.key
    }

    func of(listener: Int32) -> [UInt64] { all.filter { $0.value.listener == listener }.map(\.key) }

    /// Those who have said nothing for too long.
    mutating func idle(at now: UInt64) -> [UInt64] {
        guard let due = nextIdle, due <= now else { return [] }
        let idle = all.filter { $0.value.lastHeard + Self.idleTime <= now }.map(\.key)
        nextIdle = all.lazy.filter { !idle.contains($0.key) }.map { $0.value.lastHeard + Self.idleTime }.min()
        return idle
    }
}

extension ResolverLoop {
    func serveClient(_ id: UInt64, _ ready: Epoll.Interest) {
        guard let client = clients[id] else { return }
        // Closed both ways: nobody is there to be answered.
        if !ready.isDisjoint(with: .failed) { return closeClient(id) }
        if ready.contains(.write) { writeOut(id, client) }
        if ready.contains(.read), clients[id] != nil { readClient(id, client) }
        settle()
    }

    private func readClient(_ id: UInt64, _ client: StreamClient) {
        let now = monotonicMilliseconds()
        do throws(SystemError) {
            guard let (count, _) = try client.descriptor.receiveNow(into: &buffer) else { return }
            if count == 0 {
                client.hasEnded = true
                if client.pending == 0, client.output.isEmpty { return closeClient(id) }
            } else {
                client.lastHeard = now
                client.frames.append(buffer[..<count])
            }
        } catch {
            return closeClient(id)
        }
        serveFrames(id, client, now)
    }

    /// Serves the queries that are there whole, as many as a client may have unanswered.
    private func serveFrames(_ id: UInt64, _ client: StreamClient, _ now: UInt64) {
        let reference = ClientReference(listener: client.listener, connection: id, peer: client.peer)
        frames: while client.pending < StreamClients.mostPending {
            switch client.frames.next() {
            case .message(let message):
                client.pending += 1
                let before = resolver.outbox.replies.count
                let waiting = resolver.outstanding
                resolver.query(message, 0..<message.count, from: reference, at: now)
                // Neither answered nor waiting: it was no query, and nothing will come.
                if resolver.outbox.replies.count == before, resolver.outstanding == waiting {
                    return closeClient(id)
                }
            case .incomplete: break frames
            case .broken: return closeClient(id)
            }
        }
        watch(id, client)
    }

    func answerClient(_ id: UInt64, _ message: ArraySlice<UInt8>) {
        // It has gone without waiting.
        guard let client = clients[id] else { return }
        client.pending -= 1
        client.output += StreamFrames.framed(message)
        if client.output.count > StreamClients.mostOutput { return closeClient(id) }
        writeOut(id, client)
        if clients[id] != nil, client.pending == StreamClients.mostPending - 1 { stalled.append(id) }
    }

    func resumeClient(_ id: UInt64) {
        if let client = clients[id] { serveFrames(id, client, monotonicMilliseconds()) }
    }

    private func writeOut(_ id: UInt64, _ client: StreamClient) {
        do throws(SystemError) {
            while !client.output.isEmpty {
                let sent = try client.descriptor.sendNow(client.output)
                if sent == 0 { break }
                client.output.removeFirst(sent)
            }
        } catch {
            return closeClient(id)
        }
        if client.hasEnded, client.pending == 0, client.output.isEmpty { return closeClient(id) }
        watch(id, client)
    }

    private func watch(_ id: UInt64, _ client: StreamClient) {
        var interest: Epoll.Interest = []
        if client.pending < StreamClients.mostPending, !client.hasEnded { interest.insert(.read) }
        if !client.output.isEmpty { interest.insert(.write) }
        guard interest != client.interest else { return }
        client.interest = interest
        try? epoll.change(client.descriptor.rawValue, interest, token: Source.client.token(id))
    }

    func closeClient(_ id: UInt64) {
        guard let client = clients.remove(id) else { return }
        epoll.remove(client.descriptor.rawValue)
    }
}
