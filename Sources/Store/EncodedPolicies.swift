internal import Dispatch
package import Model
internal import Synchronization

/// Policies on their way to the text that is stored, which takes longer than storing it: many are encoded
/// while the caller does other things.
package final class EncodedPolicies: Sendable {
    /// So many are encoded at once, and no fewer are worth another thread.
    private static var part: Int { 64 }

    let count: Int
    private let group = DispatchGroup()
    private let parts = Mutex<[Int: Result<[(name: String, value: String)], any Error>]>([:])

    package init(_ policies: [FirewallPolicy]) {
        count = policies.count
        guard policies.count > Self.part else {
            parts.withLock { $0[0] = Result { try Self.encode(policies[...]) } }
            return
        }
        for start in stride(from: 0, to: policies.count, by: Self.part) {
            let slice = policies[start..<min(start + Self.part, policies.count)]
            DispatchQueue.global(qos: .userInitiated).async(group: group) {
                let result = Result { try Self.encode(slice) }
                self.parts.withLock { $0[start] = result }
            }
        }
    }

    /// Waits until all are encoded; in the order in which they were given.
    func get() throws -> [(name: String, value: String)] {
        group.wait()
        return try parts.withLock { $0 }.sorted { $0.key < $1.key }.flatMap { try $0.value.get() }
    }

    private static func encode(_ policies: ArraySlice<FirewallPolicy>) throws -> [(
        name: String, value: String
    )] {
        try policies.map { ($0.name, try $0.record) }
    }
}
