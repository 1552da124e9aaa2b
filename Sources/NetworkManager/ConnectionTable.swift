internal import Netlink
internal import Wire

/// The kernel's connection tracking table, for ending connections.
struct ConnectionTable: ~Copyable {
    /// A connection as the side that began it sees it.
    struct Flow {
        let source: IPAddress
        let destination: IPAddress
        let l4proto: UInt8
        /// 0 where the protocol has no ports.
        let destinationPort: UInt16

        func involves(_ addresses: [IPAddress]) -> Bool {
            addresses.contains(source) || addresses.contains(destination)
        }
    }

    private var socket: NetlinkSocket<NetfilterProtocol>

    init() throws { socket = try NetlinkSocket() }

    /// Ends the connections for which `condemned` says so: their next packet is judged as a new connection's
    /// first, and a TCP packet in mid-stream is none.
    mutating func cut(where condemned: (Flow) -> Bool) throws {
        let entries = try socket.conntrackEntries().filter { entry in
            condemned(
                Flow(
                    source: entry.original.source, destination: entry.original.destination,
                    l4proto: entry.original.l4proto, destinationPort: entry.original.destinationPort ?? 0))
        }
        guard !entries.isEmpty else { return }
        _ = try socket.deleteConntrack(entries)
    }
}
