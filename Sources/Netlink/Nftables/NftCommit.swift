internal import CLinux
package import Sys
internal import Wire

extension NetlinkSocket where Proto == NetfilterProtocol {
    /// Makes all the batch's changes, or none.
    ///
    /// - Parameter generation: the ``generationID()`` that the batch was made for; if the rules have
    ///   changed since, by anyone, nothing happens and the error's `errno` is ``Sys/Errno/restart``.
    /// - Throws: `.refused` for the first change that the kernel did not like, named in `subject`;
    ///   `.tooLarge` if the batch does not fit the socket's buffer, which an unprivileged process cannot
    ///   raise past twice `net.core.wmem_max`.
    package mutating func commit(_ batch: NftBatch, generation: UInt32? = nil) throws(NetlinkError) {
        guard !batch.isEmpty else { return }
        let first = reserveSequences(batch.messages.count + 2)
        let bytes = batch.encoded(firstSequence: first, port: port, generation: generation)
        try makeRoom(for: bytes.count)

        let subject = "commit of \(batch.messages.count) nftables changes"
        let last = batch.messages.count - 1
        var answers: [(index: Int, message: Message)] = []
        try exchange(bytes, subject: subject) { message throws(NetlinkError) in
            let index = Int(message.sequence &- first) - 1
            guard message.type == .error, index >= -1, index <= last else { return false }
            answers.append((index, message))
            // An answer to the begin message is about the batch as a whole: not permitted, generation passed.
            return index == -1 || index == last
        }
        // The first failure is the cause; those after it may be its consequences.
        for (index, message) in answers {
            let request = index < 0 ? nil : batch.messages[index]
            let place = request.map { $0.subject + culprit(of: $0, in: message) } ?? subject
            if let failure = try refusal(in: message, place) { throw failure }
        }
    }

    /// The longest batch that this socket can take, in bytes; asks for as much room as there is to have.
    package mutating func maximumBatchSize() throws(NetlinkError) -> Int {
        try raiseSendBuffer(to: 64 << 20, "nftables batch")
    }

    /// Raises the socket's buffer so that one datagram of `length` bytes fits.
    private func makeRoom(for length: Int) throws(NetlinkError) {
        // The stock buffer takes this much.
        guard length > 128 << 10 else { return }
        let limit = try raiseSendBuffer(to: length, "nftables batch")
        guard length <= limit else {
            throw NetlinkError(.tooLarge(length: length, limit: limit), "nftables batch")
        }
    }

    /// - Returns: the longest datagram that fits now.
    private func raiseSendBuffer(to length: Int, _ subject: String) throws(NetlinkError) -> Int {
        let wanted = Int32(clamping: length + 64)
        // SO_SNDBUFFORCE is for the initial user namespace's administrator; SO_SNDBUF stops at
        // net.core.wmem_max.
        do throws(SystemError) {
            do throws(SystemError) { try descriptor.setOption(SOL_SOCKET, SO_SNDBUFFORCE, wanted) } catch {
                try descriptor.setOption(SOL_SOCKET, SO_SNDBUF, wanted)
            }
            // netlink_sendmsg() refuses what is longer than sk_sndbuf - 32.
            return Int(try descriptor.option(SOL_SOCKET, SO_SNDBUF)) - 32
        } catch {
            throw NetlinkError(.socket(error), subject)
        }
    }
}

extension Errno {
    /// The kernel's own ERESTART: rules changed between reading and writing. Not in errno.h, as it never
    /// leaves other calls.
    package static let restart = Errno(rawValue: 85)
    package static let messageSize = Errno(rawValue: EMSGSIZE)
}

/// Which element of a list the kernel complained about: " (05000000 7f000001)", or nothing if it does not
/// say.
private func culprit(of request: Request, in message: Message) -> String {
    // NLMSGERR_ATTR_OFFS counts from the request's header.
    guard NftMessage(request.type) == .newElement || NftMessage(request.type) == .deleteElement,
        message.flags.contains(.extendedAcknowledgement), message.flags.contains(.capped),
        let attributes = try? Attribute.parse(message.payload.dropFirst(20)),
        let offset: UInt32 = try? attributes[type: 2]?.integer(),
        let list = try? Attribute.parse(request.payload.dropFirst(4))[type: Nfta.ElementList.elements]?
            .nested()
    else { return "" }
    let position = Int(offset) - Message.headerLength
    // The complaint may be about the entry (its header lies 4 bytes before) or anything in it.
    guard
        let entry = list.first(where: {
            $0.payload.startIndex - 4 <= position && position < $0.payload.endIndex
        }),
        let element = try? NftElement(entry.nested())
    else { return "" }
    let words = stride(from: 0, to: element.key.count, by: 4).map { start in
        element.key[start..<min(start + 4, element.key.count)].map { byte in
            (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }.joined()
    }
    return " (\(words.joined(separator: " ")))"
}
