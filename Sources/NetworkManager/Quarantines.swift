internal import Firewall
internal import Logging
public import Model
internal import Store
internal import Sys
internal import Wire

extension NetworkManager {
    /// Cuts an endpoint off, its established connections included, before the call returns.
    ///
    /// It holds for the container: also when that is attached again, and across restarts of the manager. Doing
    /// so again replaces what was said before.
    /// - Parameters:
    ///   - duration: until it ends by itself; nil waits for `endQuarantine`.
    ///   - exceptions: who may still be talked with, as far as policy allows.
    /// - Throws: `ModelError` naming the field and the value.
    @discardableResult
    public func quarantine(
        _ name: String, for duration: Duration? = nil, allowing exceptions: [QuarantineException] = []
    ) throws -> NetworkMember {
        let endpoint = try directory.endpoint(named: name)
        if let duration, duration < .milliseconds(1) || duration > .seconds(366 * 86_400) {
            throw ModelError.invalid("for", "\(duration)", "must be a millisecond to 366 days")
        }
        guard exceptions.count <= Quarantine.exceptionLimit else {
            throw ModelError.invalid(
                "allow", "\(exceptions.count)", "at most \(Quarantine.exceptionLimit) exceptions")
        }
        let quarantine = Quarantine(
            endpointID: endpoint.id, until: duration.map { wallClockMilliseconds() + $0.milliseconds },
            exceptions: exceptions)
        let old = directory.quarantines[endpoint.id]
        try firewall.setQuarantine(endpoint.id, quarantine)
        do { try store.save(quarantine: quarantine, of: endpoint.id) } catch {
            try firewall.setQuarantine(endpoint.id, old)
            throw error
        }
        directory.quarantines[endpoint.id] = quarantine
        forgetNameVerdicts()
        endExpiredQuarantines()
        isCutDue = true
        if exceptions.isEmpty {
            try connections.cutAll(of: endpoint.addresses)
            endDisallowedHosts(of: Set(endpoint.addresses))
        } else {
            try cutDisallowedConnections(of: Set(endpoint.addresses))
        }
        isCutDue = false
        log.notice("endpoint quarantined", metadata: ["endpoint": "\(endpoint.name)"])
        return try directory.member(endpoint)
    }

    /// Ends a quarantine.
    /// - Parameter name: the endpoint's; of one that is gone its id, or an unambiguous prefix of it.
    /// - Returns: the endpoint, nil if it is gone.
    /// - Throws: `ModelError.precondition` if it is not quarantined.
    @discardableResult
    public func endQuarantine(_ name: String) throws -> NetworkMember? {
        let gone = directory.quarantines.keys.filter {
            name.utf8.count >= 8 && $0.hasPrefix(name) && directory.endpoints[$0] == nil
        }
        let id = gone.count == 1 ? gone[0] : try directory.endpoint(named: name).id
        guard directory.quarantines[id] != nil else {
            throw ModelError.precondition("endpoint", name, "is not quarantined")
        }
        try endQuarantine(id: id)
        return try directory.endpoints[id].map { try directory.member($0) }
    }

    private func endQuarantine(id: String) throws {
        // First: what cannot be recorded does not happen.
        try store.save(quarantine: nil, of: id)
        try firewall.setQuarantine(id, nil)
        directory.quarantines[id] = nil
        forgetNameVerdicts()
        log.notice(
            "quarantine ended", metadata: ["endpoint": "\(directory.endpoints[id]?.name ?? id)"])
    }

    /// Ends those whose time is over, and waits for the next.
    func endExpiredQuarantines() {
        quarantineExpiry?.cancel()
        let now = wallClockMilliseconds()
        for (id, quarantine) in directory.quarantines where quarantine.until ?? .max <= now {
            do { try endQuarantine(id: id) } catch {
                log.error("end quarantine", metadata: ["endpoint": "\(id)", "error": "\(error)"])
            }
        }
        guard let next = directory.quarantines.values.compactMap(\.until).min() else { return }
        // At least a moment: one that could not be ended is tried again then.
        let wait = Duration.milliseconds(max(next - now, 100))
        quarantineExpiry = Task { [weak self] in
            do { try await Task.sleep(for: wait, clock: .continuous) } catch { return }
            await self?.endExpiredQuarantines()
        }
    }
}

extension Duration {
    fileprivate var milliseconds: Int64 {
        components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000
    }
}
