package import Wire

/// One step of a rule.
///
/// Lengths follow from the byte arrays. Numbers are bytes as the kernel holds them in registers: packet
/// fields in network order, what the kernel itself makes (marks, interface indexes, connection states) in
/// host order.
package indirect enum NftExpression: Hashable, Sendable {
    /// Loads something known about the packet.
    case meta(NftMetaKey, NftRegister)
    case metaSet(NftMetaKey, NftRegister)
    /// Loads bytes of a header.
    case payload(base: NftPayloadBase, offset: UInt32, length: UInt32, NftRegister)
    /// Loads something known about the packet's connection.
    case ct(NftCtKey, NftRegister)
    case ctSet(NftCtKey, NftRegister)
    case cmp(NftCmp, NftRegister, [UInt8])
    /// In or out of a closed range, compared as memcmp does.
    case range(NftRangeOp, NftRegister, [UInt8], [UInt8])
    /// (source & mask) ^ xor. Both masks have the same length.
    case bitwise(source: NftRegister, destination: NftRegister, mask: [UInt8], xor: [UInt8])
    /// Matches if the key is in the set. With a destination (of a map), loads the value; `.verdict` there
    /// makes the value decide.
    case lookup(set: String, key: NftRegister, destination: NftRegister? = nil, inverted: Bool = false)
    case immediate(NftRegister, [UInt8])
    case verdict(NftVerdict)
    case counter
    /// Matches up to a rate, or with `over` only past it.
    case limit(rate: UInt64, unitSeconds: UInt64, burst: UInt32, kind: NftLimitKind, over: Bool)
    /// Changes a set from the packet path, then evaluates `expressions` of that element. Does not match when
    /// the set is full.
    case dynset(
        set: String, operation: NftDynsetOperation, key: NftRegister, data: NftRegister? = nil,
        timeoutMs: UInt64? = nil, expressions: [NftExpression] = [])
    /// Hands the packet's first `snaplen` bytes to the listeners of an nfnetlink_log group.
    case log(group: UInt16, prefix: String, snaplen: UInt32)
    /// The packet takes no part in connection tracking.
    case notrack
    /// Gives a connection's packets the address of the interface that they leave by (and another source port
    /// where it has to). For chains of type "nat" at the postrouting hook.
    case masquerade
    /// Loads what the destination address is to this host, as `rtm_type` of linux/rtnetlink.h: four bytes in host
    /// order, 2 for one of its own.
    case destinationType(NftRegister)
    /// Leads a connection to another address and port, each in a register. For chains of type "nat" at the
    /// prerouting and output hooks.
    case destinationNAT(IPFamily, address: NftRegister, port: NftRegister)
    /// Drops, and tells the sender.
    case reject(NftReject)
}

/// `enum nft_meta_keys`.
package struct NftMetaKey: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    package static let length = NftMetaKey(rawValue: 0)
    /// The ethertype, in network order: two bytes.
    package static let `protocol` = NftMetaKey(rawValue: 1)
    package static let priority = NftMetaKey(rawValue: 2)
    package static let mark = NftMetaKey(rawValue: 3)
    package static let iif = NftMetaKey(rawValue: 4)
    package static let oif = NftMetaKey(rawValue: 5)
    /// Sixteen bytes, zero-padded.
    package static let iifname = NftMetaKey(rawValue: 6)
    package static let oifname = NftMetaKey(rawValue: 7)
    package static let iiftype = NftMetaKey(rawValue: 8)
    package static let oiftype = NftMetaKey(rawValue: 9)
    package static let nftrace = NftMetaKey(rawValue: 12)
    /// One byte.
    package static let nfproto = NftMetaKey(rawValue: 15)
    /// One byte.
    package static let l4proto = NftMetaKey(rawValue: 16)
    /// The bridge that the port of arrival belongs to.
    package static let bridgeIifname = NftMetaKey(rawValue: 17)
    package static let bridgeOifname = NftMetaKey(rawValue: 18)
    package static let pkttype = NftMetaKey(rawValue: 19)
    package static let iifgroup = NftMetaKey(rawValue: 21)
    package static let oifgroup = NftMetaKey(rawValue: 22)
    package static let iifkind = NftMetaKey(rawValue: 26)
    package static let oifkind = NftMetaKey(rawValue: 27)
}

/// `enum nft_ct_keys`.
package struct NftCtKey: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// A bit set in host order: invalid 1, established 2, related 4, new 8, untracked 64.
    package static let state = NftCtKey(rawValue: 0)
    /// One byte: 0 original, 1 reply.
    package static let direction = NftCtKey(rawValue: 1)
    /// A bit set in host order, as ``ConntrackStatus``.
    package static let status = NftCtKey(rawValue: 2)
    package static let mark = NftCtKey(rawValue: 3)
    package static let zone = NftCtKey(rawValue: 17)
    package static let id = NftCtKey(rawValue: 23)
}

/// `enum nft_payload_bases`.
package enum NftPayloadBase: UInt32, Hashable, Sendable {
    case link = 0
    case network = 1
    case transport = 2
}

/// `enum nft_cmp_ops`; order is memcmp's.
package enum NftCmp: UInt32, Hashable, Sendable {
    case eq = 0
    case neq = 1
    case lt = 2
    case lte = 3
    case gt = 4
    case gte = 5
}

/// `enum nft_range_ops`.
package enum NftRangeOp: UInt32, Hashable, Sendable {
    case eq = 0
    case neq = 1
}

/// `enum nft_limit_type`.
package enum NftLimitKind: UInt32, Hashable, Sendable {
    case packets = 0
    case bytes = 1
}

/// `enum nft_dynset_ops`.
package enum NftDynsetOperation: UInt32, Hashable, Sendable {
    /// Leaves an element that exists alone but for its expressions.
    case add = 0
    /// Also winds its timeout up again.
    case update = 1
    case delete = 2
}

/// What the sender of a rejected packet is told.
package enum NftReject: Hashable, Sendable {
    /// An ICMP "unreachable" with this code, in tables of one IP family.
    case icmp(code: UInt8)
    case tcpReset
    /// The family's own ICMP "unreachable" (`enum nft_reject_inet_code`: 0 no route, 1 port, 2 host, 3
    /// prohibited).
    case icmpx(code: UInt8)
}
