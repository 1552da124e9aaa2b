internal import Netlink
internal import Sys

/// Who may change our tables.
///
/// Where the kernel can (Linux 6.9), the tables belong to our socket: `nft flush ruleset` passes over them,
/// whoever calls it, so that there is no moment in which packets are not judged. They stay when the socket
/// closes, and the next manager's socket takes them over.
enum TableOwnership {
    /// Ours alone.
    case owned
    /// Anyone's with CAP_NET_ADMIN: what somebody does to them is mended when the kernel tells.
    case shared

    /// Asks the kernel, by a table that is gone again in the same transaction.
    init(probing socket: inout NetlinkSocket<NetfilterProtocol>) throws(NetlinkError) {
        let probe = NftTable(family: .inet, name: "forge_probe", flags: [.owner, .persist])
        var batch = NftBatch()
        batch.destroy(probe)
        do throws(NetlinkError) {
            try socket.commit(batch)
            self = .owned
        } catch {
            guard error.errno == .invalid || error.errno == .notSupported else { throw error }
            self = .shared
        }
    }

    /// The table as it has to be named whenever it is made or taken over.
    func marked(_ table: NftTable) -> NftTable {
        var table = table
        if self == .owned { table.flags = [.owner, .persist] }
        return table
    }
}

extension FirewallPlane {
    /// Whether nobody else can change our tables.
    package var ownsTables: Bool { tables == .owned }

    /// Lets another manager take the tables over, though this plane is still there.
    package mutating func disown() {
        // An owner is a socket that is open; there is no other way to give its tables up.
        guard ownsTables, let other = try? NetlinkSocket<NetfilterProtocol>() else { return }
        socket = other
    }

    /// Takes over tables that an earlier manager has left.
    mutating func claim() throws(FirewallError) {
        guard ownsTables else { return }
        for table in KernelLayout.tables {
            do throws(NetlinkError) {
                guard
                    try socket.listTables().contains(where: {
                        $0.family == table.family && $0.name == table.name
                    })
                else { continue }
                var batch = NftBatch()
                batch.create(tables.marked(table))
                do throws(NetlinkError) { try socket.commit(batch) } catch {
                    // EPERM: another socket has it. Anything else: it was made without an owner, and is replaced
                    // in the one transaction that builds all anew.
                    guard error.errno != .notPermitted else { throw error }
                    unowned.insert(table)
                }
            } catch {
                throw FirewallError(
                    code: .kernel, context: "take over table \(table.name); another manager may have it",
                    cause: error)
            }
        }
    }
}
