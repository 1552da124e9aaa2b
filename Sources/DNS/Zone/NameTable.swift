/// The names of the fabric: for each, which endpoints it stands for.
///
/// A name is whole (`web.shop.forge.internal`) in the scope 0, or bare (`web`, `db.primary`) in the scope of a
/// network. Looked up by the hash of the bytes that a query has anyway.
struct NameTable: Sendable {
    /// What a name says of an endpoint.
    enum Role: Hashable, Sendable {
        /// It has the endpoint's addresses.
        case host
        /// It has a service record (RFC 2782) of this port.
        case service(port: UInt16)
        /// There is something below it, and nothing at it.
        case parent
    }

    struct Target: Hashable, Sendable {
        /// Number of the endpoint in the resolver's list.
        let endpoint: Int32
        let role: Role
    }

    struct Node: Sendable {
        let name: [UInt8]
        let scope: UInt32
        /// Another node whose hash is the same; -1 if none.
        var next: Int32
        var targets: [Target]
        /// Turned with each answer, so that each of several endpoints comes first in turn.
        var turn: Int = 0
    }

    let key: NameHash.Key
    private var heads: [UInt64: Int32] = [:]
    private(set) var nodes: [Node] = []
    private var free: [Int32] = []

    init(key: NameHash.Key) { self.key = key }

    var count: Int { nodes.count - free.count }

    @inline(__always)
    private func slot(_ hash: UInt64, _ scope: UInt32) -> UInt64 {
        scope == 0 ? hash : NameHash.mixed(hash, UInt64(scope), key)
    }

    /// The node of a name as a query has it.
    func find(_ name: QueryName, scope: UInt32) -> Int? {
        guard let head = heads[slot(name.hash, scope)] else { return nil }
        var at = Int(head)
        while at >= 0 {
            if nodes[at].scope == scope, name.equals(nodes[at].name) { return at }
            at = Int(nodes[at].next)
        }
        return nil
    }

    /// - Returns: the node's turn, which is another one for the next query.
    mutating func turn(_ node: Int) -> Int {
        nodes[node].turn &+= 1
        return nodes[node].turn & .max
    }

    mutating func add(_ name: DomainName, scope: UInt32, _ target: Target) {
        let slot = slot(NameHash.of(name.wire, key), scope)
        var at = heads[slot] ?? -1
        while at >= 0 {
            let index = Int(at)
            if nodes[index].scope == scope, nodes[index].name == name.wire {
                if !nodes[index].targets.contains(target) { nodes[index].targets.append(target) }
                return
            }
            at = nodes[index].next
        }
        let node = Node(name: name.wire, scope: scope, next: heads[slot] ?? -1, targets: [target])
        if let reused = free.popLast() {
            nodes[Int(reused)] = node
            heads[slot] = reused
        } else {
            heads[slot] = Int32(nodes.count)
            nodes.append(node)
        }
    }

    /// Takes away all that a name says of an endpoint.
    mutating func remove(_ name: DomainName, scope: UInt32, endpoint: Int32) {
        let slot = slot(NameHash.of(name.wire, key), scope)
        var before: Int32 = -1
        var at = heads[slot] ?? -1
        while at >= 0 {
            let index = Int(at)
            if nodes[index].scope == scope, nodes[index].name == name.wire {
                nodes[index].targets.removeAll { $0.endpoint == endpoint }
                guard nodes[index].targets.isEmpty else { return }
                let next = nodes[index].next
                if before >= 0 {
                    nodes[Int(before)].next = next
                } else {
                    heads[slot] = next >= 0 ? next : nil
                }
                nodes[index] = Node(name: [], scope: .max, next: -1, targets: [])
                free.append(at)
                return
            }
            before = at
            at = nodes[index].next
        }
    }
}
