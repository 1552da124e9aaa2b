internal import Model

/// What a matching rule leads to, as the kernel's maps hold it.
package struct Outcome: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    package static let allow = Outcome(rawValue: 1)

    /// The bit that tells a denial; the rest of the number says why.
    package static let denyBit: UInt32 = 0x8000_0000
    package var isDenial: Bool { rawValue & Outcome.denyBit != 0 }

    // Denials that no rule of a policy causes.
    package static let defaultDenyEgress = Outcome(rawValue: denyBit | 1)
    package static let defaultDenyIngress = Outcome(rawValue: denyBit | 2)
    package static let isolation = Outcome(rawValue: denyBit | 3)
    package static let spoofedSource = Outcome(rawValue: denyBit | 4)
    package static let rateLimit = Outcome(rawValue: denyBit | 5)
    /// A packet in the middle of a connection that is not known (any more).
    package static let notTracked = Outcome(rawValue: denyBit | 6)
    /// The destination is an address of the network that no endpoint has.
    package static let noSuchPeer = Outcome(rawValue: denyBit | 7)

    /// Either side is quarantined.
    package static let quarantine = Outcome(rawValue: denyBit | 8)

    /// Numbers of deny rules begin here.
    package static let firstRule: UInt32 = denyBit | 0x100
}

/// An (l4 protocol, destination port) pair as one number, so that port ranges of all protocols lie on one
/// line.
struct PortPoint {
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
