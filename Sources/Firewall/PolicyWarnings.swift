package import Model

/// What policies speak of that is not there: a wrong label or name looks like this, and so does a policy that
/// comes before its endpoints. Therefore it is worth a warning and no error.
extension PolicyCompiler {
    /// One line for each selector of these policies, which are in force, that matches no endpoint now, and for
    /// each name of a port that no endpoint declares.
    ///
    /// What matches is known already by the numbers of the selectors, so that a policy with nothing to warn of costs a
    /// look at each.
    package func warnings(_ policies: some Sequence<FirewallPolicy>, atMost limit: Int) -> [String] {
        var warnings: [String] = []
        for policy in policies where mayWarn(of: policy) {
            if matchesNobody(policy.selector) {
                warnings.append("policy \(policy.name): its endpoints: no endpoint matches now")
            }
            for (rule, reference) in policy.referencedRules {
                guard warnings.count <= limit else {
                    return warnings.prefix(limit) + ["there may be more of this kind"]
                }
                warnings += peers(of: rule, reference) + ports(of: rule, reference)
            }
        }
        return warnings.count <= limit
            ? warnings : warnings.prefix(limit) + ["there may be more of this kind"]
    }

    private func mayWarn(of policy: FirewallPolicy) -> Bool {
        guard let compiled = policies[policy.name] else { return true }
        // Rules that have no say are not compiled.
        return compiled.rules.count < policy.rules.count || isIdle(compiled.subject)
            || compiled.rules.contains { !$0.rule.names.isEmpty }
            || compiled.peerSelectors.contains(where: isIdle)
    }

    private func isIdle(_ selector: Int) -> Bool { selectors[selector].identities.isEmpty }

    private func peers(of rule: PolicyRule, _ reference: RuleReference) -> [String] {
        var idle = 0
        for case .endpoints(let selector) in rule.peers ?? [] where matchesNobody(selector) { idle += 1 }
        guard idle > 0, let count = rule.peers?.count else { return [] }
        return [
            count == 1
                ? "\(reference): its peer: no endpoint matches now"
                : "\(reference): \(idle) of its \(count) peers: no endpoint matches now"
        ]
    }

    private func ports(of rule: PolicyRule, _ reference: RuleReference) -> [String] {
        var names: Set<String> = []
        for case .named(let name, _) in rule.ports ?? [] where portOwners[name] == nil { names.insert(name) }
        return names.sorted().prefix(10).map { "\(reference): no endpoint has a port named \"\($0)\"" }
    }

    /// Whoever says "all" means whoever there may be.
    private func matchesNobody(_ selector: EndpointSelector) -> Bool {
        guard selector != EndpointSelector(), let number = index.known(selector) else { return false }
        return selectors[number].identities.isEmpty
    }
}
