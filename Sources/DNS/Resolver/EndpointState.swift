internal import Sys
internal import Wire

/// An endpoint as the resolver knows it.
struct EndpointState {
    var description: EndpointDescription
    /// Number of its network in the resolver's list; -1 if the place in the list is free.
    var network: Int32
    /// Tells it from those that had its place before.
    var serial: UInt32
    /// Under which verdicts on it are remembered; another one when they are to be forgotten.
    var verdictSerial: UInt32
    /// Of the order that told of it last.
    var generation: UInt32
    var counters: EndpointCounters
    /// `<name>.<network>.forge.internal`
    var canonical: DomainName
    /// Ready-made records whose owner is the name in the question.
    var records4: [UInt8] = []
    var records6: [UInt8] = []
    var count4: UInt16 = 0
    var count6: UInt16 = 0
    /// Queries that wait.
    var outstanding = 0
    /// Sockets that are in use for its queries.
    var inFlight = 0
    /// Of questions that the manager is asked.
    var allowance = Allowance()
    /// What holds for every name outside.
    var everything: Verdict?
    var outside: [DomainName: OutsideVerdict] = [:]

    mutating func makeRecords(ttl: UInt32) {
        records4 = []
        records6 = []
        count4 = 0
        count6 = 0
        for address in description.addresses {
            var writer = ByteWriter(capacity: 28)
            // RFC 1035 section 4.1.4: the name in the question stands at byte 12.
            writer.integerBE(UInt16(0xc000 | Limit.header))
            writer.integerBE((address.family == .v4 ? RecordType.a : .aaaa).rawValue)
            writer.integerBE(internetClass)
            writer.integerBE(ttl)
            writer.integerBE(UInt16(address.family.width / 8))
            writer.append(address.bytes)
            switch address.family {
            case .v4:
                records4 += writer.bytes
                count4 += 1
            case .v6:
                records6 += writer.bytes
                count6 += 1
            }
        }
    }
}

/// What a client may know of a name outside, and which addresses of it the kernel lets it reach.
struct OutsideVerdict {
    var verdict: Verdict
    /// Of the set of addresses that was learnt last.
    var learnt: LearntSet?
}

/// A set of addresses, and when the first and the last of them run out, in seconds of the resolver's clock.
struct LearntSet: Hashable {
    let addresses: Set<IPAddress>
    let first: UInt32
    let last: UInt32

    init(_ learnt: [LearntAddress], now: UInt32) {
        addresses = Set(learnt.map(\.address))
        first = now &+ (learnt.map(\.ttl).min() ?? 0)
        last = now &+ (learnt.map(\.ttl).max() ?? 0)
    }

    /// Whether whoever has learnt this has learnt the other as well.
    func covers(_ other: LearntSet) -> Bool {
        addresses == other.addresses && first >= other.first && last >= other.last
    }
}

/// A network as the resolver knows it.
struct NetworkState {
    var description: NetworkDescription
    var generation: UInt32
    /// Free places have none.
    var isPresent = true
    /// `<network>.forge.internal`
    var zone: DomainName
}

/// An address of an endpoint in its network.
struct ClientKey: Hashable {
    let network: Int32
    let family: UInt8
    let high: UInt64
    let low: UInt64

    init(network: Int32, _ address: SocketAddress) {
        self.network = network
        family = address.family
        high = address.high
        low = address.low
    }
}
