/// nft's numbers for what bytes mean (`enum datatypes` of its datatype.h). The kernel keeps them and does not
/// look at them.
package struct NftDataType: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    package static let nfProto = NftDataType(rawValue: 2)
    package static let integer = NftDataType(rawValue: 4)
    package static let string = NftDataType(rawValue: 5)
    package static let ipv4Addr = NftDataType(rawValue: 7)
    package static let ipv6Addr = NftDataType(rawValue: 8)
    package static let etherAddr = NftDataType(rawValue: 9)
    package static let etherType = NftDataType(rawValue: 10)
    package static let inetProto = NftDataType(rawValue: 12)
    package static let inetService = NftDataType(rawValue: 13)
    package static let mark = NftDataType(rawValue: 19)
    package static let ifindex = NftDataType(rawValue: 20)
    package static let ctState = NftDataType(rawValue: 26)
    package static let ctDirection = NftDataType(rawValue: 27)
    package static let ctStatus = NftDataType(rawValue: 28)
    package static let pktType = NftDataType(rawValue: 31)
    package static let devGroup = NftDataType(rawValue: 35)
    package static let ifname = NftDataType(rawValue: 41)

    /// nft's number for a concatenation: six bits a part.
    package static func concatenation(_ parts: [NftDataType]) -> NftDataType {
        NftDataType(rawValue: parts.reduce(0) { $0 << 6 | $1.rawValue })
    }

    /// Values of the kernel's own making are in host order.
    var isHostOrder: Bool {
        [.nfProto, .mark, .ifindex, .ctState, .ctDirection, .ctStatus, .pktType, .devGroup, .ifname, .string]
            .contains(self)
    }

    /// nft's word for it, for the comment of keys that nft itself cannot take apart.
    var word: String {
        switch self {
        case .integer: "integer"
        case .ipv4Addr: "ipv4_addr"
        case .ipv6Addr: "ipv6_addr"
        case .etherAddr: "ether_addr"
        case .etherType: "ether_type"
        case .inetProto: "inet_proto"
        case .inetService: "inet_service"
        case .mark: "mark"
        case .ifindex: "iface_index"
        case .ifname: "ifname"
        default: "type \(rawValue)"
        }
    }
}

/// `enum nft_set_flags`.
package struct NftSetFlags: OptionSet, Hashable, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    package static let anonymous = NftSetFlags(rawValue: 0x1)
    package static let constant = NftSetFlags(rawValue: 0x2)
    package static let interval = NftSetFlags(rawValue: 0x4)
    package static let map = NftSetFlags(rawValue: 0x8)
    package static let timeout = NftSetFlags(rawValue: 0x10)
    /// Rules may change the set (`dynset`).
    package static let eval = NftSetFlags(rawValue: 0x20)
    package static let object = NftSetFlags(rawValue: 0x40)
    /// With `interval`: every part of the key is an interval by itself (``NftElement/keyEnd``).
    package static let concat = NftSetFlags(rawValue: 0x80)
    package static let expressions = NftSetFlags(rawValue: 0x100)
}

/// What a map's keys lead to.
package enum NftSetData: Hashable, Sendable {
    case value(NftDataType, length: Int)
    case verdict
}

/// A set or a map.
///
/// Four kinds, by `flags`:
/// - without `interval`, a hash table over the whole key, of one part or several;
/// - `interval`, key of one part: ranges in a tree, each begun by one element and ended by another;
/// - `interval`, key of several parts: the same tree over the whole key in memcmp order, so that parts
///   before the last one act as a prefix. nft cannot print such a key by its parts and would crash; the
///   kernel is told "bytes" as its type, and the parts are named in the comment.
/// - `interval` and `concat`: every part is a range by itself.
package struct NftSet: Hashable, Sendable {
    package var table: NftTable
    package var name: String
    /// The key's parts. Each fills whole registers of four bytes, padded behind with zeros.
    package var keyType: [NftDataType]
    /// Of the key with its padding.
    package var keyLength: Int
    package var data: NftSetData?
    package var flags: NftSetFlags
    /// The most elements it takes; the kernel itself bounds sets that rules change.
    package var size: UInt32?
    /// How long elements live that do not say so themselves. Needs the flag `timeout`.
    package var timeoutMs: UInt64?
    /// What every element has of its own: a counter, a limit.
    package var elementExpressions: [NftExpression]
    /// Shown by nft; cut at 127 bytes.
    package var comment: String?

    package init(
        table: NftTable, name: String, keyType: [NftDataType], keyLength: Int, data: NftSetData? = nil,
        flags: NftSetFlags = [], size: UInt32? = nil, timeoutMs: UInt64? = nil,
        elementExpressions: [NftExpression] = [], comment: String? = nil
    ) {
        self.table = table
        self.name = name
        self.keyType = keyType
        self.keyLength = keyLength
        self.data = data
        self.flags = flags
        self.size = size
        self.timeoutMs = timeoutMs
        self.elementExpressions = elementExpressions
        self.comment = comment
    }

    /// The whole key is one ordered string of bytes.
    private var isOrderedBytes: Bool {
        flags.contains(.interval) && !flags.contains(.concat) && keyType.count > 1
    }

    private var encodedFlags: NftSetFlags {
        // The kernel takes "concat" only together with a description of the parts, which a hash table has no
        // use for.
        var flags = flags
        if !flags.contains(.interval) { flags.remove(.concat) }
        if data != nil { flags.insert(.map) }
        return flags
    }

    private var encodedKeyType: UInt32 {
        if isOrderedBytes { return NftDataType.etherAddr.rawValue }
        return NftDataType.concatenation(keyType).rawValue
    }

    /// Notes that nft prints the set by.
    private var userdata: [UInt8] {
        // enum byteorder: 1 host, 2 network; nft wants 0 for concatenations and verdicts.
        var keyOrder: UInt32 = 0
        if isOrderedBytes {
            keyOrder = 2
        } else if keyType.count == 1 {
            keyOrder = keyType[0].isHostOrder ? 1 : 2
        }
        var notes = NftNote.number(NftNote.setKeyByteOrder, keyOrder)
        if let data {
            var dataOrder: UInt32 = 0
            if case .value(let type, _) = data { dataOrder = type.isHostOrder ? 1 : 2 }
            notes += NftNote.number(NftNote.setDataByteOrder, dataOrder)
        }
        let text = comment ?? (isOrderedBytes ? keyType.map(\.word).joined(separator: " . ") : nil)
        if let text { notes += NftNote.comment(NftNote.setComment, text) }
        return notes
    }

    /// - Parameter id: tells the set from others made in the same batch.
    func encode(into writer: inout PayloadWriter, id: UInt32) {
        writer.attribute(Nfta.Set.table, string: table.name)
        writer.attribute(Nfta.Set.name, string: name)
        writer.attributeBE(Nfta.Set.flags, encodedFlags.rawValue)
        writer.attributeBE(Nfta.Set.keyType, encodedKeyType)
        writer.attributeBE(Nfta.Set.keyLength, UInt32(keyLength))
        switch data {
        case .value(let type, let length):
            writer.attributeBE(Nfta.Set.dataType, type.rawValue)
            writer.attributeBE(Nfta.Set.dataLength, UInt32(length))
        case .verdict:
            // NFT_DATA_VERDICT
            writer.attributeBE(Nfta.Set.dataType, UInt32(0xffff_ff00))
        case nil:
            break
        }
        writer.attributeBE(Nfta.Set.id, id)
        let describesParts = encodedFlags.contains(.concat)
        if size != nil || describesParts {
            writer.nested(Nfta.Set.description) { writer in
                if let size { writer.attributeBE(Nfta.SetDescription.size, size) }
                if describesParts {
                    writer.nested(Nfta.SetDescription.concatenation) { writer in
                        for length in partLengths {
                            writer.nested(Nfta.List.element) {
                                $0.attributeBE(Nfta.SetDescription.fieldLength, UInt32(length))
                            }
                        }
                    }
                }
            }
        }
        if let timeoutMs { writer.attributeBE(Nfta.Set.timeout, timeoutMs) }
        writer.attribute(Nfta.Set.userdata, bytes: userdata)
        if elementExpressions.count == 1 {
            writer.expression(Nfta.Set.expression, elementExpressions[0])
        } else if !elementExpressions.isEmpty {
            writer.expressions(Nfta.Set.expressions, elementExpressions)
        }
    }

    /// Bytes of each part without padding, for types that a concatenation of ranges can have.
    private var partLengths: [Int] {
        keyType.map { type in
            switch type {
            case .ipv6Addr, .ifname: 16
            case .etherAddr: 6
            case .inetService, .etherType: 2
            case .inetProto, .nfProto, .ctDirection, .pktType: 1
            default: 4
            }
        }
    }
}
