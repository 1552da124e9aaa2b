internal import Sys
internal import Wire

/// A socket through which upstreams are asked, and what it is at.
final class UpstreamConnection {
    let descriptor: Descriptor
    let transport: DNSTransport
    /// On a stream: what is to be sent still, and what has come.
    var output: [UInt8] = []
    var frames = StreamFrames(limit: Limit.message)
    /// On a stream, while it is connected: a closed one is always "ready".
    var isWatched = false

    init(_ descriptor: consuming Descriptor, _ transport: DNSTransport) {
        self.descriptor = descriptor
        self.transport = transport
    }
}

extension ResolverLoop {
    func adopt(_ socket: UpstreamSocket) {
        let descriptor = Descriptor(owning: socket.descriptor)
        guard descriptor.rawValue >= 0, (try? descriptor.setNonblocking()) != nil else { return }
        let connection = UpstreamConnection(descriptor, socket.transport)
        if socket.transport == .udp {
            let token = Source.upstream.token(UInt64(upstreams.count))
            guard (try? epoll.add(connection.descriptor.rawValue, .read, token: token)) != nil else { return }
        }
        upstreams.append(connection)
        // Its number is its place in the list.
        _ = resolver.addUpstreamSocket(socket.transport, socket.family)
        settle()
    }

    func ask(_ number: Int32, _ upstream: UpstreamAddress, _ message: [UInt8]) {
        let connection = upstreams[Int(number)]
        do throws(SystemError) {
            let isConnected = try connection.descriptor.connect(to: upstream.socketAddress)
            if connection.transport == .udp {
                guard try connection.descriptor.sendNow(message) == message.count else {
                    return resolver.upstreamFailed(number, at: monotonicMilliseconds())
                }
                return
            }
            connection.output = StreamFrames.framed(message)
            connection.frames = StreamFrames(limit: Limit.message)
            if isConnected { try writeOut(connection) }
            try epoll.add(
                connection.descriptor.rawValue, connection.output.isEmpty ? .read : [.read, .write],
                token: Source.upstream.token(UInt64(number)))
            connection.isWatched = true
        } catch {
            resolver.upstreamFailed(number, at: monotonicMilliseconds())
        }
    }

    /// Forgets what has come, and gives the port back: the next question gets another one from the kernel.
    func release(_ number: Int32) {
        let connection = upstreams[Int(number)]
        if connection.isWatched {
            epoll.remove(connection.descriptor.rawValue)
            connection.isWatched = false
        }
        connection.output = []
        try? connection.descriptor.disconnect()
        guard connection.transport == .udp else { return }
        // Reading takes a pending error away as well, so that a few of them do not end it; without a port
        // nothing new can come.
        for _ in 0..<256 {
            do throws(SystemError) {
                if try connection.descriptor.receiveNow(into: &buffer) == nil { return }
            } catch { continue }
        }
    }

    private func writeOut(_ connection: UpstreamConnection) throws(SystemError) {
        let sent = try connection.descriptor.sendNow(connection.output)
        connection.output.removeFirst(sent)
    }

    func readUpstream(_ number: Int32, _ ready: Epoll.Interest) {
        let connection = upstreams[Int(number)]
        do throws(SystemError) {
            if connection.transport == .udp {
                try readDatagrams(number, connection)
            } else {
                try readStream(number, connection, ready)
            }
        } catch {
            resolver.upstreamFailed(number, at: monotonicMilliseconds())
        }
        settle()
    }

    private func readDatagrams(_ number: Int32, _ connection: UpstreamConnection) throws(SystemError) {
        for _ in 0..<16 {
            guard let (count, sender) = try connection.descriptor.receiveNow(into: &buffer) else { return }
            resolver.response(
                buffer, 0..<count, socket: number, from: sender, at: monotonicMilliseconds())
            // With the answer the socket is another question's, or nobody's.
            if resolver.actions.contains(.release(socket: number)) { return }
        }
    }

    private func readStream(
        _ number: Int32, _ connection: UpstreamConnection, _ ready: Epoll.Interest
    ) throws(SystemError) {
        if !connection.output.isEmpty, !ready.isDisjoint(with: [.write, .failed]) {
            let errno = try connection.descriptor.pendingError()
            guard errno.rawValue == 0 else { throw SystemError("connect", errno, "upstream") }
            try writeOut(connection)
            if connection.output.isEmpty {
                try epoll.change(
                    connection.descriptor.rawValue, .read, token: Source.upstream.token(UInt64(number)))
            }
        }
        guard !ready.isDisjoint(with: [.read, .failed]),
            let (count, sender) = try connection.descriptor.receiveNow(into: &buffer)
        else { return }
        guard count > 0 else { throw SystemError("receive", .brokenPipe, "upstream") }
        connection.frames.append(buffer[..<count])
        switch connection.frames.next() {
        case .message(let message):
            resolver.response(
                message, 0..<message.count, socket: number, from: sender, at: monotonicMilliseconds())
        case .incomplete: break
        case .broken: throw SystemError("receive", .invalid, "upstream")
        }
    }
}
