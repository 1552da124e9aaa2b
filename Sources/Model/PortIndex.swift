/// Protocol and destination port of a flow as one number, so that ranges of all protocols lie on one line.
struct PortPoint {
    static let everything: ClosedRange<UInt32> = 0...0x1ff_ffff

    /// Where names are asked for.
    static let nameService = NameService.ports.flatMap { [6 << 16 | UInt32($0), 17 << 16 | UInt32($0)] }

    static func point(_ transport: FlowTransport) -> UInt32 {
        switch transport {
        case .tcp(let port): 6 << 16 | UInt32(port)
        case .udp(let port): 17 << 16 | UInt32(port)
        case .sctp(let port): 132 << 16 | UInt32(port)
        case .icmp: 1 << 16
        // Where no range of ports ever is, whatever the number.
        case .other(let number): 256 << 16 | UInt32(number)
        }
    }

    static func range(_ range: PortRange) -> ClosedRange<UInt32> {
        func span(_ number: UInt32) -> ClosedRange<UInt32> {
            number << 16 | UInt32(range.ports.lowerBound)...number << 16 | UInt32(range.ports.upperBound)
        }
        switch range.transport {
        case .tcp: return span(6)
        case .udp: return span(17)
        case .sctp: return span(132)
        case .icmp: return 1 << 16...1 << 16 | 0xffff
        }
    }
}

/// A port's name with the protocol that a rule asks for; nil is any.
struct PortName: Hashable, Sendable {
    let name: String
    let transport: TransportProtocol?
}

/// What policy looks at in a flow besides its two sides, worked out once.
struct PortQuery {
    let point: UInt32
    /// What the destination calls the port: mostly nothing.
    let names: [String]
    let transport: TransportProtocol?
    /// Which of `PortPoint.nameService` the port is; nil where it is none.
    let nameService: Int?
}

extension Flow {
    /// A property and no initialiser's argument, which would be a copy of it all.
    var portQuery: PortQuery {
        let point = PortPoint.point(transport)
        let nameService = NameService.isOf(transport) ? PortPoint.nameService.firstIndex(of: point) : nil
        guard let ports = destination.member?.endpoint.ports, !ports.isEmpty, let port = transport.port else {
            return PortQuery(point: point, names: [], transport: nil, nameService: nameService)
        }
        let names = ports.lazy.filter { $0.number == port.number && $0.transport == port.transport }
        return PortQuery(
            point: point, names: names.map(\.name), transport: port.transport, nameService: nameService)
    }
}

/// Rules that speak of the same peer, found by port: for each port the first of them, by number.
final class PortIndex: Sendable {
    /// Lower bounds of the pieces that the line of ports falls into, ascending, the first 0.
    private let starts: [UInt32]
    /// The first rule in each piece.
    private let firsts: [RuleNumber]
    private let named: [PortName: RuleNumber]
    /// The first rule of each of `PortPoint.nameService` that does not allow all ports alike.
    private let nameService: [RuleNumber]

    /// - Parameter rules: in the order in which they are asked.
    init(_ rules: [PlacedRule]) {
        var named: [PortName: RuleNumber] = [:]
        var ranges: [(range: ClosedRange<UInt32>, rule: RuleNumber)] = []
        var nameService = [RuleNumber](repeating: .noRule, count: PortPoint.nameService.count)
        for rule in rules {
            let own = rule.ports?.compactMap { port -> ClosedRange<UInt32>? in
                if case .range(let range) = port { PortPoint.range(range) } else { nil }
            }
            for (index, point) in PortPoint.nameService.enumerated() where nameService[index] == .noRule {
                let speaks = own.map { $0.contains { $0.contains(point) } } ?? (rule.action != .allow)
                if speaks { nameService[index] = rule.number }
            }
            guard let ports = rule.ports else {
                ranges.append((PortPoint.everything, rule.number))
                continue
            }
            for port in ports {
                switch port {
                case .range(let range): ranges.append((PortPoint.range(range), rule.number))
                case .named(let name, let transport):
                    let key = PortName(name: name, transport: transport)
                    if named[key] == nil { named[key] = rule.number }
                }
            }
        }
        self.named = named
        self.nameService = nameService
        let bounds = Set([0] + ranges.flatMap { [$0.range.lowerBound, $0.range.upperBound + 1] }).sorted()
        var firsts = [RuleNumber](repeating: .noRule, count: bounds.count)
        // Pieces that have their rule are leapt over: `next[i]` is a piece from i on that may have none.
        var next = Array(0...bounds.count)
        func place(_ bound: UInt32) -> Int { bounds.firstIndex(notBelow: bound) }
        for (range, rule) in ranges {
            let end = place(range.upperBound + 1)
            var piece = PortIndex.open(from: place(range.lowerBound), &next)
            while piece < end {
                firsts[piece] = rule
                next[piece] = piece + 1
                piece = PortIndex.open(from: piece, &next)
            }
        }
        self.starts = bounds
        self.firsts = firsts
    }

    private static func open(from piece: Int, _ next: inout [Int]) -> Int {
        var end = piece
        while next[end] != end { end = next[end] }
        var piece = piece
        while next[piece] != end {
            let following = next[piece]
            next[piece] = end
            piece = following
        }
        return end
    }

    /// - Parameter withholdsNames: a rule that allows all ports alike does not speak of those where names are
    ///   asked for.
    func first(_ query: PortQuery, withholdsNames: Bool) -> RuleNumber {
        var best =
            if withholdsNames, let index = query.nameService { nameService[index] } else {
                firsts[starts.firstIndex(notBelow: query.point + 1) - 1]
            }
        guard !named.isEmpty else { return best }
        for name in query.names {
            for transport in [query.transport, nil] {
                best = min(best, named[PortName(name: name, transport: transport)] ?? .noRule)
            }
        }
        return best
    }
}
