package import Model
internal import Netlink
internal import Sys
internal import Wire

/// Bits a second that an endpoint's link is held to, by traffic control.
///
/// ```
///   bridge                                    the container
///     |                                            |
///   fv0123456789abc  root: tbf ─── veth ──────> what it receives
///        ^       └── clsact: all ─> fi0123456789abc (ifb)
///        └────────────────────────  root: tbf  <── what it sends
/// ```
package struct Shape: Hashable, Sendable {
    /// Of what the endpoint receives.
    package var ingress: Bandwidth?
    /// Of what it sends.
    package var egress: Bandwidth?

    package init(ingress: Bandwidth? = nil, egress: Bandwidth? = nil) {
        self.ingress = ingress
        self.egress = egress
    }
}

extension Endpoint {
    /// What holds back what the endpoint sends.
    package var shaperName: String { "fi" + hostInterfaceName.dropFirst(2) }
}

/// Part of traffic control that this kernel lacks.
package struct MissingShaping: Hashable, Sendable {
    package let name: String
    package let explanation: String
    /// Directions in which no endpoint can be held to a bandwidth without it.
    package let directions: Set<Direction>
}

extension BridgePlane {
    /// Finds out what is missing, and makes nothing.
    package mutating func missingShaping() throws(BridgeError) -> [MissingShaping] {
        // The loopback link of every network namespace.
        let probes: [(Request, Errno, MissingShaping)] = [
            (
                .probeQdisc("tbf", link: 1), .noEntry,
                MissingShaping(
                    name: "tbf",
                    explanation:
                        "the kernel has no token bucket (sch_tbf): no endpoint can be held to a bandwidth",
                    directions: [.ingress, .egress])
            ),
            (
                .probeLink("fi", kind: .ifb), .notSupported,
                MissingShaping(
                    name: "ifb",
                    explanation:
                        "the kernel has no intermediate functional block (ifb): what an endpoint sends cannot be held to a bandwidth",
                    directions: [.egress])
            ),
            (
                .probeAction("mirred"), .noEntry,
                MissingShaping(
                    name: "mirred",
                    explanation:
                        "the kernel cannot redirect packets (act_mirred): what an endpoint sends cannot be held to a bandwidth",
                    directions: [.egress])
            ),
        ]
        var missing: [MissingShaping] = []
        for (request, sign, part) in probes {
            try ask([request], "cannot ask for \(part.name)") { _, errno in
                if errno == sign { missing.append(part) }
                return true
            }
        }
        return missing
    }

    /// Holds an endpoint to a shape; one that it has already is changed in place, and connections go on. An
    /// endpoint without a link is left to whoever mends that.
    /// - Throws: `.foreignLink` if a link of the shaper's name is not ours; `.kernel`.
    package mutating func shape(_ endpoint: Endpoint, _ shape: Shape, mtu: Int) throws(BridgeError) {
        let context = "cannot limit the bandwidth of endpoint \"\(endpoint.name)\""
        let links = try read([.name(endpoint.hostInterfaceName), .name(endpoint.shaperName)])
        guard let port = links[0], Ownership.holds(port, id: endpoint.id, kind: "veth") else { return }
        if let rate = shape.ingress {
            try ask([.replaceQdisc(.shaping(port.index, rate, mtu: mtu))], context)
        } else {
            try unshape(port.index, context)
        }
        guard let rate = shape.egress else {
            // First the way there: packets into a link that is gone would be dropped.
            try unredirect(port.index, context)
            if let shaper = links[1], Ownership.holds(shaper, id: endpoint.id, kind: "ifb") {
                try ask([.deleteLink(.index(shaper.index))], context) { $1 == .noDevice }
            }
            return
        }
        let shaper = try self.shaper(of: endpoint, links[1], mtu: mtu, context)
        try ask(
            [
                .replaceQdisc(.shaping(shaper, rate, mtu: mtu)),
                .changeLink(.index(shaper), LinkChange(isUp: true)),
            ], context)
        let redirections = try redirections(port.index, context)
        if redirections == [shaper] { return }
        try unredirect(port.index, context)
        try ask(
            [
                .replaceQdisc(.clsact(link: port.index)),
                .add(Redirection(link: port.index, target: shaper)),
            ], context)
    }

    /// Endpoints that are not held to what they should be, or are held to what they should not.
    ///
    /// - Parameter wanted: the shapes of endpoints that have one, by endpoint id.
    package mutating func misshapen(
        _ endpoints: [Endpoint], wanted: [String: Shape], mtu: (Endpoint) -> Int
    ) throws(BridgeError) -> [Endpoint] {
        let context = "cannot read traffic control"
        var links: [String: Link] = [:]
        for link in try list(.listLinks(), context, Link.init) where link.group == Ownership.group {
            links[link.name] = link
        }
        var qdiscs: [UInt32: [Qdisc]] = [:]
        for qdisc in try list(.listQdiscs, context, Qdisc.init) {
            qdiscs[qdisc.link, default: []].append(qdisc)
        }
        var found: [Endpoint] = []
        for endpoint in endpoints {
            guard let port = links[endpoint.hostInterfaceName] else { continue }
            let shape = wanted[endpoint.id] ?? Shape()
            let mtu = mtu(endpoint)
            func holds(_ link: UInt32, _ rate: Bandwidth?) -> Bool {
                let present = qdiscs[link]?.first { $0.parent == .root && $0.handle == Qdisc.shapingHandle }
                guard let rate else { return present == nil }
                return present.map { Qdisc.shaping(link, rate, mtu: mtu).isLike($0) } ?? false
            }
            var isRight = holds(port.index, shape.ingress)
            let hasFilters = qdiscs[port.index]?.contains { $0.kind == .clsact } ?? false
            if shape.egress == nil {
                isRight = isRight && !hasFilters
            } else if let shaper = links[endpoint.shaperName], hasFilters, shaper.flags.contains(.up) {
                isRight = isRight && holds(shaper.index, shape.egress)
                if isRight { isRight = try redirections(port.index, context) == [shaper.index] }
            } else {
                isRight = false
            }
            if !isRight { found.append(endpoint) }
        }
        return found
    }

    /// Packets that waited for too long, by endpoint id: of what it received, and of what it sent.
    package mutating func shapingDrops(of endpoints: [Endpoint]) throws(BridgeError) -> [String: (
        ingress: UInt64, egress: UInt64
    )] {
        guard !endpoints.isEmpty else { return [:] }
        let links = try read(endpoints.flatMap { [.name($0.hostInterfaceName), .name($0.shaperName)] })
        var drops: [UInt32: UInt64] = [:]
        for qdisc in try list(.listQdiscs, "cannot read traffic control", Qdisc.init)
        where qdisc.handle == Qdisc.shapingHandle {
            drops[qdisc.link] = UInt64(qdisc.statistics.drops)
        }
        var found: [String: (ingress: UInt64, egress: UInt64)] = [:]
        for (position, endpoint) in endpoints.enumerated() {
            func count(_ link: Link?) -> UInt64 { link.flatMap { drops[$0.index] } ?? 0 }
            found[endpoint.id] = (count(links[2 * position]), count(links[2 * position + 1]))
        }
        return found
    }

    /// The link that holds back what an endpoint sends; made if there is none.
    private mutating func shaper(
        of endpoint: Endpoint, _ present: Link?, mtu: Int, _ context: String
    ) throws(BridgeError) -> UInt32 {
        if let present {
            guard Ownership.holds(present, id: endpoint.id, kind: "ifb") else {
                throw BridgeError(
                    .foreignLink, "\(context): the interface \"\(present.name)\" exists and is not ours")
            }
            return present.index
        }
        let name = endpoint.shaperName
        let spec = LinkSpec(
            name: name, mtu: UInt32(clamping: mtu), group: Ownership.group, queues: 1, kind: .ifb)
        let marks = LinkChange(alias: Ownership.alias(endpoint.id))
        let answers = try ask(
            [.addLink(spec), .changeLink(.name(name), marks), .getLink(.name(name))], context)
        guard let link = try? answers[2].first.map(Link.init) else {
            throw BridgeError(.kernel, "\(context): \"\(name)\" vanished while it was made")
        }
        return link.index
    }

    private mutating func redirections(_ link: UInt32, _ context: String) throws(BridgeError) -> [UInt32] {
        // Without a clsact there is no such parent.
        do throws(BridgeError) {
            return try list(.listRedirections(link: link), context) { message throws(DecodeError) in
                try Redirection(message)
            }.map(\.target)
        } catch {
            guard let cause = error.cause as? NetlinkError, cause.errno == .invalid || cause.errno == .noEntry
            else { throw error }
            return []
        }
    }

    private mutating func unshape(_ link: UInt32, _ context: String) throws(BridgeError) {
        // Where there is another root it is not ours; where there is none, the default one has no handle.
        try ask([.deleteQdisc(link: link, handle: Qdisc.shapingHandle, parent: .root)], context) {
            $1 == .noEntry || $1 == .invalid
        }
    }

    private mutating func unredirect(_ link: UInt32, _ context: String) throws(BridgeError) {
        try ask([.deleteQdisc(link: link, handle: .clsactItself, parent: .clsact)], context) {
            $1 == .noEntry || $1 == .invalid
        }
    }
}

extension Qdisc {
    /// "fo", the mark of our roots.
    fileprivate static let shapingHandle = TrafficHandle(rawValue: 0x666f_0000)

    /// A rate, 16 ms of it at once, and a queue of 50 ms: enough for a busy machine, little enough for who
    /// waits behind it.
    fileprivate static func shaping(_ link: UInt32, _ rate: Bandwidth, mtu: Int) -> Qdisc {
        let bytes = rate.bytesPerSecond
        // The link-layer header counts too.
        let packet = UInt64(mtu) + 18
        let burst = max(bytes / 64, 2 * packet)
        let limit = max(bytes / 20, 16 * packet) + burst
        return .root(
            link: link, handle: shapingHandle,
            TokenBucket(rate: bytes, burst: UInt32(clamping: burst), limit: UInt32(clamping: limit)))
    }

    /// As the kernel shows it.
    fileprivate func isLike(_ present: Qdisc) -> Bool {
        guard case .tokenBucket(let wanted) = kind, case .tokenBucket(let bucket) = present.kind else {
            return false
        }
        return bucket.rate == wanted.rate && bucket.limit == wanted.limit
    }
}
