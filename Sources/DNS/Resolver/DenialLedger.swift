internal import Wire

/// Denials since the last report, equal ones as one.
///
/// Bounded: of what one client is denied many names at once, the rest is counted under the root's name, and
/// when there are too many clients under client 0.
struct DenialLedger: Sendable {
    struct Key: Hashable {
        let client: UInt64
        let name: DomainName
        let reason: DenialReason
    }

    static let namesOfOne = 32
    static let limit = 1024

    private var counts: [Key: UInt32] = [:]
    private var names: [UInt64: Int] = [:]

    var isEmpty: Bool { counts.isEmpty }

    mutating func add(_ denial: Denial) {
        var key = Key(client: denial.client, name: denial.name, reason: denial.reason)
        if counts[key] == nil {
            if names[denial.client, default: 0] >= Self.namesOfOne {
                key = Key(client: denial.client, name: .root, reason: denial.reason)
            }
            if counts[key] == nil, counts.count >= Self.limit {
                key = Key(client: 0, name: .root, reason: denial.reason)
            }
            names[denial.client, default: 0] += 1
        }
        counts[key, default: 0] &+= denial.count
    }

    mutating func take() -> [Denial] {
        defer {
            counts = [:]
            names = [:]
        }
        return counts.map { Denial(client: $0.client, name: $0.name, reason: $0.reason, count: $1) }
            .sorted {
                ($0.client, $0.name.description, $0.reason.rawValue) < (
                    $1.client, $1.name.description, $1.reason.rawValue
                )
            }
    }
}

extension Resolver {
    /// A denial is told within a second, together with others.
    func note(_ denial: Denial) {
        if denials.isEmpty { deadlines.push(now + 1000, .denials, 0) }
        denials.add(denial)
    }

    func flushDenials() {
        let all = denials.take()
        // Each takes 270 bytes at most.
        for start in stride(from: 0, to: all.count, by: 200) {
            report(.denied(Array(all[start..<min(start + 200, all.count)])))
        }
    }

    /// The counters of all endpoints, and of strangers.
    func reportCounters(_ request: UInt32) {
        let all = [strangers] + endpoints.filter { $0.network >= 0 }.map(\.counters)
        // Each takes less than 160 bytes with a dozen reasons.
        let step = 200
        for start in stride(from: 0, to: all.count, by: step) {
            let end = min(start + step, all.count)
            report(.counters(request: request, Array(all[start..<end]), isLast: end == all.count))
        }
    }
}
