/// A table: a name space for chains and sets of one family.
package struct NftTable: Hashable, Sendable {
    package struct Flags: OptionSet, Hashable, Sendable {
        package let rawValue: UInt32
        package init(rawValue: UInt32) { self.rawValue = rawValue }

        /// Its chains see no packets.
        package static let dormant = Flags(rawValue: 0x1)
        /// It goes when the socket that made it is closed, and only that socket may change it.
        package static let owner = Flags(rawValue: 0x2)
        /// With `owner`: it stays when the socket is closed, and the next to ask for it owns it. Linux 6.9.
        package static let persist = Flags(rawValue: 0x4)
    }

    package var family: NftFamily
    package var name: String
    package var flags: Flags

    package init(family: NftFamily, name: String, flags: Flags = []) {
        self.family = family
        self.name = name
        self.flags = flags
    }
}

/// Where in the kernel's packet path a chain hangs.
package struct NftHook: Hashable, Sendable {
    /// `NF_INET_*`, `NF_BR_*` or `NF_NETDEV_*`, by the table's family.
    package var number: UInt32
    /// Chains of one hook run in ascending order.
    package var priority: Int32
    /// "filter", "nat" or "route".
    package var type: String
    /// The interface, for chains of the netdev family.
    package var device: String?

    package init(number: UInt32, priority: Int32, type: String, device: String? = nil) {
        self.number = number
        self.priority = priority
        self.type = type
        self.device = device
    }
}

/// What happens to a packet that a base chain has nothing to say about.
package enum NftPolicy: UInt32, Hashable, Sendable {
    case drop = 0
    case accept = 1
}

/// A list of rules, entered from a hook or, without one, by jumps.
package struct NftChain: Hashable, Sendable {
    package var table: NftTable
    package var name: String
    package var hook: NftHook?
    /// Counts for chains with a hook only.
    package var policy: NftPolicy

    package init(table: NftTable, name: String, hook: NftHook? = nil, policy: NftPolicy = .accept) {
        self.table = table
        self.name = name
        self.hook = hook
        self.policy = policy
    }
}

/// A rule: expressions evaluated left to right until one does not match or decides.
package struct NftRule: Hashable, Sendable {
    package var table: NftTable
    package var chain: String
    package var expressions: [NftExpression]
    /// Shown by nft; cut at 127 bytes.
    package var comment: String?

    package init(table: NftTable, chain: String, expressions: [NftExpression], comment: String? = nil) {
        self.table = table
        self.chain = chain
        self.expressions = expressions
        self.comment = comment
    }
}

/// What a rule decides.
package enum NftVerdict: Hashable, Sendable {
    case accept
    case drop
    /// Go on behind the jump that led here, or with the base chain's policy.
    case `return`
    /// Go on with the next rule.
    case `continue`
    /// Run the chain, then go on here.
    case jump(String)
    /// Run the chain instead of what is left of this one.
    case goto(String)

    /// The kernel's number (`enum nft_verdicts`, linux/netfilter.h).
    var code: Int32 {
        switch self {
        case .drop: 0
        case .accept: 1
        case .continue: -1
        case .jump: -3
        case .goto: -4
        case .return: -5
        }
    }

    var chain: String? {
        switch self {
        case .jump(let chain), .goto(let chain): chain
        default: nil
        }
    }

    /// nil for a number that no rule of ours uses.
    init?(code: Int32, chain: String) {
        switch code {
        case 0: self = .drop
        case 1: self = .accept
        case -1: self = .continue
        case -3: self = .jump(chain)
        case -4: self = .goto(chain)
        case -5: self = .return
        default: return nil
        }
    }
}
