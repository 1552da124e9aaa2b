package import Wire

// Numbers of linux/netfilter/nfnetlink_conntrack.h.

/// `enum cntl_msg_types` behind NFNL_SUBSYS_CTNETLINK.
enum ConntrackMessage: UInt16 {
    case new = 0
    case get = 1
    case delete = 2

    static let subsystem: UInt16 = 1

    var type: MessageType { MessageType(rawValue: ConntrackMessage.subsystem << 8 | rawValue) }

    init?(_ type: MessageType) {
        guard type.rawValue >> 8 == ConntrackMessage.subsystem else { return nil }
        self.init(rawValue: type.rawValue & 0xff)
    }
}

/// `CTA_*`.
enum Cta {
    static let original: UInt16 = 1
    static let reply: UInt16 = 2
    static let status: UInt16 = 3
    static let timeout: UInt16 = 7
    static let mark: UInt16 = 8
    static let originalCounters: UInt16 = 9
    static let replyCounters: UInt16 = 10
    static let id: UInt16 = 12
    static let zone: UInt16 = 18
    static let markMask: UInt16 = 21

    enum Tuple {
        static let addresses: UInt16 = 1
        static let transport: UInt16 = 2
        static let zone: UInt16 = 3
    }
    enum Address {
        static let source4: UInt16 = 1
        static let destination4: UInt16 = 2
        static let source6: UInt16 = 3
        static let destination6: UInt16 = 4
    }
    enum Transport {
        static let number: UInt16 = 1
        static let sourcePort: UInt16 = 2
        static let destinationPort: UInt16 = 3
        static let icmpID: UInt16 = 4
        static let icmpType: UInt16 = 5
        static let icmpCode: UInt16 = 6
        static let icmp6ID: UInt16 = 7
        static let icmp6Type: UInt16 = 8
        static let icmp6Code: UInt16 = 9
    }
    enum Counters {
        static let packets: UInt16 = 1
        static let bytes: UInt16 = 2
    }
}

extension IPFamily {
    /// AF_INET or AF_INET6.
    var netfilterFamily: UInt8 { self == .v4 ? 2 : 10 }
}

extension PayloadWriter {
    mutating func tuple(_ type: UInt16, _ tuple: ConntrackTuple) {
        nested(type) { writer in
            writer.nested(Cta.Tuple.addresses) { writer in
                let isV4 = tuple.source.family == .v4
                writer.attribute(isV4 ? Cta.Address.source4 : Cta.Address.source6, bytes: tuple.source.bytes)
                writer.attribute(
                    isV4 ? Cta.Address.destination4 : Cta.Address.destination6, bytes: tuple.destination.bytes
                )
            }
            writer.nested(Cta.Tuple.transport) { writer in
                writer.attribute(Cta.Transport.number, tuple.l4proto)
                switch tuple.selector {
                case .ports(let source, let destination):
                    writer.attributeBE(Cta.Transport.sourcePort, source)
                    writer.attributeBE(Cta.Transport.destinationPort, destination)
                case .icmp(let type, let code, let id):
                    let isV4 = tuple.source.family == .v4
                    writer.attributeBE(isV4 ? Cta.Transport.icmpID : Cta.Transport.icmp6ID, id)
                    writer.attribute(isV4 ? Cta.Transport.icmpType : Cta.Transport.icmp6Type, type)
                    writer.attribute(isV4 ? Cta.Transport.icmpCode : Cta.Transport.icmp6Code, code)
                case .none:
                    break
                }
            }
            if let zone = tuple.zone { writer.attributeBE(Cta.Tuple.zone, zone) }
        }
    }
}

extension ConntrackTuple {
    init(_ attribute: Attribute) throws(DecodeError) {
        let parts = try attribute.nested()
        let addresses = try parts[type: Cta.Tuple.addresses]?.nested() ?? []
        let transport = try parts[type: Cta.Tuple.transport]?.nested() ?? []

        func address(_ type4: UInt16, _ type6: UInt16, _ field: String) throws(DecodeError) -> IPAddress {
            for (type, length) in [(type4, 4), (type6, 16)] {
                if let bytes = addresses[type: type]?.payload, bytes.count == length,
                    let address = IPAddress(bytes: bytes)
                {
                    return address
                }
            }
            throw DecodeError(field, at: 0, "missing or of a wrong length")
        }
        func number<T: FixedWidthInteger>(_ type: UInt16, as: T.Type = T.self) throws(DecodeError) -> T? {
            try transport[type: type]?.integerBE()
        }

        var selector = Selector.none
        if let source: UInt16 = try number(Cta.Transport.sourcePort) {
            selector = .ports(source: source, destination: try number(Cta.Transport.destinationPort) ?? 0)
        } else if let type: UInt8 = try number(Cta.Transport.icmpType) {
            selector = .icmp(
                type: type, code: try number(Cta.Transport.icmpCode) ?? 0,
                id: try number(Cta.Transport.icmpID) ?? 0)
        } else if let type: UInt8 = try number(Cta.Transport.icmp6Type) {
            selector = .icmp(
                type: type, code: try number(Cta.Transport.icmp6Code) ?? 0,
                id: try number(Cta.Transport.icmp6ID) ?? 0)
        }
        self.init(
            source: try address(Cta.Address.source4, Cta.Address.source6, "tuple's source"),
            destination: try address(
                Cta.Address.destination4, Cta.Address.destination6, "tuple's destination"),
            l4proto: try number(Cta.Transport.number) ?? 0, selector: selector,
            zone: try parts[type: Cta.Tuple.zone]?.integerBE())
    }
}

extension ConntrackEntry {
    /// Reads a message of connection tracking; nil if it is of another subsystem.
    package init?(_ message: Message) throws(DecodeError) {
        guard ConntrackMessage(message.type) != nil else { return nil }
        var reader = ByteReader(message.payload)
        try reader.skip(4, "nfgenmsg")
        let attributes = try Attribute.parse(reader.rest)
        func tuple(_ type: UInt16, _ field: String) throws(DecodeError) -> ConntrackTuple {
            guard let attribute = attributes[type: type] else { throw DecodeError(field, at: 0, "missing") }
            return try ConntrackTuple(attribute)
        }
        func counter(_ type: UInt16) throws(DecodeError) -> NftCounter? {
            guard let parts = try attributes[type: type]?.nested() else { return nil }
            return NftCounter(
                packets: try parts[type: Cta.Counters.packets]?.integerBE() ?? 0,
                bytes: try parts[type: Cta.Counters.bytes]?.integerBE() ?? 0)
        }
        self.init(
            original: try tuple(Cta.original, "original tuple"), reply: try tuple(Cta.reply, "reply tuple"),
            status: ConntrackStatus(rawValue: try attributes[type: Cta.status]?.integerBE() ?? 0),
            mark: try attributes[type: Cta.mark]?.integerBE() ?? 0,
            id: try attributes[type: Cta.id]?.integerBE(),
            timeoutSeconds: try attributes[type: Cta.timeout]?.integerBE(),
            zone: try attributes[type: Cta.zone]?.integerBE() ?? 0,
            originalCounter: try counter(Cta.originalCounters), replyCounter: try counter(Cta.replyCounters))
    }
}

extension ConntrackEvent {
    /// nil if the message is not an event of connection tracking.
    package init?(_ message: Message) throws(DecodeError) {
        guard let entry = try ConntrackEntry(message) else { return nil }
        self.entry = entry
        switch ConntrackMessage(message.type) {
        // The first event of a connection carries the flags that made it.
        case .new: kind = message.flags.contains(.create) ? .new : .update
        case .delete: kind = .destroy
        default: return nil
        }
    }
}
