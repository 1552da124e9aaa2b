internal import Bridge
internal import Firewall
internal import Logging
internal import Model
internal import Netlink

/// The kernel tells when a link or a rule changes; nobody asks again and again.
extension NetworkManager {
    enum LinkChange: Sendable {
        case gone(String)
        case carrier(String, Bool)
        /// The socket overflowed: anything may have happened.
        case lost
    }

    /// Between two reconciliations that nothing asked for.
    private static var interval: Duration { .seconds(300) }

    func startWatching() throws {
        let links = try Self.watchLinks()
        watch(
            Task { [weak self] in
                for await change in links.changes { await self?.handle(change) }
            })
        let rules = try Self.watchRules(ownPort: firewall.port)
        watch(
            Task { [weak self] in
                for await _ in rules.changes { await self?.reconcileAndLog("somebody changed the ruleset") }
            })
        watch(
            Task { [weak self] in
                while !Task.isCancelled {
                    do { try await Task.sleep(for: Self.interval) } catch { break }
                    await self?.reconcileAndLog(nil)
                }
            })
    }

    private static func watchLinks() throws -> KernelWatcher<RouteProtocol, LinkChange> {
        let socket = try NetlinkSocket<RouteProtocol>()
        try socket.subscribe(to: .link)
        return KernelWatcher(socket) { socket in
            guard let messages = try? socket.nextNotifications() else { return [.lost] }
            return messages.compactMap { message in
                switch try? LinkEvent(message) {
                case .deleted(let link): .gone(link.name)
                case .changed(let link):
                    link.kind == "bridge" ? .carrier(link.name, link.flags.contains(.running)) : nil
                case nil: nil
                }
            }
        }
    }

    private static func watchRules(ownPort: UInt32) throws -> KernelWatcher<NetfilterProtocol, Void> {
        let socket = try NetlinkSocket<NetfilterProtocol>()
        try socket.subscribeToNftables()
        return KernelWatcher(socket) { socket in
            guard let events = try? socket.nextNftEvents() else { return [()] }
            // Other tables are not ours to mind; neither are our own changes.
            return events.contains { $0.port != ownPort && FirewallPlane.isAbout($0) } ? [()] : []
        }
    }

    private func handle(_ change: LinkChange) {
        switch change {
        case .gone(let name):
            if let endpoint = directory.endpoint(withInterface: name) {
                // The news may be of a link that has a successor by now.
                if (try? bridge.check(endpoint)) != nil { break }
                mend(endpoint)
            } else if directory.networks.values.contains(where: { $0.bridgeName == name }) {
                reconcileAndLog("bridge \(name) was removed")
            }
        case .carrier(let name, let isRunning):
            guard let network = directory.networks.values.first(where: { $0.bridgeName == name }) else {
                break
            }
            // A bridge without a live port forgets whom it answers for.
            if carriers.updateValue(isRunning, forKey: network.id) == false, isRunning {
                do { try mendLinks(of: network) } catch {
                    log.error("repair", metadata: ["error": "\(error)"])
                }
            }
        case .lost:
            reconcileAndLog("notifications were lost")
        }
    }

    private func reconcileAndLog(_ cause: String?) {
        if let cause { log.notice("reconciling", metadata: ["cause": "\(cause)"]) }
        do { try reconcile() } catch { log.error("reconcile", metadata: ["error": "\(error)"]) }
    }
}
