package import Model
internal import Wire

/// What quarantines mean for the rows. They have sets of their own, so that one costs the same however many
/// endpoints and policies there are.
extension PolicyCompiler {
    /// Begins, changes or (with nil) ends the quarantine of an endpoint.
    package mutating func setQuarantine(_ endpointID: String, _ quarantine: Quarantine?) -> RulesetDelta {
        quarantines[endpointID] = quarantine
        makeQuarantineRows(endpointID)
        return ledger.takeDelta()
    }

    /// Makes the rows of quarantines again that may look otherwise since an endpoint came, changed or went.
    mutating func updateQuarantines(_ endpoint: Endpoint) {
        guard !quarantines.isEmpty else { return }
        makeQuarantineRows(endpoint.id)
        for (id, quarantine) in quarantines
        where id != endpoint.id && quarantine.exceptions.contains(where: { $0.mayName(endpoint) }) {
            makeQuarantineRows(id)
        }
    }

    private mutating func makeQuarantineRows(_ endpointID: String) {
        for row in quarantineRows.removeValue(forKey: endpointID) ?? [] {
            if case .exception = row { setClass(row, nil) } else { set(row, nil) }
        }
        guard let quarantine = quarantines[endpointID], let endpoint = endpoints[endpointID] else {
            quarantineNumbers.release(endpointID)
            return
        }
        var hash = StableHash()
        hash.combine(endpointID)
        // 1 is what the mark holds of a peer that is excepted.
        let number = quarantineNumbers.number(for: endpointID, preferred: hash.folded, in: 2...UInt32.max)
        var rows: [Row] = []
        for address in endpoint.addresses {
            rows.append(.quarantined(address))
            set(.quarantined(address), number)
        }
        var side = RuleBook.Side()
        for exception in quarantine.exceptions { side.add(exception, blocks(of: exception)) }
        for family in IPFamily.allCases where !quarantine.exceptions.isEmpty {
            for segment in addressSegments([side], family, [], Chain(direction: .egress, isSelected: true)) {
                let row = Row.exception(quarantine: number, first: segment.first, last: segment.last)
                rows.append(row)
                setClass(row, segment.ports)
            }
        }
        quarantineRows[endpointID] = rows
    }

    private func blocks(of exception: QuarantineException) -> [CIDR] {
        switch exception.peer {
        case .block(let block): return [block]
        case .endpoint(let name):
            return (namesakes[String(name.split(separator: "/").last ?? "")] ?? []).flatMap { id -> [CIDR] in
                guard let endpoint = endpoints[id], let network = networks[endpoint.networkID],
                    exception.names(NetworkMember(endpoint, in: network))
                else { return [] }
                return endpoint.addresses.map { CIDR($0) }
            }
        }
    }
}

extension QuarantineException {
    /// Whether it can be this endpoint, whatever its network is called.
    fileprivate func mayName(_ endpoint: Endpoint) -> Bool {
        guard case .endpoint(let name) = peer else { return false }
        return name == endpoint.name || name.hasSuffix("/" + endpoint.name)
    }
}
