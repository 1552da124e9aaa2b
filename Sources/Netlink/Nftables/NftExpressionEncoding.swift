internal import Wire

// The attributes of every expression, as linux/netfilter/nf_tables.h numbers them.

extension PayloadWriter {
    /// A list of expressions under one attribute.
    mutating func expressions(_ type: UInt16, _ expressions: [NftExpression]) {
        nested(type) { writer in
            for expression in expressions { writer.expression(Nfta.List.element, expression) }
        }
    }

    /// One expression: its name and, nested, what belongs to it.
    mutating func expression(_ type: UInt16, _ expression: NftExpression) {
        nested(type) { writer in
            writer.attribute(Nfta.Expression.name, string: expression.name)
            writer.nested(Nfta.Expression.data) { expression.encode(into: &$0) }
        }
    }

    /// A value in the wrapping that registers' contents come in.
    mutating func data(_ type: UInt16, _ bytes: [UInt8]) {
        nested(type) { $0.attribute(Nfta.Data.value, bytes: bytes) }
    }

    mutating func verdict(_ type: UInt16, _ verdict: NftVerdict) {
        nested(type) { writer in
            writer.nested(Nfta.Data.verdict) { writer in
                writer.attributeBE(Nfta.Verdict.code, verdict.code)
                if let chain = verdict.chain { writer.attribute(Nfta.Verdict.chain, string: chain) }
            }
        }
    }

    fileprivate mutating func register(_ type: UInt16, _ register: NftRegister) {
        attributeBE(type, register.rawValue)
    }
}

extension NftExpression {
    /// The name by which the kernel finds the expression's type.
    package var name: String {
        switch self {
        case .meta, .metaSet: "meta"
        case .payload: "payload"
        case .ct, .ctSet: "ct"
        case .cmp: "cmp"
        case .range: "range"
        case .bitwise: "bitwise"
        case .lookup: "lookup"
        case .immediate, .verdict: "immediate"
        case .counter: "counter"
        case .limit: "limit"
        case .dynset: "dynset"
        case .log: "log"
        case .notrack: "notrack"
        case .masquerade: "masq"
        case .destinationType: "fib"
        case .destinationNAT: "nat"
        case .reject: "reject"
        }
    }

    fileprivate func encode(into writer: inout PayloadWriter) {
        switch self {
        case .meta(let key, let register):
            writer.register(Meta.destination, register)
            writer.attributeBE(Meta.key, key.rawValue)
        case .metaSet(let key, let register):
            writer.attributeBE(Meta.key, key.rawValue)
            writer.register(Meta.source, register)
        case .payload(let base, let offset, let length, let register):
            writer.register(Payload.destination, register)
            writer.attributeBE(Payload.base, base.rawValue)
            writer.attributeBE(Payload.offset, offset)
            writer.attributeBE(Payload.length, length)
        case .ct(let key, let register):
            writer.register(Ct.destination, register)
            writer.attributeBE(Ct.key, key.rawValue)
        case .ctSet(let key, let register):
            writer.attributeBE(Ct.key, key.rawValue)
            writer.register(Ct.source, register)
        case .cmp(let operation, let register, let bytes):
            writer.register(Cmp.source, register)
            writer.attributeBE(Cmp.operation, operation.rawValue)
            writer.data(Cmp.data, bytes)
        case .range(let operation, let register, let low, let high):
            writer.register(Range.source, register)
            writer.attributeBE(Range.operation, operation.rawValue)
            writer.data(Range.low, low)
            writer.data(Range.high, high)
        case .bitwise(let source, let destination, let mask, let xor):
            writer.register(Bitwise.source, source)
            writer.register(Bitwise.destination, destination)
            writer.attributeBE(Bitwise.length, UInt32(mask.count))
            writer.data(Bitwise.mask, mask)
            writer.data(Bitwise.xor, xor)
        case .lookup(let set, let key, let destination, let inverted):
            writer.attribute(Lookup.set, string: set)
            writer.register(Lookup.source, key)
            if let destination { writer.register(Lookup.destination, destination) }
            // NFT_LOOKUP_F_INV
            if inverted { writer.attributeBE(Lookup.flags, UInt32(1)) }
        case .immediate(let register, let bytes):
            writer.register(Immediate.destination, register)
            writer.data(Immediate.data, bytes)
        case .verdict(let verdict):
            writer.register(Immediate.destination, .verdict)
            writer.verdict(Immediate.data, verdict)
        case .limit(let rate, let unitSeconds, let burst, let kind, let over):
            writer.attributeBE(Limit.rate, rate)
            writer.attributeBE(Limit.unit, unitSeconds)
            writer.attributeBE(Limit.burst, burst)
            writer.attributeBE(Limit.kind, kind.rawValue)
            // NFT_LIMIT_F_INV
            writer.attributeBE(Limit.flags, UInt32(over ? 1 : 0))
        case .dynset(let set, let operation, let key, let data, let timeoutMs, let expressions):
            writer.attribute(Dynset.set, string: set)
            writer.attributeBE(Dynset.operation, operation.rawValue)
            writer.register(Dynset.key, key)
            if let data { writer.register(Dynset.data, data) }
            if let timeoutMs { writer.attributeBE(Dynset.timeout, timeoutMs) }
            if expressions.count == 1 {
                writer.expression(Dynset.expression, expressions[0])
            } else if !expressions.isEmpty {
                // NFT_DYNSET_F_EXPR: there may be several.
                writer.attributeBE(Dynset.flags, UInt32(2))
                writer.expressions(Dynset.expressions, expressions)
            }
        case .log(let group, let prefix, let snaplen):
            writer.attributeBE(Log.group, group)
            writer.attribute(Log.prefix, string: prefix)
            writer.attributeBE(Log.snaplen, snaplen)
        case .reject(let kind):
            switch kind {
            case .icmp(let code):
                writer.attributeBE(Reject.type, UInt32(0))
                writer.attributeBE(Reject.code, code)
            case .tcpReset:
                writer.attributeBE(Reject.type, UInt32(1))
            case .icmpx(let code):
                writer.attributeBE(Reject.type, UInt32(2))
                writer.attributeBE(Reject.code, code)
            }
        case .destinationType(let register):
            writer.register(Fib.destination, register)
            // NFT_FIB_RESULT_ADDRTYPE, NFTA_FIB_F_DADDR
            writer.attributeBE(Fib.result, UInt32(3))
            writer.attributeBE(Fib.flags, UInt32(2))
        case .destinationNAT(let family, let address, let port):
            // NFT_NAT_DNAT; NFPROTO_IPV4, NFPROTO_IPV6
            writer.attributeBE(NAT.type, UInt32(1))
            writer.attributeBE(NAT.family, UInt32(family == .v4 ? 2 : 10))
            writer.register(NAT.address, address)
            writer.register(NAT.port, port)
        // Without flags and ports, a masquerade has nothing to say.
        case .counter, .notrack, .masquerade:
            break
        }
    }
}

extension NftExpression {
    /// Reads a limit; nil if the expression is none.
    init?(limit attribute: Attribute) throws(DecodeError) {
        let parts = try attribute.nested()
        guard parts[type: Nfta.Expression.name]?.string == "limit",
            let data = try parts[type: Nfta.Expression.data]?.nested()
        else { return nil }
        let kind: UInt32 = try data[type: Limit.kind]?.integerBE() ?? 0
        let flags: UInt32 = try data[type: Limit.flags]?.integerBE() ?? 0
        self = .limit(
            rate: try data[type: Limit.rate]?.integerBE() ?? 0,
            unitSeconds: try data[type: Limit.unit]?.integerBE() ?? 0,
            burst: try data[type: Limit.burst]?.integerBE() ?? 0, kind: kind == 1 ? .bytes : .packets,
            over: flags & 1 != 0)
    }
}

private enum Meta {
    static let destination: UInt16 = 1
    static let key: UInt16 = 2
    static let source: UInt16 = 3
}
private enum Payload {
    static let destination: UInt16 = 1
    static let base: UInt16 = 2
    static let offset: UInt16 = 3
    static let length: UInt16 = 4
}
private enum Ct {
    static let destination: UInt16 = 1
    static let key: UInt16 = 2
    static let source: UInt16 = 4
}
private enum Cmp {
    static let source: UInt16 = 1
    static let operation: UInt16 = 2
    static let data: UInt16 = 3
}
private enum Range {
    static let source: UInt16 = 1
    static let operation: UInt16 = 2
    static let low: UInt16 = 3
    static let high: UInt16 = 4
}
private enum Bitwise {
    static let source: UInt16 = 1
    static let destination: UInt16 = 2
    static let length: UInt16 = 3
    static let mask: UInt16 = 4
    static let xor: UInt16 = 5
}
private enum Lookup {
    static let set: UInt16 = 1
    static let source: UInt16 = 2
    static let destination: UInt16 = 3
    static let flags: UInt16 = 5
}
private enum Immediate {
    static let destination: UInt16 = 1
    static let data: UInt16 = 2
}
private enum Limit {
    static let rate: UInt16 = 1
    static let unit: UInt16 = 2
    static let burst: UInt16 = 3
    static let kind: UInt16 = 4
    static let flags: UInt16 = 5
}
private enum Dynset {
    static let set: UInt16 = 1
    static let operation: UInt16 = 3
    static let key: UInt16 = 4
    static let data: UInt16 = 5
    static let timeout: UInt16 = 6
    static let expression: UInt16 = 7
    static let flags: UInt16 = 9
    static let expressions: UInt16 = 10
}
private enum Log {
    static let group: UInt16 = 1
    static let prefix: UInt16 = 2
    static let snaplen: UInt16 = 3
}
private enum Fib {
    static let destination: UInt16 = 1
    static let result: UInt16 = 2
    static let flags: UInt16 = 3
}
private enum NAT {
    static let type: UInt16 = 1
    static let family: UInt16 = 2
    static let address: UInt16 = 3
    static let port: UInt16 = 5
}
private enum Reject {
    static let type: UInt16 = 1
    static let code: UInt16 = 2
}
