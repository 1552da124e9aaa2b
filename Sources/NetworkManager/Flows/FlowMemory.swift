internal import Model

/// The last events, with room that no endpoint can take for itself alone.
struct FlowMemory {
    static let capacity = 4096
    /// Of one endpoint.
    static let share = 256

    private var events: [UInt64: FlowEvent] = [:]
    /// Numbers of events, oldest first; those that have left are skipped.
    private var order: [UInt64] = []
    private var shares: [String: [UInt64]] = [:]
    private var next: UInt64 = 0

    /// Oldest first.
    var all: [FlowEvent] { order.compactMap { events[$0] } }

    mutating func remember(_ event: FlowEvent) {
        let number = next
        next += 1
        events[number] = event
        order.append(number)
        let owner = Self.owner(event)
        shares[owner, default: []].append(number)
        if let own = shares[owner], own.count > Self.share { forget(own[0]) }
        while events.count > Self.capacity {
            // Those before it are gone.
            guard let oldest = order.first(where: { events[$0] != nil }) else { break }
            forget(oldest)
        }
        if order.count > 2 * Self.capacity { order.removeAll { events[$0] == nil } }
    }

    private mutating func forget(_ number: UInt64) {
        guard let event = events.removeValue(forKey: number) else { return }
        let owner = Self.owner(event)
        shares[owner]?.removeAll { $0 == number }
        if shares[owner]?.isEmpty ?? false { shares[owner] = nil }
        if order.first == number { order.removeFirst() }
    }

    /// What has no endpoint shares one share.
    private static func owner(_ event: FlowEvent) -> String {
        switch event {
        case .flow(let record): record.member?.endpoint.id ?? ""
        case .lost(let loss): loss.member?.endpoint.id ?? ""
        case .missed: ""
        }
    }
}
