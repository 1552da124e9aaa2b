internal import Firewall
public import Model
internal import Store
internal import Wire

extension NetworkManager {
    /// Creates or replaces policies by name: all of them in one step, or none.
    ///
    /// Connections that the new rules do not allow are cut before the call returns.
    /// - Returns: what happened to each, in order.
    /// - Throws: `ModelError` naming the field of the policy that is not valid.
    @discardableResult
    public func apply(_ policies: [FirewallPolicy]) throws -> [PolicyChange] {
        let changes = try changes(policies)
        let others = changed(policies, changes)
        guard !others.isEmpty else {
            try cutIfDue()
            return changes
        }
        try replacePolicies(others, removing: [])
        return changes
    }

    /// What applying policies would do to each; they are checked as when they are applied.
    func changes(_ policies: [FirewallPolicy]) throws -> [PolicyChange] {
        var seen: Set<String> = []
        for policy in policies {
            try policy.validate()
            guard seen.insert(policy.name).inserted else {
                throw ModelError.exists("policy", policy.name, "stands twice in the request")
            }
        }
        try checkLimits(policies)
        return policies.map { policy in
            guard let old = directory.policies[policy.name] else { return .created }
            return old == policy ? .unchanged : .updated
        }
    }

    /// Those of the policies that are not in force as they are.
    /// - Parameter changes: what applying each would do, in the same order.
    func changed(_ policies: [FirewallPolicy], _ changes: [PolicyChange]) -> [FirewallPolicy] {
        guard changes.contains(.unchanged) else { return policies }
        return zip(policies, changes).filter { $0.1 != .unchanged }.map(\.0)
    }

    /// Removes a policy. Connections that it allowed are cut before the call returns.
    /// - Returns: the policy as it was.
    @discardableResult
    public func deletePolicy(_ name: String) throws -> FirewallPolicy {
        let policy = try directory.policy(named: name)
        try replacePolicies([], removing: [name])
        return policy
    }

    public func policy(_ name: String) throws -> FirewallPolicy { try directory.policy(named: name) }

    public func policies() -> [FirewallPolicy] { directory.policies.values.sorted { $0.name < $1.name } }

    private func replacePolicies(_ changed: [FirewallPolicy], removing removed: [String]) throws {
        let old = (changed.map(\.name) + removed).compactMap { directory.policies[$0] }
        let added = changed.map(\.name).filter { directory.policies[$0] == nil }
        let hadLimits = firewall.compiler.limitsConnections
        // Written while it is put in force, kept when that is done.
        let save = store.prepare(policies: EncodedPolicies(changed), remove: removed)
        let affected: Set<IPAddress>?
        do { affected = try firewall.setPolicies(changed, removing: removed) } catch {
            save.abandon()
            throw error.refusing("policies", "\(changed.count)")
        }
        do {
            do { try reshape() } catch {
                save.abandon()
                throw error
            }
            try save.commit()
        } catch {
            try firewall.setPolicies(old, removing: added)
            try? reshape()
            // What the new rules alone allowed meanwhile.
            try? cutDisallowedConnections(of: nil)
            throw error
        }
        isCutDue = true
        for name in removed { directory.removePolicy(name) }
        for policy in changed { directory.insert(policy) }
        evaluation = nil
        forgetNameVerdicts()
        followGates()
        try cutDisallowedConnections(of: affected)
        try markConnections(hadLimits)
        isCutDue = false
    }

    /// Ends what an earlier change should have ended and did not, since something failed.
    func cutIfDue() throws {
        guard isCutDue else { return }
        try cutDisallowedConnections(of: nil)
        try markConnections(true)
        isCutDue = false
    }

    /// Ends every connection of these addresses, or of all endpoints, that would not be allowed if it began
    /// now.
    ///
    /// A packet that the old rules let through just before the change may still be on its way to being
    /// recorded, for the microsecond that the kernel takes for it; what is stored in between takes longer.
    func cutDisallowedConnections(of addresses: Set<IPAddress>?) throws {
        let condemned = try connections.entries(of: addresses).filter { entry in
            let flow = ConnectionTable.Flow(entry)
            guard
                directory.endpoint(at: flow.source) != nil || directory.endpoint(at: flow.destination) != nil
            else { return false }
            return firewall.compiler.judge(
                from: flow.source, to: flow.destination, l4proto: flow.l4proto, port: flow.destinationPort
            ).isDenial && !isHeldByName(flow)
        }
        try connections.cut(condemned)
        endDisallowedHosts(of: addresses)
    }

    // MARK: Explaining

    /// What would happen to the first packet of such a flow, and by which rule. No packet is sent.
    ///
    /// The two sides talk over IPv4 if both have it, else over IPv6.
    public func explain(_ query: FlowQuery) throws -> Explanation {
        let from = try side(query.from, field: "from")
        let to = try side(query.to, field: "to", toldTo: from)
        guard
            let family = IPFamily.allCases.first(where: { family in
                from.contains { $0.address.family == family } && to.contains { $0.address.family == family }
            }), let source = from.first(where: { $0.address.family == family }),
            let destination = to.first(where: { $0.address.family == family })
        else {
            throw ModelError.invalid("to", query.to, "has no address of a family that \"\(query.from)\" has")
        }
        let flow = Flow(from: source, to: destination, query.transport)
        let evaluation = ready()
        return Explanation(flow: flow, decision: evaluation.evaluate(flow), audit: evaluation.audit(flow))
    }

    /// The policies as they are, ready for questions.
    func ready() -> PolicySet {
        let set = evaluation ?? PolicySet(directory.policies.values)
        evaluation = set
        return set
    }

    /// - Parameter other: the other side, which may know the address by name.
    private func side(_ name: String, field: String, toldTo other: [FlowSide] = []) throws -> [FlowSide] {
        let teller = other.first?.member?.endpoint.id ?? ""
        if let address = try? IPAddress(name) {
            return [
                FlowSide(
                    address, directory.member(at: address),
                    names: names.told.names(of: address, toldTo: teller))
            ]
        }
        let endpoint: Endpoint
        do { endpoint = try directory.endpoint(named: name) } catch {
            // A domain, wherever it leads.
            guard !other.isEmpty, name.contains("."), let domain = try? DomainPattern(name).description,
                !domain.hasPrefix("*")
            else { throw error }
            return IPFamily.allCases.map { family in
                let known = names.told.address(of: domain, toldTo: teller, family)
                return FlowSide(known ?? IPAddress(family, bits: 0), names: [domain])
            }
        }
        let member = try directory.member(endpoint)
        return member.endpoint.addresses.map { FlowSide($0, member) }
    }
}
