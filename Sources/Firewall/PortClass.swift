package import Model

/// What a matching rule leads to, as the kernel's maps hold it.
package struct Outcome: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    package static let allow = Outcome(rawValue: 1)

    /// The bit that tells a denial; the rest of the number says why.
    package static let denyBit: UInt32 = 0x8000_0000
    package var isDenial: Bool { rawValue & Outcome.denyBit != 0 }

    /// The bit that tells an allowance which a policy in audit mode would deny; the rest says why.
    package static let auditBit: UInt32 = 0x4000_0000
    package var isAudit: Bool { !isDenial && rawValue & Outcome.auditBit != 0 }
    /// Allowed, though a policy in audit mode would deny it so.
    package var audited: Outcome { Outcome(rawValue: rawValue & ~Outcome.denyBit | Outcome.auditBit) }
    /// The denial that an audit speaks of.
    package var auditedDenial: Outcome { Outcome(rawValue: rawValue & ~Outcome.auditBit | Outcome.denyBit) }

    // Denials that no rule of a policy causes.
    package static let defaultDenyEgress = Outcome(rawValue: denyBit | 1)
    package static let defaultDenyIngress = Outcome(rawValue: denyBit | 2)
    package static let isolation = Outcome(rawValue: denyBit | 3)
    package static let spoofedSource = Outcome(rawValue: denyBit | 4)
    /// A packet in the middle of a connection that is not known (any more).
    package static let notTracked = Outcome(rawValue: denyBit | 6)
    /// The destination is an address of the network that no endpoint has.
    package static let noSuchPeer = Outcome(rawValue: denyBit | 7)

    /// Names are asked of the network's own resolver.
    package static let foreignResolver = Outcome(rawValue: denyBit | 9)

    /// Denied where it is judged: a first packet that may pass is led to the proxy before, and does not come here.
    package static let unverifiedHost = Outcome(rawValue: denyBit | 10)

    /// Either side is quarantined.
    package static let quarantine = Outcome(rawValue: denyBit | 8)

    /// Numbers of deny rules.
    package static let rules: ClosedRange<UInt32> = denyBit | 0x4_0000...denyBit | (auditBit - 1)
}

/// Limits: allowances by a rule that has one, and denials of what is beyond it.
extension Outcome {
    /// Rules with a limit have numbers by direction, of 14 bits: those of one rule of each direction fit into
    /// a connection's mark together.
    static let limitNumbers: ClosedRange<UInt32> = 2...0x3fff

    /// The bits of an outcome and of a connection's mark that hold the number of a rule of this direction.
    static func limitMask(_ direction: Direction) -> UInt32 {
        direction == .egress ? 0x3fff : 0x3fff_0000
    }

    /// An allowance by a rule with a limit.
    static func limit(_ number: UInt32, _ direction: Direction) -> Outcome {
        Outcome(rawValue: direction == .egress ? number : number << 16)
    }

    /// A denial of what is more than a limit lets pass.
    /// - Parameter rule: the outcome of the rule that has the limit; nil where the endpoint itself is limited.
    static func exceeded(_ kind: LimitKind, _ direction: Direction, rule: UInt32? = nil) -> Outcome {
        let code: UInt32 =
            switch kind {
            case .connections: 1
            case .packets: 2
            case .bandwidth: 3
            }
        let number = (rule ?? 0) >> (direction == .egress ? 0 : 16)
        return Outcome(rawValue: denyBit | code << 16 | (direction == .egress ? 0x8000 : 0) | number)
    }

    /// What was exceeded, with the rule as `exceeded` was given it; nil for any other outcome.
    package var exceeded: (kind: LimitKind, direction: Direction, rule: UInt32?)? {
        let kind: LimitKind
        switch rawValue >> 16 {
        case 0x8001: kind = .connections
        case 0x8002: kind = .packets
        case 0x8003: kind = .bandwidth
        default: return nil
        }
        let direction: Direction = rawValue & 0x8000 != 0 ? .egress : .ingress
        let number = rawValue & 0x7fff
        return (kind, direction, number == 0 ? nil : Outcome.limit(number, direction).rawValue)
    }
}

/// An (l4 protocol, destination port) pair as one number, so that port ranges of all protocols lie on one
/// line.
struct PortPoint {
    /// Where names are asked for.
    static let nameService = NameService.ports.flatMap { [6 << 16 | UInt32($0), 17 << 16 | UInt32($0)] }
        .sorted()

    static func range(_ ports: PortRange) -> [ClosedRange<UInt32>] {
        switch ports.transport {
        case .tcp: [span(6, ports.ports)]
        case .udp: [span(17, ports.ports)]
        case .sctp: [span(132, ports.ports)]
        // All types of ICMP and of ICMPv6.
        case .icmp: [span(1, 0...UInt16.max), span(58, 0...UInt16.max)]
        }
    }

    /// Every protocol, every port.
    static let everything: ClosedRange<UInt32> = 0...0xff_ffff

    private static func span(_ l4proto: UInt32, _ ports: ClosedRange<UInt16>) -> ClosedRange<UInt32> {
        l4proto << 16 | UInt32(ports.lowerBound)...l4proto << 16 | UInt32(ports.upperBound)
    }
}

/// A function from (protocol, port) to outcome: disjoint ascending ranges; what none covers is denied by
/// default.
struct PortClass: Hashable {
    struct Segment: Hashable {
        let range: ClosedRange<UInt32>
        let outcome: Outcome
    }

    let segments: [Segment]

    static let empty = PortClass(segments: [])
    /// What holds where nothing is said and the default is to allow.
    static let all = PortClass(segments: [Segment(range: PortPoint.everything, outcome: .allow)])

    init(segments: [Segment]) { self.segments = segments }

    var stableHash: UInt32 {
        var hash = StableHash()
        for segment in segments {
            hash.combine(segment.range.lowerBound)
            hash.combine(segment.range.upperBound)
            hash.combine(segment.outcome.rawValue)
        }
        return hash.folded
    }
}

extension PortClass {
    /// The outcome of one port; nil where nothing is said.
    func outcome(_ point: UInt32) -> Outcome? { segments.first { $0.range.contains(point) }?.outcome }

    /// This with what another one says of some ports, ascending; what it does not allow there is denied for a
    /// reason of its own where this allows it.
    func withholding(_ points: [UInt32], but explicit: PortClass) -> PortClass {
        var pieces: [Segment] = []
        func add(_ first: UInt32, _ last: UInt32, _ outcome: Outcome) {
            guard first <= last else { return }
            if let before = pieces.last, before.outcome == outcome, before.range.upperBound + 1 == first {
                pieces[pieces.count - 1] = Segment(range: before.range.lowerBound...last, outcome: outcome)
            } else {
                pieces.append(Segment(range: first...last, outcome: outcome))
            }
        }
        for segment in segments {
            var first = segment.range.lowerBound
            for point in points where segment.range.contains(point) && !segment.outcome.isDenial {
                if point > first { add(first, point - 1, segment.outcome) }
                add(point, point, explicit.outcome(point) ?? .foreignResolver)
                first = point + 1
            }
            add(first, segment.range.upperBound, segment.outcome)
        }
        return PortClass(segments: pieces)
    }

    /// This with the marks of what another, stricter one denies.
    ///
    /// - Parameter byDefault: what the other one's silence means.
    func audited(by strict: PortClass, byDefault: Outcome) -> PortClass {
        var marked: [Segment] = []
        func add(_ first: UInt32, _ last: UInt32, _ outcome: Outcome) {
            guard first <= last else { return }
            if let before = marked.last, before.outcome == outcome, before.range.upperBound + 1 == first {
                marked[marked.count - 1] = Segment(range: before.range.lowerBound...last, outcome: outcome)
            } else {
                marked.append(Segment(range: first...last, outcome: outcome))
            }
        }
        var next = strict.segments.startIndex
        for segment in segments {
            // Of what a rule lets through up to a limit the limit's number has to stay.
            guard segment.outcome == .allow else {
                marked.append(segment)
                continue
            }
            var first = segment.range.lowerBound
            let last = segment.range.upperBound
            while next < strict.segments.endIndex, strict.segments[next].range.upperBound < first {
                next += 1
            }
            var index = next
            while first <= last {
                guard index < strict.segments.endIndex, strict.segments[index].range.lowerBound <= last else {
                    add(first, last, byDefault.audited)
                    break
                }
                let other = strict.segments[index]
                if other.range.lowerBound > first {
                    add(first, other.range.lowerBound - 1, byDefault.audited)
                    first = other.range.lowerBound
                }
                let end = min(last, other.range.upperBound)
                add(first, end, other.outcome.isDenial ? other.outcome.audited : .allow)
                first = end + 1
                index += 1
            }
        }
        return PortClass(segments: marked)
    }
}
