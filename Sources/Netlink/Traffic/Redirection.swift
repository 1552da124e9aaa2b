package import Wire

/// A filter of everything that a link receives, which sends it through another link (`u32` and `mirred`).
package struct Redirection: Hashable, Sendable {
    package var link: UInt32
    /// Zero where the link that it led to is gone.
    package var target: UInt32

    package init(link: UInt32, target: UInt32) {
        self.link = link
        self.target = target
    }

    /// Reads an RTM_NEWTFILTER; nil for a filter of another kind.
    package init?(_ message: Message) throws(DecodeError) {
        var reader = ByteReader(message.payload)
        let header = try TrafficHeader(&reader)
        let attributes = try Attribute.parse(reader.rest)
        guard header.parent == .received, attributes[type: TrafficAttribute.kind]?.string == "u32",
            let actions = try attributes[type: TrafficAttribute.options]?.nested()[type: U32.actions]
        else { return nil }
        for action in try actions.nested() {
            let parts = try action.nested()
            guard parts[type: Action.kind]?.string == "mirred",
                let parameters = try parts[type: Action.options]?.nested()[type: Action.mirredParameters]
            else { continue }
            var reader = ByteReader(parameters.payload)
            try reader.skip(20, "tc_gen")
            let kind: UInt32 = try reader.integer("eaction")
            guard kind == Action.egressRedirect else { continue }
            self.init(link: header.link, target: try reader.integer("ifindex"))
            return
        }
        return nil
    }
}

extension Request {
    /// The link's clsact must be there, and no other filter of this priority.
    package static func add(_ redirection: Redirection) -> Request {
        // TC_H_MAKE(priority << 16, htons(ETH_P_ALL))
        let info = UInt32(1) << 16 | UInt32(UInt16(0x0003).bigEndian)
        let subject = "redirect what link \(redirection.link) receives"
        return Request(.newFilter, [.create, .exclusive], subject: subject) { message in
            message.trafficHeader(redirection.link, TrafficHandle(rawValue: 0), .received, info: info)
            message.attribute(TrafficAttribute.kind, string: "u32")
            message.nested(TrafficAttribute.options) { options in
                options.nested(U32.actions) { actions in
                    actions.nested(1) { action in
                        action.attribute(Action.kind, string: "mirred")
                        action.nested(Action.options) {
                            $0.attribute(Action.mirredParameters, bytes: redirection.parameters)
                        }
                    }
                }
                options.attribute(U32.selector, bytes: Redirection.everything)
            }
        }
    }

    /// Reads what filters a link has for what it receives, for `NetlinkSocket.dump`.
    package static func listRedirections(link: UInt32) -> Request {
        Request(.getFilter, [], subject: "list filters of link \(link)") {
            $0.trafficHeader(link, TrafficHandle(rawValue: 0), .received)
        }
    }

    /// Asks for an action without saying what it shall do: refused with EINVAL where the kernel knows it, with
    /// ENOENT where it does not.
    package static func probeAction(_ kind: String) -> Request {
        Request(.newAction, [.create], subject: "probe action \(kind)") { message in
            // struct tcamsg: family and pads.
            message.header { $0.integer(UInt32(0)) }
            // TCA_ACT_TAB
            message.nested(1) { table in table.nested(1) { $0.attribute(Action.kind, string: kind) } }
        }
    }

    /// As `probeAction`, of a queueing discipline that needs options.
    package static func probeQdisc(_ kind: String, link: UInt32) -> Request {
        let qdisc = Qdisc(
            link: link, handle: TrafficHandle(rawValue: 0), parent: .root, kind: .other(kind))
        var request = replaceQdisc(qdisc)
        request.flags = [.create, .exclusive]
        request.subject = "probe qdisc \(kind)"
        return request
    }

    /// Asks for a link with more queues than one can have: refused with EINVAL where the kernel knows the kind,
    /// with EOPNOTSUPP where it does not.
    package static func probeLink(_ name: String, kind: LinkSpec.Kind) -> Request {
        var request = addLink(LinkSpec(name: name, queues: 1 << 16, kind: kind))
        request.subject = "probe link"
        return request
    }
}

/// `TCA_U32_*` of linux/pkt_cls.h.
private enum U32 {
    static let selector: UInt16 = 5
    static let actions: UInt16 = 7
}

/// `TCA_ACT_*`, `TCA_MIRRED_*` and values of linux/tc_act/tc_mirred.h.
private enum Action {
    static let kind: UInt16 = 1
    static let options: UInt16 = 2
    static let mirredParameters: UInt16 = 2
    static let egressRedirect: UInt32 = 1
    /// TC_ACT_STOLEN
    static let stolen: UInt32 = 4
}

extension Redirection {
    /// `struct tc_mirred`: index, capab, action, refcnt, bindcnt, eaction, ifindex.
    fileprivate var parameters: [UInt8] {
        var writer = ByteWriter(capacity: 28)
        for number in [0, 0, Action.stolen, 0, 0, Action.egressRedirect, target] { writer.integer(number) }
        return writer.bytes
    }

    /// `struct tc_u32_sel` with one key that asks for no bit.
    fileprivate static var everything: [UInt8] {
        var writer = ByteWriter(capacity: 32)
        // flags (TC_U32_TERMINAL), offshift, nkeys, a hole; offmask, off, offoff, hoff; hmask.
        writer.append([1, 0, 1, 0])
        writer.zeros(8)
        writer.zeros(4)
        // struct tc_u32_key: mask, val, off, offmask.
        writer.zeros(16)
        return writer.bytes
    }
}
