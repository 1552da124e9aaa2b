import Netlink
import Sys
import Testing
import Wire

@Suite(.enabled(if: PrivateNetwork.isAllowed, "needs root, or a user namespace of one's own (unshare -Urnm)"))
struct ConntrackTests {
    /// A network whose connections are tracked: a rule that asks for their state is enough.
    private func trackedNetwork(_ socket: inout NetlinkSocket<NetfilterProtocol>) throws {
        let table = NftTable(family: .inet, name: "watch")
        var batch = NftBatch()
        batch.create(table)
        batch.create(
            NftChain(table: table, name: "in", hook: NftHook(number: 1, priority: 0, type: "filter")))
        batch.add(
            NftRule(
                table: table, chain: "in", expressions: [.ct(.state, .r(0)), .ct(.mark, .r(1)), .counter]))
        try socket.commit(batch)
    }

    private func udp(to destination: String, _ port: UInt16) throws -> (ConntrackTuple) -> Bool {
        let address = try IPAddress(destination)
        return { $0.l4proto == 17 && $0.destination == address && $0.destinationPort == port }
    }

    @Test func `connections of both families are listed with their tuples, and deleted one by one`() throws {
        let network = try PrivateNetwork()
        var socket = try network.netfilterSocket()
        try trackedNetwork(&socket)
        for (address, port) in [("127.0.0.1", 1009), ("127.0.0.2", 1010), ("::1", 1011)] as [(String, UInt16)]
        {
            #expect(try network.sends(to: address, port: port))
        }
        #expect(try network.run("ping", "-c", "1", "-W", "1", "127.0.0.3").status == 0)
        #expect(try network.run("ping", "-6", "-c", "1", "-W", "1", "::1").status == 0)

        let all = try socket.conntrackEntries()
        func entry(_ address: String, _ port: UInt16) throws -> ConntrackEntry? {
            let matches = try udp(to: address, port)
            return all.first { matches($0.original) }
        }
        let v4 = try #require(try entry("127.0.0.1", 1009))
        #expect(try v4.original.source == IPAddress("127.0.0.1"))
        #expect(v4.reply.sourcePort == 1009 && v4.reply.destinationPort == v4.original.sourcePort)
        #expect(v4.status.contains(.confirmed) && !v4.status.contains(.sourceNAT))
        #expect(v4.id != nil && (1...180).contains(v4.timeoutSeconds ?? 0) && v4.zone == 0 && v4.mark == 0)
        let v6 = try #require(try entry("::1", 1011))
        #expect(try v6.original.source == IPAddress("::1"))

        let echo = try #require(try all.first { try $0.original.destination == IPAddress("127.0.0.3") })
        guard case .icmp(type: 8, code: 0, let id) = echo.original.selector else {
            Issue.record("\(echo.original)")
            return
        }
        #expect(echo.original.l4proto == 1 && echo.reply.selector == .icmp(type: 0, code: 0, id: id))
        let echo6 = try #require(all.first { $0.original.l4proto == 58 })
        guard case .icmp(type: 128, code: 0, _) = echo6.original.selector else {
            Issue.record("\(echo6.original)")
            return
        }
        #expect(try socket.conntrackEntries(.v6).allSatisfy { $0.original.source.family == .v6 })

        // Deleting: of four, one is gone before; another has an id that is not its own.
        #expect(try socket.deleteConntrack([v4]) == 1)
        var impostor = try #require(try entry("127.0.0.2", 1010))
        impostor.id = (impostor.id ?? 0) ^ 1
        #expect(try socket.deleteConntrack([v4, v6, echo, echo6, impostor]) == 3)
        let left = try socket.conntrackEntries().map(\.original)
        #expect(left.filter { $0.destinationPort == 1010 }.count == 1)
        #expect(
            left.allSatisfy { $0.l4proto == 17 && $0.destinationPort != 1009 && $0.destinationPort != 1011 })

        try socket.flushConntrack()
        #expect(try socket.conntrackEntries().isEmpty)
    }

    @Test func `beginnings and ends of connections are announced`() throws {
        let network = try PrivateNetwork()
        var socket = try network.netfilterSocket()
        try trackedNetwork(&socket)
        var listener = try network.netfilterSocket()
        try listener.subscribeToConntrack()
        #expect(try network.sends(to: "127.0.0.1", port: 1009))
        let matches = try udp(to: "127.0.0.1", 1009)
        func next(_ kind: ConntrackEvent.Kind) throws -> ConntrackEntry {
            while true {
                for event in try listener.nextConntrackEvents()
                where event.kind == kind && matches(event.entry.original) {
                    return event.entry
                }
            }
        }
        let begun = try next(.new)
        let entry = try #require(try socket.conntrackEntries().first { $0.original == begun.original })
        #expect(begun.id == entry.id)
        try socket.deleteConntrack([entry])
        #expect(try next(.destroy).id == entry.id)
    }
}
