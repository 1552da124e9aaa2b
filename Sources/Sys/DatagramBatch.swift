internal import CLinux

/// Room for datagrams that come in together, with the senders' addresses (recvmmsg(2)).
///
/// What comes are *pieces*: a datagram, or several that were sent as one (`Descriptor.takePiecesWhole`).
package struct DatagramInbox: Sendable {
    /// All rooms, one behind the other.
    package private(set) var bytes: [UInt8]
    private var peers: [cl_peer]
    private var pieces: [cl_piece]
    /// Bytes for each piece.
    package let room: Int

    package init(capacity: Int, room: Int) {
        self.room = room
        bytes = [UInt8](repeating: 0, count: capacity * room)
        peers = [cl_peer](repeating: cl_peer(), count: capacity)
        pieces = [cl_piece](repeating: cl_piece(), count: capacity)
    }

    package var capacity: Int { pieces.count }

    /// Takes what waits at a socket, up to the capacity, without waiting for more.
    /// - Returns: how many came.
    package mutating func receive(from socket: Int32) throws(SystemError) -> Int {
        var total = 0
        while total < capacity {
            let wanted = min(Int(CL_BATCH), capacity - total)
            let (start, room) = (total, room)
            let got: Int32
            do throws(SystemError) {
                got = try system("recvmmsg") {
                    unsafe bytes.withUnsafeMutableBytes { bytes in
                        unsafe peers.withUnsafeMutableBufferPointer { peers in
                            unsafe pieces.withUnsafeMutableBufferPointer { pieces in
                                guard let place = bytes.baseAddress,
                                    let senders = peers.baseAddress,
                                    let found = pieces.baseAddress
                                else { return 0 }
                                return unsafe cl_receive_many(
                                    socket, place + start * room, room, senders + start, found + start,
                                    Int32(wanted))
                            }
                        }
                    }
                }
            } catch {
                if error.errno == .again { break }
                // A report of ICMP about an earlier datagram; what waits behind it is taken next time.
                if total > 0 { break }
                throw error
            }
            total += Int(got)
            if got < wanted { break }
        }
        return total
    }

    /// How many datagrams there are whole in a piece; 0 of one that was larger than the room.
    package func count(_ index: Int) -> Int {
        let piece = pieces[index]
        guard piece.segment > 0 else { return piece.is_cut == 0 ? 1 : 0 }
        return Int((piece.length + piece.segment - 1) / piece.segment)
    }

    /// The bytes of one of a piece's datagrams.
    package func range(_ index: Int, _ number: Int = 0) -> Range<Int> {
        let piece = pieces[index]
        let step = piece.segment > 0 ? Int(piece.segment) : Int(piece.length)
        let start = number * step
        return index * room + start..<index * room + min(start + step, Int(piece.length))
    }

    package func sender(_ index: Int) -> SocketAddress { SocketAddress(peers[index]) }
}

/// Datagrams on their way out of one socket (sendmmsg(2)), which lie one behind the other in a buffer.
package struct DatagramOutbox: Sendable {
    private var peers: [cl_peer] = []
    private var ends: [Int] = []
    private var start = 0

    package init() {}

    package var isEmpty: Bool { ends.isEmpty }

    /// The next datagram ends at `end`; the first begins at `start`.
    package mutating func append(start: Int, end: Int, to address: SocketAddress) {
        if ends.isEmpty { self.start = start }
        ends.append(end)
        peers.append(address.peer)
    }

    /// Sends all of them. What the socket does not take now is lost, as datagrams may be.
    /// - Returns: how many were sent.
    package mutating func flush(_ bytes: [UInt8], through socket: Int32) -> Int {
        var (done, sent) = (0, 0)
        var from = start
        while done < ends.count {
            let (first, offset) = (done, from)
            let count = Int32(min(Int(CL_BATCH), ends.count - done))
            let result: Int32? = try? system("sendmmsg") {
                unsafe bytes.withUnsafeBytes { bytes in
                    unsafe ends.withUnsafeBufferPointer { ends in
                        unsafe peers.withUnsafeBufferPointer { peers in
                            guard let ends = ends.baseAddress, let peers = peers.baseAddress
                            else { return 0 }
                            return unsafe cl_send_many(
                                socket, bytes.baseAddress, offset, ends + first, peers + first, count)
                        }
                    }
                }
            }
            // One that cannot be sent must not keep back those behind it.
            let step = max(1, Int(result ?? 0))
            sent += Int(result ?? 0)
            done += step
            from = ends[done - 1]
        }
        ends.removeAll(keepingCapacity: true)
        peers.removeAll(keepingCapacity: true)
        return sent
    }
}
