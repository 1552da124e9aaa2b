package import Model
internal import Netlink
internal import Sys
package import Wire

/// What the kernel tells of packets that were denied, and how many it did not tell of.
///
/// One queue's: nothing here waits, but for the kernel's answers to what is asked of it.
package struct DenialLog: ~Copyable, Sendable {
    private var listener: NetlinkSocket<NetfilterProtocol>
    /// For questions: the listener's answers would stand in line behind packets.
    private var asker: NetlinkSocket<NetfilterProtocol>
    /// The number of the next packet.
    private var expected: UInt32 = 0
    /// Packets that were received, or are known to be lost, since this began to listen.
    private var accounted: Int64 = 0
    /// What the counters of the rules that tell said when `accounted` was 0, or would have if they had not begun
    /// anew since.
    private var base: Int64 = 0
    /// Packets that were taken for lost and came nevertheless: as many of the next losses are none.
    private var late: UInt64 = 0
    /// What the counters of the `unlogged` sets said last.
    private var unloggedSoFar: [DenialSource: UInt64] = [:]
    /// Packets were lost, and how many is not known yet.
    private var hasOverrun = false

    /// Begins to listen, in the calling thread's network namespace.
    /// - Throws: with `Errno.busy` where another process listens to our group.
    package static func begin() throws(FirewallError) -> DenialLog {
        do throws(NetlinkError) {
            var log = DenialLog(listener: try NetlinkSocket(), asker: try NetlinkSocket())
            log.base = try told(&log.asker)
            // Whatever is told from here on is either received or counted as lost.
            try log.listener.listen(LogSubscription(group: group))
            log.unloggedSoFar = try log.readUnlogged()
            return log
        } catch {
            throw FirewallError(code: .kernel, context: "listen to denials", cause: error)
        }
    }

    private init(
        listener: consuming NetlinkSocket<NetfilterProtocol>,
        asker: consuming NetlinkSocket<NetfilterProtocol>
    ) {
        self.listener = listener
        self.asker = asker
    }

    /// Readable when there is something to read.
    package var descriptor: Int32 { listener.descriptor.rawValue }

    /// Of one datagram.
    package struct Reading: Sendable {
        package var packets: [DeniedPacket] = []
        /// Packets that were told but did not reach us, or cannot be understood.
        package var lost: UInt64 = 0
    }

    /// The next denials that were told already; nil where there is none now.
    package mutating func read() throws(FirewallError) -> Reading? {
        var reading = Reading()
        let pending: (packets: [LogPacket], malformed: Int)?
        do throws(NetlinkError) { pending = try listener.pendingLogPackets() } catch {
            // The gap in the numbers will say how many; if nothing follows, `lostAtTheEnd` does.
            guard case .socket(let failure) = error.code, failure.errno == .noBuffers else {
                throw FirewallError(code: .kernel, context: "read denials", cause: error)
            }
            hasOverrun = true
            return reading
        }
        guard let pending else { return nil }
        for packet in pending.packets {
            if let sequence = packet.sequence { reading.lost += gap(before: sequence) }
            if let denied = DeniedPacket(packet) { reading.packets.append(denied) } else { reading.lost += 1 }
        }
        return reading
    }

    private mutating func gap(before sequence: UInt32) -> UInt64 {
        let missing = Int32(bitPattern: sequence &- expected)
        guard missing >= 0 else {
            late += 1
            return 0
        }
        expected = sequence &+ 1
        accounted += Int64(missing) + 1
        return withoutLate(UInt64(missing))
    }

    private mutating func withoutLate(_ lost: UInt64) -> UInt64 {
        let known = min(lost, late)
        late -= known
        return lost - known
    }

    /// Losses that no later packet's number has shown. To be asked when nothing has come for a while.
    package mutating func lostAtTheEnd() throws(FirewallError) -> UInt64 {
        guard hasOverrun else { return 0 }
        hasOverrun = false
        let told: Int64
        do throws(NetlinkError) { told = try Self.told(&asker) } catch {
            throw FirewallError(code: .kernel, context: "read counters", cause: error)
        }
        // Less than at the beginning: the tables have been made anew, and count from 0.
        let lost = told - base - accounted
        guard lost > 0 else {
            if lost < 0 { base = told - accounted }
            return 0
        }
        accounted += lost
        expected &+= UInt32(truncatingIfNeeded: lost)
        return withoutLate(UInt64(lost))
    }

    /// How many denials were not told since the last call, since their endpoints had used their shares up.
    package mutating func unlogged() throws(FirewallError) -> [DenialSource: UInt64] {
        let now: [DenialSource: UInt64]
        do throws(NetlinkError) { now = try readUnlogged() } catch {
            throw FirewallError(code: .kernel, context: "read counters", cause: error)
        }
        var new: [DenialSource: UInt64] = [:]
        for (source, count) in now {
            let before = unloggedSoFar[source] ?? 0
            // Less than before: forgotten in between, and counted from 0 again.
            let more = count >= before ? count - before : count
            if more > 0 { new[source] = more }
        }
        unloggedSoFar = now
        return new
    }

    private mutating func readUnlogged() throws(NetlinkError) -> [DenialSource: UInt64] {
        var counts: [DenialSource: UInt64] = [:]
        do throws(NetlinkError) {
            for family in IPFamily.allCases {
                for element in try asker.elements(of: KernelLayout.unlogged(family)) {
                    guard let counter = element.counter, counter.packets > 0,
                        let address = IPAddress(bytes: element.key)
                    else { continue }
                    counts[.address(address)] = counter.packets
                }
            }
            for element in try asker.elements(of: KernelLayout.unloggedSpoofed) {
                guard let counter = element.counter, counter.packets > 0 else { continue }
                counts[.port(String(decoding: element.key.prefix { $0 != 0 }, as: UTF8.self))] =
                    counter.packets
            }
        } catch {
            // Somebody flushed our tables: there is nothing to read until they are back.
            guard error.errno == .noEntry else { throw error }
        }
        return counts
    }

    /// How many packets the rules that tell have told of.
    private static func told(_ socket: inout NetlinkSocket<NetfilterProtocol>) throws(NetlinkError) -> Int64 {
        var sum: Int64 = 0
        for table in [KernelLayout.policyTable, KernelLayout.spoofingTable] {
            for rule in try socket.listRules(table) where rule.comment == comment {
                sum += Int64(clamping: rule.counter?.packets ?? 0)
            }
        }
        return sum
    }
}

/// Whom a denial is counted for.
package enum DenialSource: Hashable, Sendable {
    /// The endpoint with this address.
    case address(IPAddress)
    /// The endpoint behind this interface of the fabric's.
    case port(String)
}

/// A packet that was denied.
package struct DeniedPacket: Hashable, Sendable {
    package var outcome: Outcome
    /// Seen from the endpoint that the denial is counted for.
    package var direction: Direction
    /// The fabric's end of the sender's link, by number; known of spoofed frames alone.
    package var port: UInt32
    package var etherType: UInt16
    /// nil where the frame is neither IP nor ARP, or too broken to tell.
    package var summary: PacketSummary?
    /// Microseconds since 1970, where the kernel says when it came.
    package var timestamp: UInt64?

    /// nil if it is not one of our rules that told of it.
    init?(_ packet: LogPacket) {
        guard packet.group == DenialLog.group, let prefix = DenialLog.Prefix(rawValue: packet.prefix) else {
            return nil
        }
        switch prefix {
        case .egress, .ingress:
            outcome = Outcome(rawValue: packet.mark)
            direction = prefix == .egress ? .egress : .ingress
            port = 0
        case .spoofed:
            outcome = .spoofedSource
            direction = .egress
            port = packet.physicalInput == 0 ? packet.input : packet.physicalInput
        }
        etherType = packet.etherType
        summary = (try? PacketSummary(etherType: packet.etherType, packet.payload)) ?? nil
        timestamp = packet.timestamp
    }
}
