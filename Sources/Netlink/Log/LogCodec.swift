package import Wire

// Numbers of linux/netfilter/nfnetlink_log.h.

/// `enum nfulnl_msg_types` behind NFNL_SUBSYS_ULOG.
enum LogMessage: UInt16 {
    case packet = 0
    case config = 1

    static let subsystem: UInt16 = 4

    var type: MessageType { MessageType(rawValue: LogMessage.subsystem << 8 | rawValue) }
}

/// `enum nfulnl_attr_type`.
private enum Nfula {
    static let header: UInt16 = 1
    static let mark: UInt16 = 2
    static let timestamp: UInt16 = 3
    static let input: UInt16 = 4
    static let output: UInt16 = 5
    static let physicalInput: UInt16 = 6
    static let payload: UInt16 = 9
    static let prefix: UInt16 = 10
    static let sequence: UInt16 = 12
}

/// `enum nfulnl_attr_config`.
private enum NfulaConfig {
    static let command: UInt16 = 1
    static let mode: UInt16 = 2
    static let bufferSize: UInt16 = 3
    static let timeout: UInt16 = 4
    static let threshold: UInt16 = 5
    static let flags: UInt16 = 6
}

/// How a group of nfnetlink_log is listened to.
package struct LogSubscription: Hashable, Sendable {
    package var group: UInt16
    /// Bytes of each packet, from the network header on.
    package var copyRange: UInt32 = 128
    /// Packets that are told together.
    package var threshold: UInt32 = 64
    /// How long a packet waits for others, in hundredths of a second.
    package var timeoutCentiseconds: UInt32 = 1
    /// Bytes that are told together.
    package var bufferSize: UInt32 = 24 << 10

    package init(group: UInt16) { self.group = group }

    /// The request that makes the sender the group's one listener. Everything is said at once, so that no packet
    /// comes between.
    package var request: Request {
        Request(LogMessage.config.type, [], subject: "listen to nflog group \(group)") { writer in
            writer.netfilterHeader(family: 0, resource: group)
            // NFULNL_CFG_CMD_BIND
            writer.attribute(NfulaConfig.command, UInt8(1))
            // NFULNL_COPY_PACKET; struct nfulnl_msg_config_mode is packed.
            var mode = ByteWriter(capacity: 6)
            mode.integerBE(copyRange)
            mode.append([2, 0])
            writer.attribute(NfulaConfig.mode, bytes: mode.bytes)
            writer.attributeBE(NfulaConfig.bufferSize, bufferSize)
            writer.attributeBE(NfulaConfig.timeout, timeoutCentiseconds)
            writer.attributeBE(NfulaConfig.threshold, threshold)
            // NFULNL_CFG_F_SEQ
            writer.attributeBE(NfulaConfig.flags, UInt16(1))
        }
    }
}

/// A packet that a `log group` rule told of.
package struct LogPacket: Hashable, Sendable {
    package var group: UInt16
    /// The ethertype of what `payload` begins with.
    package var etherType: UInt16
    /// The netfilter hook that the rule hangs on.
    package var hook: UInt8
    package var mark: UInt32
    /// Microseconds since 1970, where the kernel says when it came.
    package var timestamp: UInt64?
    /// Interface numbers, 0 where there is none.
    package var input: UInt32
    package var output: UInt32
    /// The bridge's port, where `input` is the bridge.
    package var physicalInput: UInt32
    /// The rule's own word.
    package var prefix: String
    /// The packet's first bytes.
    package var payload: ArraySlice<UInt8>
    /// Counts the listener's packets from 0; a gap is as many that were lost.
    package var sequence: UInt32?

    /// Reads a message of nfnetlink_log; nil if it is of another kind.
    package init?(_ message: Message) throws(DecodeError) {
        guard message.type == LogMessage.packet.type else { return nil }
        var reader = ByteReader(message.payload)
        try reader.skip(2, "nfgenmsg")
        group = try reader.integerBE("nflog group")
        let attributes = try Attribute.parse(reader.rest)
        func number<T: FixedWidthInteger>(_ type: UInt16, as: T.Type = T.self) throws(DecodeError) -> T? {
            try attributes[type: type]?.integerBE()
        }
        guard let header = attributes[type: Nfula.header] else {
            throw DecodeError("packet header", at: 0, "missing")
        }
        var fields = ByteReader(header.payload)
        etherType = try fields.integerBE("hw_protocol")
        hook = try fields.integer("hook")
        mark = try number(Nfula.mark) ?? 0
        timestamp = nil
        if let stamp = attributes[type: Nfula.timestamp] {
            var fields = ByteReader(stamp.payload)
            let seconds: UInt64 = try fields.integerBE("timestamp's seconds")
            let microseconds: UInt64 = try fields.integerBE("timestamp's microseconds")
            // Past the year 500,000 it is no time.
            guard seconds < 1 << 44, microseconds < 1_000_000 else {
                throw DecodeError("timestamp", at: 0, "\(seconds) s \(microseconds) µs is no time")
            }
            timestamp = seconds * 1_000_000 + microseconds
        }
        input = try number(Nfula.input) ?? 0
        output = try number(Nfula.output) ?? 0
        physicalInput = try number(Nfula.physicalInput) ?? 0
        prefix = attributes[type: Nfula.prefix]?.string ?? ""
        payload = attributes[type: Nfula.payload]?.payload ?? []
        sequence = try number(Nfula.sequence)
    }
}
