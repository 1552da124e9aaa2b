/// What anchor and manager say to each other, one datagram each. The manager faces callers, so the anchor
/// believes nothing.
package enum ControlMessage: Hashable, Sendable {
    /// Who is the peer of the connection that comes along? From the manager.
    case whoIs(id: UInt32)
    /// Ids as the host counts them. `errno` is 0 if they could be told.
    case peer(id: UInt32, errno: Int32, uid: UInt32, pid: Int32)
    /// The manager answers calls now.
    case ready
    /// The manager cannot start; why, in one line.
    case failed(String)
    /// Whether the manager needs the proxy.
    case needsProxy(Bool)
    /// The proxy is there, with the manager's ends of the lines to its resolver and its forwarder; from the
    /// anchor, again each time that it has been started anew. `errno` is 0 if it could be started.
    case proxy(pid: Int32, errno: Int32)
    /// Open this port of the host's. From the manager.
    case openPort(id: UInt32, HostPort)
    /// It comes along, if `errno` is 0.
    case opened(id: UInt32, errno: Int32)
    /// Whether a way out of the fabric's namespaces is of use. From the manager.
    case uplink(wanted: Bool)
    /// How is the way out? From the manager.
    case askUplink(id: UInt32)
    case uplinkIs(id: UInt32, UplinkState)

    /// Of any message.
    package static let limit = 1024

    private enum Kind {
        static let whoIs: UInt8 = 1
        static let peer: UInt8 = 2
        static let ready: UInt8 = 3
        static let failed: UInt8 = 4
        static let needsProxy: UInt8 = 5
        static let proxy: UInt8 = 6
        static let openPort: UInt8 = 7
        static let opened: UInt8 = 8
        static let uplink: UInt8 = 16
        static let askUplink: UInt8 = 17
        static let uplinkIs: UInt8 = 18
    }

    package var encoded: [UInt8] {
        switch self {
        case .whoIs(let id): return Self.words(Kind.whoIs, id)
        case .peer(let id, let errno, let uid, let pid):
            return Self.words(Kind.peer, id, UInt32(bitPattern: errno), uid, UInt32(bitPattern: pid))
        case .ready: return [Kind.ready]
        case .failed(let text): return [Kind.failed] + text.utf8.prefix(Self.limit - 1)
        case .needsProxy(let isNeeded): return [Kind.needsProxy, isNeeded ? 1 : 0]
        case .proxy(let pid, let errno):
            return Self.words(Kind.proxy, UInt32(bitPattern: pid), UInt32(bitPattern: errno))
        case .openPort(let id, let port):
            let halves = [port.high, port.low].flatMap { [UInt32($0 >> 32), UInt32($0 & 0xffff_ffff)] }
            return Self.words(Kind.openPort, id, halves[0], halves[1], halves[2], halves[3])
                + Self.words(port.family, UInt32(port.port)) + [port.isStream ? 1 : 0]
        case .opened(let id, let errno): return Self.words(Kind.opened, id, UInt32(bitPattern: errno))
        case .uplink(let wanted): return [Kind.uplink, wanted ? 1 : 0]
        case .askUplink(let id): return Self.words(Kind.askUplink, id)
        case .uplinkIs(let id, let state):
            let head =
                Self.words(Kind.uplinkIs, id, UInt32(bitPattern: state.pid), state.restarts)
                + [state.program?.rawValue ?? 0]
            return head + state.trouble.utf8.prefix(Self.limit - head.count)
        }
    }

    private static func words(_ kind: UInt8, _ values: UInt32...) -> [UInt8] {
        [kind]
            + values.flatMap { value in
                [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) }
            }
    }

    /// Nil if it is none of ours.
    package init?(_ bytes: ArraySlice<UInt8>) {
        let words = bytes.dropFirst()
        func word(_ index: Int) -> UInt32 {
            words.dropFirst(index * 4).prefix(4).reduce(0) { $0 << 8 | UInt32($1) }
        }
        func number(_ index: Int) -> Int32 { Int32(bitPattern: word(index)) }
        func byte(_ index: Int) -> UInt8 { words.dropFirst(index).first ?? 0 }
        switch (bytes.first, words.count) {
        case (Kind.whoIs, 4): self = .whoIs(id: word(0))
        case (Kind.peer, 16): self = .peer(id: word(0), errno: number(1), uid: word(2), pid: number(3))
        case (Kind.ready, 0): self = .ready
        case (Kind.failed, ..<Self.limit): self = .failed(String(decoding: words, as: UTF8.self))
        case (Kind.needsProxy, 1) where byte(0) <= 1: self = .needsProxy(byte(0) == 1)
        case (Kind.proxy, 8): self = .proxy(pid: number(0), errno: number(1))
        case (Kind.openPort, 26) where [0, 4, 6].contains(byte(20)) && byte(25) <= 1:
            let port = words.dropFirst(21).prefix(4).reduce(0) { $0 << 8 | UInt32($1) }
            guard port <= UInt32(UInt16.max) else { return nil }
            self = .openPort(
                id: word(0),
                HostPort(
                    family: byte(20), high: UInt64(word(1)) << 32 | UInt64(word(2)),
                    low: UInt64(word(3)) << 32 | UInt64(word(4)), port: UInt16(port), isStream: byte(25) == 1)
            )
        case (Kind.opened, 8): self = .opened(id: word(0), errno: number(1))
        case (Kind.uplink, 1) where byte(0) <= 1: self = .uplink(wanted: byte(0) == 1)
        case (Kind.askUplink, 4): self = .askUplink(id: word(0))
        case (Kind.uplinkIs, 13..<Self.limit):
            let program = UplinkProgram(rawValue: byte(12))
            guard program != nil || byte(12) == 0 else { return nil }
            self = .uplinkIs(
                id: word(0),
                UplinkState(
                    program: program, pid: number(1), restarts: word(2),
                    trouble: String(decoding: words.dropFirst(13), as: UTF8.self)))
        default: return nil
        }
    }
}
