internal import Sys

/// A client of a published UDP port, and the socket that is the client to the endpoint.
final class DatagramSession {
    let port: Publication
    let client: Place
    let passage: Passage
    let socket: Descriptor
    let slot: Int
    let generation: UInt32
    /// The host's address that the client sends to, and must be answered from; nil where it is not known.
    var local: Place?
    /// In milliseconds of the forwarder's clock.
    var lastUse: Int64
    var isAnswered = false
    /// Nobody else has the same places on both sides.
    var ownsPassage = false

    /// Neighbours in its list, by slot; -1 at the ends.
    fileprivate(set) var previous = -1
    fileprivate(set) var next = -1

    init(
        _ port: Publication, _ client: Place, _ passage: Passage, socket: consuming Descriptor, slot: Int,
        generation: UInt32, now: Int64
    ) {
        self.port = port
        self.client = client
        self.passage = passage
        self.socket = socket
        self.slot = slot
        self.generation = generation
        lastUse = now
    }
}

/// Sessions in the order of their last use, the longest unused one first.
struct SessionList {
    private(set) var first = -1
    private var last = -1

    mutating func append(_ session: DatagramSession, _ at: (Int) -> DatagramSession?) {
        session.previous = last
        session.next = -1
        if last >= 0 { at(last)?.next = session.slot } else { first = session.slot }
        last = session.slot
    }

    mutating func remove(_ session: DatagramSession, _ at: (Int) -> DatagramSession?) {
        if session.previous >= 0 { at(session.previous)?.next = session.next } else { first = session.next }
        if session.next >= 0 {
            at(session.next)?.previous = session.previous
        } else {
            last = session.previous
        }
    }

    mutating func refresh(_ session: DatagramSession, _ at: (Int) -> DatagramSession?) {
        guard last != session.slot else { return }
        remove(session, at)
        append(session, at)
    }
}
