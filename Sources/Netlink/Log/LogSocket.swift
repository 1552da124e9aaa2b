internal import Sys
internal import Wire

extension NetlinkSocket where Proto == NetfilterProtocol {
    /// Becomes the one listener of a group. For sockets that do nothing else.
    /// - Throws: `.refused` with `Errno.busy` where another socket listens to it.
    package mutating func listen(_ subscription: LogSubscription) throws(NetlinkError) {
        try perform(subscription.request)
    }

    /// Packets of one datagram that were told already, or nil where none was.
    ///
    /// A message that does not decode is counted, and does not take the others with it.
    /// - Throws: `.socket` with `Errno.noBuffers` when some were lost; their numbers are missing in the sequence.
    package mutating func pendingLogPackets() throws(NetlinkError) -> (packets: [LogPacket], malformed: Int)?
    {
        guard let messages = try pendingNotifications() else { return nil }
        var packets: [LogPacket] = []
        packets.reserveCapacity(messages.count)
        var malformed = 0
        for message in messages {
            do throws(DecodeError) {
                if let packet = try LogPacket(message) { packets.append(packet) }
            } catch {
                malformed += 1
            }
        }
        return (packets, malformed)
    }
}
