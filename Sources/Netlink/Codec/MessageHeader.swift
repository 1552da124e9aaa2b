package import Wire

/// Flags of `struct nlmsghdr` (linux/netlink.h).
package struct MessageFlags: OptionSet, Hashable, Sendable {
    package let rawValue: UInt16
    package init(rawValue: UInt16) { self.rawValue = rawValue }

    package static let request = MessageFlags(rawValue: 0x1)
    /// The message is one of several; a DONE message ends them.
    package static let multi = MessageFlags(rawValue: 0x2)
    package static let acknowledge = MessageFlags(rawValue: 0x4)
    package static let echo = MessageFlags(rawValue: 0x8)
    /// The dump is not consistent: something changed while it ran.
    package static let dumpInterrupted = MessageFlags(rawValue: 0x10)

    // Of a "get" request.
    package static let dump = MessageFlags(rawValue: 0x300)

    // Of a "new" request.
    package static let replace = MessageFlags(rawValue: 0x100)
    package static let exclusive = MessageFlags(rawValue: 0x200)
    package static let create = MessageFlags(rawValue: 0x400)
    package static let append = MessageFlags(rawValue: 0x800)

    // Of an acknowledgement: the request is not repeated; attributes follow.
    package static let capped = MessageFlags(rawValue: 0x100)
    package static let extendedAcknowledgement = MessageFlags(rawValue: 0x200)
}

/// The kind of a netlink message; numbers below 16 are common to all families.
package struct MessageType: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt16
    package init(rawValue: UInt16) { self.rawValue = rawValue }

    package static let noop = MessageType(rawValue: 1)
    package static let error = MessageType(rawValue: 2)
    package static let done = MessageType(rawValue: 3)
    package static let overrun = MessageType(rawValue: 4)
}

/// One message as it came from the kernel.
package struct Message: Hashable, Sendable {
    package let type: MessageType
    package let flags: MessageFlags
    package let sequence: UInt32
    package let port: UInt32
    /// What follows the header, without padding.
    package let payload: ArraySlice<UInt8>

    package static let headerLength = 16

    /// Splits a datagram into its messages. A length below the header's or past the end is an error, never a
    /// loop.
    package static func parse(_ datagram: ArraySlice<UInt8>) throws(DecodeError) -> [Message] {
        var messages: [Message] = []
        var reader = ByteReader(datagram)
        while reader.remaining >= headerLength {
            let start = reader.offset
            let length: UInt32 = try reader.integer("nlmsg_len")
            let type: UInt16 = try reader.integer("nlmsg_type")
            let flags: UInt16 = try reader.integer("nlmsg_flags")
            let sequence: UInt32 = try reader.integer("nlmsg_seq")
            let port: UInt32 = try reader.integer("nlmsg_pid")
            guard length >= headerLength else {
                throw DecodeError("nlmsg_len", at: start, "\(length) is shorter than the header")
            }
            let payload = try reader.take(Int(length) - headerLength, "netlink payload")
            let pad = (4 - Int(length) % 4) % 4
            try reader.skip(min(pad, reader.remaining), "padding")
            messages.append(
                Message(
                    type: MessageType(rawValue: type), flags: MessageFlags(rawValue: flags),
                    sequence: sequence,
                    port: port, payload: payload))
        }
        return messages
    }
}
