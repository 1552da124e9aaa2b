internal import Wire

// Numbers of linux/netfilter/nf_tables.h and linux/netfilter/nfnetlink.h.

/// Netfilter's numbers for protocol families (`NFPROTO_*`).
package struct NftFamily: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }

    package static let inet = NftFamily(rawValue: 1)
    package static let ipv4 = NftFamily(rawValue: 2)
    package static let arp = NftFamily(rawValue: 3)
    package static let netdev = NftFamily(rawValue: 5)
    package static let bridge = NftFamily(rawValue: 7)
    package static let ipv6 = NftFamily(rawValue: 10)
}

/// A place in which a rule keeps four bytes while it is evaluated; longer values fill the registers that
/// follow.
package struct NftRegister: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// NFT_REG_VERDICT: what is loaded here decides on the packet.
    package static let verdict = NftRegister(rawValue: 0)

    /// NFT_REG32_00 + `index`, 0 to 15; the kernel refuses others.
    package static func r(_ index: Int) -> NftRegister {
        NftRegister(rawValue: 8 + UInt32(truncatingIfNeeded: index))
    }
}

/// The kinds of nf_tables messages (`enum nf_tables_msg_types`), as the low byte of an nfnetlink type.
enum NftMessage: UInt16 {
    case newTable = 0
    case getTable = 1
    case deleteTable = 2
    case newChain = 3
    case getChain = 4
    case deleteChain = 5
    case newRule = 6
    case getRule = 7
    case deleteRule = 8
    case newSet = 9
    case getSet = 10
    case deleteSet = 11
    case newElement = 12
    case getElement = 13
    case deleteElement = 14
    case newGeneration = 15
    case getGeneration = 16

    /// NFNL_SUBSYS_NFTABLES in the high byte.
    static let subsystem: UInt16 = 10

    var type: MessageType { MessageType(rawValue: NftMessage.subsystem << 8 | rawValue) }

    init?(_ type: MessageType) {
        guard type.rawValue >> 8 == NftMessage.subsystem else { return nil }
        self.init(rawValue: type.rawValue & 0xff)
    }
}

/// Attribute numbers, one namespace for each `enum nft_*_attributes`.
enum Nfta {
    enum List { static let element: UInt16 = 1 }
    enum Table {
        static let name: UInt16 = 1
        static let flags: UInt16 = 2
    }
    enum Chain {
        static let table: UInt16 = 1
        static let name: UInt16 = 3
        static let hook: UInt16 = 4
        static let policy: UInt16 = 5
        static let type: UInt16 = 7
    }
    enum Hook {
        static let number: UInt16 = 1
        static let priority: UInt16 = 2
        static let device: UInt16 = 3
    }
    enum Rule {
        static let table: UInt16 = 1
        static let chain: UInt16 = 2
        static let handle: UInt16 = 3
        static let expressions: UInt16 = 4
        static let userdata: UInt16 = 7
    }
    enum Set {
        static let table: UInt16 = 1
        static let name: UInt16 = 2
        static let flags: UInt16 = 3
        static let keyType: UInt16 = 4
        static let keyLength: UInt16 = 5
        static let dataType: UInt16 = 6
        static let dataLength: UInt16 = 7
        static let description: UInt16 = 9
        static let id: UInt16 = 10
        static let timeout: UInt16 = 11
        static let userdata: UInt16 = 13
        static let expression: UInt16 = 17
        static let expressions: UInt16 = 18
    }
    enum SetDescription {
        static let size: UInt16 = 1
        static let concatenation: UInt16 = 2
        static let fieldLength: UInt16 = 1
    }
    enum Element {
        static let key: UInt16 = 1
        static let data: UInt16 = 2
        static let flags: UInt16 = 3
        static let timeout: UInt16 = 4
        static let userdata: UInt16 = 6
        static let expression: UInt16 = 7
        static let keyEnd: UInt16 = 10
        static let expressions: UInt16 = 11
    }
    enum ElementList {
        static let table: UInt16 = 1
        static let set: UInt16 = 2
        static let elements: UInt16 = 3
    }
    enum Data {
        static let value: UInt16 = 1
        static let verdict: UInt16 = 2
    }
    enum Verdict {
        static let code: UInt16 = 1
        static let chain: UInt16 = 2
    }
    enum Expression {
        static let name: UInt16 = 1
        static let data: UInt16 = 2
    }
    enum Counter {
        static let bytes: UInt16 = 1
        static let packets: UInt16 = 2
    }
    enum Generation {
        static let id: UInt16 = 1
        static let processID: UInt16 = 2
        static let processName: UInt16 = 3
    }
}

/// Kinds of notes that nft keeps in user data (libnftnl's `udata.h`): a byte each for kind and length, then
/// the value.
enum NftNote {
    static let ruleComment: UInt8 = 0
    static let elementComment: UInt8 = 0
    static let setKeyByteOrder: UInt8 = 0
    static let setDataByteOrder: UInt8 = 1
    static let setComment: UInt8 = 7

    /// nft's own limit for comments, with the NUL.
    private static let commentLimit = 128

    static func comment(_ kind: UInt8, _ text: String) -> [UInt8] {
        // Cut between characters: half a character is not text.
        var text = Substring(text)
        while text.utf8.count >= commentLimit { text = text.dropLast() }
        return [kind, UInt8(text.utf8.count + 1)] + Array(text.utf8) + [0]
    }

    static func number(_ kind: UInt8, _ value: UInt32) -> [UInt8] {
        var writer = ByteWriter(capacity: 6)
        writer.append([kind, 4])
        writer.integer(value)
        return writer.bytes
    }

    /// The comment in user data; nil if there is none or the bytes are not notes.
    static func comment(in userdata: ArraySlice<UInt8>, kind: UInt8) -> String? {
        var reader = ByteReader(userdata)
        while reader.remaining >= 2 {
            guard let found: UInt8 = try? reader.integer("kind"),
                let length: UInt8 = try? reader.integer("length"),
                let value = try? reader.take(Int(length), "value")
            else { return nil }
            if found == kind { return String(decoding: value.prefix { $0 != 0 }, as: UTF8.self) }
        }
        return nil
    }
}
