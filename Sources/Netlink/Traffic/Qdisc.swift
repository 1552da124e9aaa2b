package import Wire

// Traffic control: linux/rtnetlink.h, linux/pkt_sched.h.

extension MessageType {
    package static let newQdisc = MessageType(rawValue: 36)
    package static let deleteQdisc = MessageType(rawValue: 37)
    package static let getQdisc = MessageType(rawValue: 38)
    package static let newFilter = MessageType(rawValue: 44)
    package static let deleteFilter = MessageType(rawValue: 45)
    package static let getFilter = MessageType(rawValue: 46)
    package static let newAction = MessageType(rawValue: 48)
}

extension RouteGroup {
    /// Queueing disciplines, classes and filters.
    package static let trafficControl = RouteGroup(rawValue: 4)
}

/// Names a place in a link's traffic control: major and minor number.
package struct TrafficHandle: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// TC_H_ROOT: what the link sends.
    package static let root = TrafficHandle(rawValue: 0xffff_ffff)
    /// TC_H_CLSACT, as a parent.
    package static let clsact = TrafficHandle(rawValue: 0xffff_fff1)
    /// The handle that clsact has.
    package static let clsactItself = TrafficHandle(rawValue: 0xffff_0000)
    /// TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS): filters of what the link receives.
    package static let received = TrafficHandle(rawValue: 0xffff_fff2)
}

/// `tbf`: lets pass a rate, holds back what is more, and drops what is more than it can hold.
package struct TokenBucket: Hashable, Sendable {
    /// Bytes a second.
    package var rate: UInt64
    /// Bytes that may pass at once; no packet larger than that ever passes, but for one that can be cut into
    /// segments.
    package var burst: UInt32
    /// Bytes that wait at most.
    package var limit: UInt32

    package init(rate: UInt64, burst: UInt32, limit: UInt32) {
        self.rate = rate
        self.burst = burst
        self.limit = limit
    }
}

/// What a queueing discipline has counted.
package struct QdiscStatistics: Hashable, Sendable {
    package var bytes: UInt64 = 0
    package var packets: UInt32 = 0
    package var drops: UInt32 = 0
    package var overlimits: UInt32 = 0

    package init() {}
}

/// A queueing discipline of a link.
package struct Qdisc: Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
        /// The kernel does not tell the burst.
        case tokenBucket(TokenBucket)
        case clsact
        case other(String)
    }

    package var link: UInt32
    package var handle: TrafficHandle
    package var parent: TrafficHandle
    package var kind: Kind
    package var statistics = QdiscStatistics()

    package init(link: UInt32, handle: TrafficHandle, parent: TrafficHandle, kind: Kind) {
        self.link = link
        self.handle = handle
        self.parent = parent
        self.kind = kind
    }

    /// What the link sends is held to a rate.
    package static func root(
        link: UInt32, handle: TrafficHandle, _ bucket: TokenBucket
    ) -> Qdisc {
        Qdisc(link: link, handle: handle, parent: .root, kind: .tokenBucket(bucket))
    }

    /// A place for filters.
    package static func clsact(link: UInt32) -> Qdisc {
        Qdisc(link: link, handle: .clsactItself, parent: .clsact, kind: .clsact)
    }

    /// Reads an RTM_NEWQDISC or RTM_DELQDISC.
    package init(_ message: Message) throws(DecodeError) {
        var reader = ByteReader(message.payload)
        let header = try TrafficHeader(&reader)
        let attributes = try Attribute.parse(reader.rest)
        link = header.link
        handle = header.handle
        parent = header.parent
        let name = attributes[type: TrafficAttribute.kind]?.string ?? ""
        switch name {
        case "clsact": kind = .clsact
        case "tbf":
            let options = try attributes[type: TrafficAttribute.options]?.nested() ?? []
            kind = .tokenBucket(try TokenBucket(options))
        default: kind = .other(name)
        }
        if let counters = try attributes[type: TrafficAttribute.statistics]?.nested() {
            statistics = try QdiscStatistics(counters)
        }
    }
}

extension Request {
    /// Makes the discipline; one that is there under its handle is changed in place, and keeps what waits in
    /// it.
    package static func replaceQdisc(_ qdisc: Qdisc) -> Request {
        Request(.newQdisc, [.create, .replace], subject: "set qdisc of link \(qdisc.link)") { message in
            message.trafficHeader(qdisc.link, qdisc.handle, qdisc.parent)
            switch qdisc.kind {
            case .clsact: message.attribute(TrafficAttribute.kind, string: "clsact")
            case .other(let name): message.attribute(TrafficAttribute.kind, string: name)
            case .tokenBucket(let bucket):
                message.attribute(TrafficAttribute.kind, string: "tbf")
                message.nested(TrafficAttribute.options) { bucket.write(to: &$0) }
            }
        }
    }

    package static func deleteQdisc(link: UInt32, handle: TrafficHandle, parent: TrafficHandle) -> Request {
        Request(.deleteQdisc, [], subject: "delete qdisc of link \(link)") {
            $0.trafficHeader(link, handle, parent)
        }
    }

    /// Reads the disciplines of all links, for `NetlinkSocket.dump`.
    package static var listQdiscs: Request {
        Request(.getQdisc, [], subject: "list qdiscs") {
            $0.trafficHeader(0, TrafficHandle(rawValue: 0), TrafficHandle(rawValue: 0))
        }
    }
}

// MARK: - Coding

/// `TCA_*`.
enum TrafficAttribute {
    static let kind: UInt16 = 1
    static let options: UInt16 = 2
    /// TCA_STATS2
    static let statistics: UInt16 = 7
}

/// `TCA_TBF_*`.
private enum BucketAttribute {
    static let parameters: UInt16 = 1
    static let rate64: UInt16 = 4
    static let burst: UInt16 = 6
}

/// `struct tcmsg`.
struct TrafficHeader {
    let link: UInt32
    let handle: TrafficHandle
    let parent: TrafficHandle
    let info: UInt32

    init(_ reader: inout ByteReader) throws(DecodeError) {
        try reader.skip(4, "tcm_family")
        link = try reader.integer("tcm_ifindex")
        handle = TrafficHandle(rawValue: try reader.integer("tcm_handle"))
        parent = TrafficHandle(rawValue: try reader.integer("tcm_parent"))
        info = try reader.integer("tcm_info")
    }
}

extension PayloadWriter {
    mutating func trafficHeader(
        _ link: UInt32, _ handle: TrafficHandle, _ parent: TrafficHandle, info: UInt32 = 0
    ) {
        header { header in
            // struct tcmsg: family, two pads, index, handle, parent, info.
            header.integer(UInt32(0))
            header.integer(link)
            header.integer(handle.rawValue)
            header.integer(parent.rawValue)
            header.integer(info)
        }
    }
}

extension TokenBucket {
    /// TC_LINKLAYER_ETHERNET: the kernel reckons by rate, and needs no table of what each size costs.
    private static let linkLayer: UInt8 = 1

    fileprivate func write(to options: inout PayloadWriter) {
        // The 32-bit field is all ones where 64 bits are needed (tc-tbf of iproute2 does so too).
        let narrow = UInt32(clamping: rate)
        options.attribute(BucketAttribute.parameters, bytes: parameters(narrow))
        if rate > UInt64(UInt32.max) { options.attribute(BucketAttribute.rate64, rate) }
        options.attribute(BucketAttribute.burst, burst)
    }

    /// `struct tc_tbf_qopt`.
    private func parameters(_ rate: UInt32) -> [UInt8] {
        var writer = ByteWriter(capacity: 36)
        for rate in [rate, 0] {
            // struct tc_ratespec: cell_log, linklayer, overhead, cell_align, mpu, rate.
            writer.integer(UInt8(0))
            writer.integer(rate == 0 ? 0 : TokenBucket.linkLayer)
            writer.integer(UInt16(0))
            writer.integer(UInt16(0))
            writer.integer(UInt16(0))
            writer.integer(rate)
        }
        writer.integer(limit)
        // The bucket in the kernel's ticks, where TCA_TBF_BURST has it in bytes; and the peak's.
        writer.integer(UInt32(0))
        writer.integer(UInt32(0))
        return writer.bytes
    }

    fileprivate init(_ options: [Attribute]) throws(DecodeError) {
        guard let parameters = options[type: BucketAttribute.parameters] else {
            throw DecodeError("TCA_TBF_PARMS", at: 0, "is missing")
        }
        var reader = ByteReader(parameters.payload)
        try reader.skip(8, "rate")
        let narrow: UInt32 = try reader.integer("rate")
        try reader.skip(12, "peakrate")
        limit = try reader.integer("limit")
        rate = try options[type: BucketAttribute.rate64]?.integer() ?? UInt64(narrow)
        burst = 0
    }
}

extension QdiscStatistics {
    /// `TCA_STATS_*`.
    fileprivate init(_ counters: [Attribute]) throws(DecodeError) {
        if let basic = counters[type: 1] {
            var reader = ByteReader(basic.payload)
            bytes = try reader.integer("bytes")
            packets = try reader.integer("packets")
        }
        if let queue = counters[type: 3] {
            var reader = ByteReader(queue.payload)
            try reader.skip(8, "qlen, backlog")
            drops = try reader.integer("drops")
            try reader.skip(4, "requeues")
            overlimits = try reader.integer("overlimits")
        }
    }
}
