internal import Netlink
internal import Wire

/// The kernel's connection tracking table, for ending connections.
struct ConnectionTable: ~Copyable {
    /// A connection as the side that began it sees it.
    struct Flow: Hashable {
        let source: IPAddress
        let destination: IPAddress
        let l4proto: UInt8
        /// 0 where the protocol has no ports.
        let destinationPort: UInt16

        init(_ entry: ConntrackEntry) {
            source = entry.original.source
            destination = entry.original.destination
            l4proto = entry.original.l4proto
            destinationPort = entry.original.destinationPort ?? 0
        }
    }

    private var socket: NetlinkSocket<NetfilterProtocol>

    init() throws { socket = try NetlinkSocket() }

    /// More addresses than this are looked for in the whole table.
    private static let filterLimit = 16

    /// The connections that these addresses take part in, or all.
    mutating func entries(of addresses: Set<IPAddress>?) throws -> [ConntrackEntry] {
        guard let addresses, addresses.count <= Self.filterLimit else {
            let all = try socket.conntrackEntries()
            guard let addresses else { return all }
            return all.filter {
                addresses.contains($0.original.source) || addresses.contains($0.original.destination)
            }
        }
        return try addresses.flatMap { address in
            try ConntrackFilter.Side.allCases.flatMap { side in
                try socket.conntrackEntries(ConntrackFilter(address, side))
            }
        }
    }

    /// Ends connections: their next packet is judged as a new connection's first, and a TCP packet in
    /// mid-stream is none.
    mutating func cut(_ entries: [ConntrackEntry]) throws {
        guard !entries.isEmpty else { return }
        _ = try socket.deleteConntrack(entries)
    }

    /// Ends every connection that one of these addresses takes part in.
    mutating func cutAll(of addresses: [IPAddress]) throws {
        try socket.flushConntrack(
            addresses.flatMap { address in
                ConntrackFilter.Side.allCases.map { ConntrackFilter(address, $0) }
            })
    }
}
