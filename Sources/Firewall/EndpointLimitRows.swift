package import Model
package import Wire

/// What a policy limits, with its rules by number.
struct CompiledLimits: Hashable, Sendable {
    var endpoint = EndpointLimits()
    var rules: [Rule] = []

    struct Rule: Hashable, Sendable {
        /// As an allowance by the rule has it for an outcome, and connections in their mark.
        let number: UInt32
        let limit: TrafficLimit
    }

    var isEmpty: Bool { endpoint.isEmpty && rules.isEmpty }
}

/// Bits a second that traffic control holds an endpoint to.
package struct EndpointBandwidth: Hashable, Sendable {
    package var ingress: Bandwidth?
    package var egress: Bandwidth?

    package init(ingress: Bandwidth? = nil, egress: Bandwidth? = nil) {
        self.ingress = ingress
        self.egress = egress
    }

    package var isEmpty: Bool { ingress == nil && egress == nil }
}

/// Which limits hold for an endpoint, and what that means for the rows: a fixed number of them for each
/// endpoint and limit.
extension PolicyCompiler {
    /// Everything that limits an endpoint, the strictest of all policies.
    package func limits(ofEndpoint id: String) -> EffectiveLimits {
        guard let endpoint = endpoints[id] else { return EffectiveLimits() }
        let limits = limits(of: endpoint)
        return EffectiveLimits(
            endpoint: limits.endpoint,
            rules: limits.rules.compactMap { rule in
                limitedRule(rule.number).map { EffectiveLimits.Rule(reference: $0, limit: rule.limit) }
            }.sorted { "\($0.reference)" < "\($1.reference)" })
    }

    /// The bandwidths that some endpoint is held to, by endpoint id.
    package var bandwidths: [String: EndpointBandwidth] { shapes }

    /// Endpoints whose bandwidth has been another since the last call.
    package mutating func takeReshaped() -> Set<String> {
        defer { reshaped = [] }
        return reshaped
    }

    /// What the kernel leaves in the mark of a connection that rules with limits allow: the number of the
    /// rule of the source's egress and that of the destination's ingress. Zero without any.
    package func connectionMark(
        from source: IPAddress, to destination: IPAddress, l4proto: UInt8, port: UInt16
    ) -> UInt32 {
        let outcomes = outcomes(from: source, to: destination, l4proto: l4proto, port: port)
        return outcomes.contains(where: \.isDenial)
            ? 0 : outcomes.filter { $0 != .allow && !$0.isAudit }.reduce(0) { $0 | $1.rawValue }
    }

    /// Some rule has a limit.
    package var limitsConnections: Bool { Direction.allCases.contains { limitNumbers($0).count > 0 } }

    /// The limit behind an outcome; nil if its rule is gone, or it is no limit's.
    package func exceededLimit(_ outcome: Outcome, endpoint: String) -> ExceededLimit? {
        guard let (kind, direction, rule) = outcome.exceeded else { return nil }
        guard let rule else { return ExceededLimit(kind, .endpoint(direction, endpoint)) }
        return limitedRule(rule).map { ExceededLimit(kind, .rule($0)) }
    }

    func limits(of endpoint: Endpoint) -> CompiledLimits {
        var all = CompiledLimits()
        // Selectors tell addresses apart by what the endpoint is, not by what they are: all of them match
        // alike.
        guard let address = endpoint.addresses.first, let number = ledger[.identity(address)] else {
            return all
        }
        for selector in subjects[number]?.matched ?? [] {
            for limits in selectors[selector].book.limits.values {
                all.endpoint = all.endpoint.and(limits.endpoint)
                all.rules += limits.rules
            }
        }
        return all
    }

    /// Makes the rows of an endpoint's limits what they should be.
    mutating func setLimits(of endpoint: Endpoint) {
        let limits = limits(of: endpoint)
        var wanted: [Row: UInt32] = [:]
        let own = Direction.allCases.filter { limits.endpoint[$0].connections != nil }
        if !own.isEmpty || !limits.rules.isEmpty {
            let number = limitedEndpoints.number(
                for: endpoint.id, preferred: UInt32(endpoint.id.prefix(8), radix: 16) ?? 1,
                in: 1...UInt32.max)
            for address in endpoint.addresses { wanted[.limited(address)] = number }
            for direction in own {
                wanted[.connections(scope: direction.ownScope, endpoint: number)] =
                    limits.endpoint[direction].connections.map { UInt32(clamping: $0) }
            }
            for rule in limits.rules {
                wanted[.connections(scope: rule.number, endpoint: number)] =
                    rule.limit.connections.map { UInt32(clamping: $0) }
                for isReply in [false, true] {
                    wanted[.rulePackets(rule: rule.number, endpoint: number, isReply: isReply)] =
                        rule.limit.packets.map { UInt32(clamping: $0) }
                    wanted[.ruleBandwidth(rule: rule.number, endpoint: number, isReply: isReply)] =
                        rule.limit.bandwidth.map { UInt32(clamping: $0.kilobits) }
                }
            }
        } else {
            limitedEndpoints.release(endpoint.id)
        }
        for direction in Direction.allCases {
            wanted[.packets(direction, port: LinkName(endpoint.hostInterfaceName))] =
                limits.endpoint[direction].packets.map { UInt32(clamping: $0) }
        }
        setLimitRows(wanted, of: endpoint.id)
        setShape(
            EndpointBandwidth(
                ingress: limits.endpoint.ingress.bandwidth, egress: limits.endpoint.egress.bandwidth),
            of: endpoint.id)
    }

    mutating func dropLimits(of id: String) {
        setLimitRows([:], of: id)
        setShape(EndpointBandwidth(), of: id)
        limitedEndpoints.release(id)
    }

    /// The endpoints that have an identity may be limited otherwise than before.
    mutating func setLimits(ofIdentity number: UInt32) {
        let ids = Set((subjects[number]?.members ?? []).compactMap { owners[$0] })
        for id in ids { if let endpoint = endpoints[id] { setLimits(of: endpoint) } }
    }

    private mutating func setLimitRows(_ wanted: [Row: UInt32], of id: String) {
        let present = limitRows[id] ?? [:]
        guard present != wanted else { return }
        for row in present.keys where wanted[row] == nil { set(row, nil) }
        for (row, rate) in wanted { set(row, rate) }
        limitRows[id] = wanted.isEmpty ? nil : wanted
    }

    private mutating func setShape(_ shape: EndpointBandwidth, of id: String) {
        let wanted = shape.isEmpty ? nil : shape
        guard shapes[id] != wanted else { return }
        shapes[id] = wanted
        reshaped.insert(id)
    }

    // MARK: Numbers

    /// The number of a rule with a limit; nil where there is no more.
    mutating func limitNumber(of reference: RuleReference) -> UInt32? {
        var hash = StableHash()
        hash.combine(reference.policy.description)
        hash.combine(reference.list.rawValue)
        hash.combine(UInt32(truncatingIfNeeded: reference.number))
        let range = Outcome.limitNumbers
        let direction = reference.list.direction
        guard limitNumbers(direction).count < range.count else { return nil }
        let preferred = hash.folded
        let number =
            direction == .egress
            ? egressLimitNumbers.number(for: reference, preferred: preferred, in: range)
            : ingressLimitNumbers.number(for: reference, preferred: preferred, in: range)
        return Outcome.limit(number, direction).rawValue
    }

    mutating func releaseLimitNumber(of reference: RuleReference) {
        if reference.list.direction == .egress {
            egressLimitNumbers.release(reference)
        } else {
            ingressLimitNumbers.release(reference)
        }
    }

    private func limitNumbers(_ direction: Direction) -> NumberAllocator<RuleReference> {
        direction == .egress ? egressLimitNumbers : ingressLimitNumbers
    }

    /// - Parameter number: as in an outcome.
    private func limitedRule(_ number: UInt32) -> RuleReference? {
        number >> 16 == 0 ? egressLimitNumbers[number] : ingressLimitNumbers[number >> 16]
    }
}

extension Direction {
    /// What stands in the place of a rule's number where the endpoint itself is limited.
    /// No rule has it: their numbers begin with 2; and no connection's mark does that has no number.
    var ownScope: UInt32 { self == .ingress ? 1 << 16 : 1 }
}
