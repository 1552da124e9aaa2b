internal import Firewall
internal import Logging
internal import Model

/// Denials that the kernel counts and does not describe. Nobody reads counters for their own sake: a look is taken
/// when somebody wants to know.
extension NetworkManager {
    /// What was denied before this manager began: told by the one before it, or, while none was there, by nobody.
    ///
    /// To be read just before the kernel is listened to. What is denied between the two is counted, and not told.
    func earlierDenials() -> [FlowEvent] {
        do {
            let time = FlowMonitor.now
            let counted = try firewall.denials().mapValues { $0.filter(\.outcome.isDenial) }
            return try counted.keys.sorted().flatMap { id -> [FlowEvent] in
                guard let denials = counted[id], let endpoint = directory.endpoints[id] else { return [] }
                let member = try directory.member(endpoint)
                return merged(denials, of: member).filter { $0.packets > 0 }.map {
                    .lost(
                        FlowLoss(
                            time: time, cause: .earlier, member: member, count: $0.packets, reason: $0.reason)
                    )
                }
            }
        } catch {
            log.error("counters cannot be read", metadata: ["error": "\(error)"])
            return []
        }
    }

    /// Tells what limits on bandwidth have dropped since the last look.
    func tellShaped() {
        guard let flows else { return }
        let members = firewall.compiler.bandwidths.keys.sorted().compactMap { id in
            directory.endpoints[id].flatMap { try? directory.member($0) }
        }
        do {
            let drops = try shapingDenials(of: members)
            let (time, before) = (FlowMonitor.now, toldShaped)
            toldShaped = [:]
            var events: [FlowEvent] = []
            for member in members {
                for drop in drops[member.endpoint.id] ?? [] {
                    let told = before[member.endpoint.id]?[drop.reason] ?? 0
                    toldShaped[member.endpoint.id, default: [:]][drop.reason] = drop.packets
                    // Less than before: the limit has been made anew.
                    let count = drop.packets >= told ? drop.packets - told : drop.packets
                    guard count > 0 else { continue }
                    events.append(
                        .lost(
                            FlowLoss(
                                time: time, cause: .bandwidth, member: member, count: count,
                                reason: drop.reason)))
                }
            }
            flows.hub.publish(events)
        } catch {
            log.error("traffic control cannot be read", metadata: ["error": "\(error)"])
        }
    }

    /// Goes on to tell that once a second, while anybody watches.
    func followShaped() {
        guard shapedTelling == nil else { return }
        shapedTelling = Task { [weak self] in
            // Who begins to watch has been told how things are.
            repeat {
                do { try await Task.sleep(for: .seconds(1)) } catch { return }
            } while await self?.tellShapedToWatchers() ?? false
        }
    }

    private func tellShapedToWatchers() -> Bool {
        guard flows?.hub.isWatched ?? false else {
            shapedTelling = nil
            return false
        }
        tellShaped()
        return true
    }
}
