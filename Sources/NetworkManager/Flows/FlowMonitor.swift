internal import Dispatch
internal import Firewall
internal import Glibc
internal import Logging
internal import Model
internal import Netlink
internal import Sys
internal import Wire

/// Who knows what addresses and outcomes stand for.
protocol FlowNames: AnyObject, Sendable {
    func meanings(of keys: [FlowKey]) async -> [FlowMeaning?]
    func members(of sources: [DenialSource]) async -> [NetworkMember?]
}

/// Watches what is denied and, while somebody wants to know, what connections begin; tells of it about once a
/// second.
///
/// ```
/// nflog ─────┐ queue             │ task                         │ readers
///            ├─> equal ones as ──┼─> who and why, in small ─────┼─> each with a
/// conntrack ─┘   one, counted    │   batches from the manager   │   buffer of its own
/// ```
///
/// Reading happens on a queue of its own: the manager is asked for names only, for each kind of flow once.
///
/// `@unchecked`: what changes does so on the queue alone.
final class FlowMonitor: @unchecked Sendable {
    let hub: FlowHub
    private let queue = DispatchQueue(label: "flows")
    private let intake = FlowIntake()
    private let logger: Logger
    private var denials: MeteredSource?
    private var connections: MeteredSource?
    private var denialLog: DenialFeed?
    private var isTicking = false
    private var isStopped = false
    /// Denials since the last tick, and whether they were many then.
    private var recent = 0
    private var wasBusy = false

    /// A bucket holds 2,000 and is filled by 1,000 a second: only an endpoint of which more than this is told in a
    /// second can have used its share up.
    private static let busy = 500

    private final class DenialFeed {
        var log: DenialLog
        init(_ log: consuming DenialLog) { self.log = log }
    }

    private final class ConnectionFeed {
        var socket: NetlinkSocket<NetfilterProtocol>
        init(_ socket: consuming NetlinkSocket<NetfilterProtocol>) { self.socket = socket }
    }

    /// Begins to listen, in the calling thread's network namespace.
    init(names: any FlowNames, logger: Logger) throws(FirewallError) {
        self.logger = logger
        let demand = DemandRelay()
        hub = FlowHub { demand.monitor?.followDemand() }
        let feed = DenialFeed(try DenialLog.begin())
        let source = MeteredSource(descriptor: feed.log.descriptor, queue: queue) { [weak self] in
            self?.readDenials(feed) ?? .nothing
        }
        denialLog = feed
        denials = source
        demand.monitor = self
        tell(names)
        source.start()
    }

    /// Lets the hub call what is made after it. `@unchecked`: set once, before anybody watches.
    private final class DemandRelay: @unchecked Sendable {
        weak var monitor: FlowMonitor?
    }

    deinit {
        denials?.cancel()
        connections?.cancel()
        intake.finish()
        hub.close()
    }

    /// Ends all streams and gives the log's group back; returns when another may listen to it.
    func stop() {
        let done = DispatchSemaphore(value: 0)
        queue.async { [self] in
            isStopped = true
            denialLog = nil
            connections?.cancel()
            connections = nil
            guard let source = denials else {
                done.signal()
                return
            }
            denials = nil
            source.cancel { done.signal() }
        }
        done.wait()
        intake.finish()
        hub.close()
    }

    /// Waits until all that the kernel has told by now is in the hub.
    func settle() async {
        await withCheckedContinuation { waiter in
            // What the kernel gathers reaches us after a hundredth of a second.
            queue.asyncAfter(deadline: .now() + .milliseconds(25)) { [self] in
                denials?.drain()
                connections?.drain()
                intake.close(then: waiter)
            }
        }
    }

    // MARK: On the queue

    private func readDenials(_ feed: DenialFeed) -> MeteredSource.Outcome {
        guard !isStopped else { return .nothing }
        guard hasRoom else { return .noRoom }
        let reading: DenialLog.Reading?
        do throws(FirewallError) { reading = try feed.log.read() } catch {
            logger.error("denials cannot be read", metadata: ["error": "\(error)"])
            return .noRoom
        }
        guard let reading else { return .nothing }
        let now = Self.now
        let flows = reading.packets.map { packet in
            (
                key: FlowKey(
                    outcome: packet.outcome, direction: packet.direction, port: packet.port,
                    etherType: packet.etherType, l4proto: packet.summary?.l4proto,
                    source: packet.summary?.source, destination: packet.summary?.destination,
                    destinationPort: packet.summary?.destinationPort, icmpType: packet.summary?.icmpType),
                time: packet.timestamp ?? now, sourcePort: packet.summary?.sourcePort
            )
        }
        intake.add(flows, losses: reading.lost > 0 ? [.denials(reading.lost)] : [])
        recent += flows.count + Int(clamping: reading.lost)
        tickLater()
        return .things(flows.count)
    }

    /// Names are slower to come than flows.
    private var hasRoom: Bool {
        guard intake.isFull else { return true }
        intake.close()
        return !intake.isFull
    }

    private func tickLater() {
        guard !isTicking, !isStopped else { return }
        isTicking = true
        queue.asyncAfter(deadline: .now() + .seconds(1)) { [weak self] in self?.tick() }
    }

    /// Once a second, for as long as anything happens and once more: ends the window, and finds out what was not
    /// told.
    private func tick() {
        isTicking = false
        guard !isStopped, let feed = denialLog else { return }
        let came = recent
        recent = 0
        var losses: [RawLoss] = []
        do throws(FirewallError) {
            if came >= Self.busy || wasBusy {
                for (source, count) in try feed.log.unlogged() { losses.append(.share(source, count)) }
            }
            if came == 0 {
                let lost = try feed.log.lostAtTheEnd()
                if lost > 0 { losses.append(.denials(lost)) }
            }
        } catch {
            logger.error("counters cannot be read", metadata: ["error": "\(error)"])
        }
        wasBusy = came >= Self.busy
        intake.add([], losses: losses)
        intake.close()
        let isWaitedFor = hub.tellMissed()
        if came > 0 || !losses.isEmpty || isWaitedFor { tickLater() }
    }

    /// Subscribes to new connections while somebody wants to hear of them.
    private func followDemand() {
        queue.async { [self] in
            let wanted = hub.wantsConnections && !isStopped
            if wanted, connections == nil {
                do throws(NetlinkError) {
                    let feed = ConnectionFeed(try NetlinkSocket())
                    try feed.socket.subscribeToNewConnections()
                    let source = MeteredSource(descriptor: feed.socket.descriptor.rawValue, queue: queue) {
                        [weak self] in self?.readConnections(feed) ?? .nothing
                    }
                    connections = source
                    source.start()
                } catch {
                    logger.error("connections cannot be watched", metadata: ["error": "\(error)"])
                }
            } else if !wanted, let source = connections {
                connections = nil
                source.cancel()
            }
        }
    }

    private func readConnections(_ feed: ConnectionFeed) -> MeteredSource.Outcome {
        guard !isStopped else { return .nothing }
        guard hasRoom else { return .noRoom }
        let events: [ConntrackEvent]
        do throws(NetlinkError) {
            guard let pending = try feed.socket.pendingConntrackEvents() else { return .nothing }
            events = pending
        } catch {
            // Overflow, or a datagram that cannot be understood: in either case some are not told.
            intake.add([], losses: [.connections])
            tickLater()
            return .things(0)
        }
        let now = Self.now
        let flows = events.filter { $0.kind == .new }.map { event in
            let tuple = event.entry.original
            var icmpType: UInt8?
            if case .icmp(let type, _, _) = tuple.selector { icmpType = type }
            return (
                key: FlowKey(
                    outcome: nil, direction: .egress, port: 0,
                    etherType: tuple.source.family == .v4 ? 0x0800 : 0x86dd, l4proto: tuple.l4proto,
                    source: tuple.source, destination: event.entry.peer.address,
                    destinationPort: event.entry.peer.port, icmpType: icmpType),
                time: now, sourcePort: tuple.sourcePort
            )
        }
        intake.add(flows)
        tickLater()
        return .things(flows.count)
    }

    /// Tells of a connection that the proxy refused because of its host.
    func tell(refusedFrom source: IPAddress, to destination: IPAddress, port: UInt16) {
        let key = FlowKey(
            outcome: .unverifiedHost, direction: .egress, port: 0,
            etherType: source.family == .v4 ? 0x0800 : 0x86dd, l4proto: 6, source: source,
            destination: destination, destinationPort: port, icmpType: nil)
        queue.async { [self] in
            guard !isStopped else { return }
            intake.add([(key: key, time: Self.now, sourcePort: nil)])
            recent += 1
            tickLater()
        }
    }

    /// Microseconds since 1970.
    static var now: UInt64 {
        var time = timespec()
        _ = unsafe clock_gettime(CLOCK_REALTIME, &time)
        return UInt64(clamping: time.tv_sec) * 1_000_000 + UInt64(clamping: time.tv_nsec / 1000)
    }

    // MARK: Telling

    /// Puts names to flows as they come in, and hands over each window that has ended.
    private func tell(_ names: any FlowNames) {
        let (intake, hub) = (intake, hub)
        Task { [weak names] in
            for await _ in intake.signals {
                repeat {
                    while case let keys = intake.takeNew(atMost: 256), !keys.isEmpty {
                        guard let meanings = await names?.meanings(of: keys) else { return }
                        intake.resolve(keys, meanings)
                    }
                    guard let closed = intake.takeClosed() else { break }
                    hub.publish(
                        closed.records.map { .flow($0) } + (await Self.describe(closed.losses, names)))
                    for waiter in closed.waiters { waiter.resume() }
                } while true
            }
        }
    }

    private static func describe(_ losses: [RawLoss], _ names: (any FlowNames)?) async -> [FlowEvent] {
        guard !losses.isEmpty else { return [] }
        let time = now
        var shares: [DenialSource: UInt64] = [:]
        var denials: UInt64 = 0
        var events: [FlowEvent] = []
        for loss in losses {
            switch loss {
            case .share(let source, let count): shares[source, default: 0] += count
            case .denials(let count): denials += count
            case .connections:
                let event = FlowEvent.lost(FlowLoss(time: time, cause: .connections, count: nil))
                if events.isEmpty { events.append(event) }
            }
        }
        if denials > 0 { events.append(.lost(FlowLoss(time: time, cause: .denials, count: denials))) }
        let sources = Array(shares.keys)
        let members = await names?.members(of: sources) ?? []
        for (source, member) in zip(sources, members) {
            events.append(
                .lost(FlowLoss(time: time, cause: .share, member: member, count: shares[source] ?? 0)))
        }
        return events
    }
}
