internal import CLab
package import Forwarding
internal import Foundation
internal import LabSupport
internal import Synchronization
package import Sys
internal import Wire

/// A forwarder on a thread of its own, which has no capability, and on another one a manager that gives it sockets when it wants some.
package final class ForwarderHarness: Sendable {
    /// Where sockets for the forwarder come from.
    package enum Sockets: Sendable {
        /// As in a fabric: of the namespace that the calling thread is in, which must be the lab's own.
        case transparent
        /// Without privileges: for clients that are led on by an address of this host.
        case ordinary
        /// None but what a test itself sends.
        case none
    }

    package let control: ForwardControl
    private let manager: Mutex<Manager?>
    private let sockets: Sockets
    private let isDone = DispatchSemaphore(value: 0)

    package init(_ sockets: Sockets = .transparent, limits: ForwardLimits = ForwardLimits()) throws {
        self.sockets = sockets
        control = try ForwardControl()
        let (near, far) = try ForwardLink.pair()
        manager = Mutex(Manager(ForwardLink(Descriptor(owning: near)), sockets))
        let (control, isDone) = (self.control, self.isDone)
        Thread.detachNewThread {
            do {
                try system("capset") { clab_drop_capabilities() }
                let forwarder = try Forwarder(
                    link: Descriptor(owning: far), control: control, limits: limits)
                try forwarder.run()
            } catch {
                fatalError("the forwarder has failed: \(error)")
            }
            isDone.signal()
        }
    }

    /// Ends the forwarder and waits until it is gone with all that it had.
    package func stop() {
        control.stop()
        isDone.wait()
        killManager()
    }

    /// Ends the manager: the link closes.
    package func killManager() {
        manager.withLock { $0 }?.end()
        manager.withLock { $0 = nil }
    }

    /// Starts another manager.
    package func startManager() throws {
        let (near, far) = try ForwardLink.pair()
        manager.withLock { $0 = Manager(ForwardLink(Descriptor(owning: near)), sockets) }
        control.adopt(Descriptor(owning: far))
    }

    package func send(_ order: ForwardOrder, with passengers: [Int32] = []) throws {
        try manager.withLock { $0 }?.link.send(order, with: passengers)
    }

    /// Publishes a socket and waits until it is done.
    package func publish(_ port: ForwardedPort, _ socket: borrowing Descriptor) throws {
        try send(.publish(port), with: [socket.rawValue])
        _ = try expect(.published(id: port.id))
    }

    /// Waits for a report that is equal.
    package func expect(_ report: ForwardReport) throws -> ForwardReport { try expect { $0 == report } }

    /// Waits for a report that no one has waited for.
    package func expect(_ isIt: (ForwardReport) -> Bool) throws -> ForwardReport {
        for _ in 0..<1_500 {
            if let found = manager.withLock({ $0 })?.take(isIt) { return found }
            Thread.sleep(forTimeInterval: 0.01)
        }
        throw SystemError("receive", Errno(rawValue: 110), "the forwarder has not reported")
    }

    package func counters(_ id: UInt32) throws -> ForwardCounters {
        try send(.count(request: 1))
        let report = try expect { if case .counters(_, _, isLast: true) = $0 { true } else { false } }
        guard case .counters(_, let all, _) = report, let counters = all[id] else {
            throw SystemError("count", .noEntry, "port \(id)")
        }
        return counters
    }

    /// Waits until counters are as they shall be; returns the last ones.
    package func counters(_ id: UInt32, until areRight: (ForwardCounters) -> Bool) throws -> ForwardCounters {
        var last = try counters(id)
        for _ in 0..<1_000 where !areRight(last) {
            Thread.sleep(forTimeInterval: 0.01)
            last = try counters(id)
        }
        return last
    }
}

/// The manager's side of a link.
private final class Manager: Sendable {
    let link: ForwardLink
    private let sockets: ForwarderHarness.Sockets
    private let reports = Mutex<[ForwardReport]>([])
    private let isEnding = Mutex(false)
    private let isDone = DispatchSemaphore(value: 0)

    init(_ link: consuming ForwardLink, _ sockets: ForwarderHarness.Sockets) {
        self.link = link
        self.sockets = sockets
        Thread.detachNewThread { self.work() }
    }

    func end() {
        isEnding.withLock { $0 = true }
        isDone.wait()
    }

    func take(_ isIt: (ForwardReport) -> Bool) -> ForwardReport? {
        reports.withLock { reports in
            reports.firstIndex(where: isIt).map { reports.remove(at: $0) }
        }
    }

    private func work() {
        defer { isDone.signal() }
        while !isEnding.withLock({ $0 }) {
            do {
                guard try waitReadable([link.descriptor.rawValue], milliseconds: 20)[0] else { continue }
                guard let report = try link.receiveReport() else { return }
                if case .wantSockets(let family, let transport, let count) = report {
                    try give(family, transport, Int(count))
                }
                reports.withLock { $0.append(report) }
            } catch let error as SystemError where error.errno == .again {
                continue
            } catch {
                return
            }
        }
    }

    private func give(_ family: IPFamily, _ transport: ForwardTransport, _ count: Int) throws {
        switch sockets {
        case .none: break
        case .transparent: try TransparentSockets.refill(link, family, transport, count: count)
        case .ordinary:
            var left = count
            while left > 0 {
                let part = min(left, ForwardLink.passengerLimit)
                try PlainSockets.send(part, family, transport) { sockets in
                    try link.send(.refill(family, transport), with: sockets)
                }
                left -= part
            }
        }
    }
}
