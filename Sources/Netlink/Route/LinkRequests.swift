internal import Wire

extension Request {
    /// Makes a link; it is an error if the name or the index is taken.
    package static func addLink(_ spec: LinkSpec) -> Request {
        Request(.newLink, [.create, .exclusive], subject: "add link \(spec.name)") { message in
            message.linkHeader(index: spec.index)
            message.attribute(LinkAttribute.name, string: spec.name)
            if let mac = spec.mac { message.attribute(LinkAttribute.address, mac) }
            if let mtu = spec.mtu { message.attribute(LinkAttribute.mtu, mtu) }
            if let group = spec.group { message.attribute(LinkAttribute.group, group) }
            if let master = spec.master { message.attribute(LinkAttribute.master, master) }
            message.queues(spec.queues)
            message.nested(LinkAttribute.info) { info in
                switch spec.kind {
                case .bridge(let options):
                    info.attribute(LinkInfoAttribute.kind, string: "bridge")
                    options.write(to: &info)
                case .ifb:
                    info.attribute(LinkInfoAttribute.kind, string: "ifb")
                case .veth(let peer):
                    info.attribute(LinkInfoAttribute.kind, string: "veth")
                    info.nested(LinkInfoAttribute.data) { data in
                        data.nested(vethPeerAttribute) { $0.peer(peer, queues: spec.queues) }
                    }
                }
            }
        }
    }

    /// Changes a link that exists.
    package static func changeLink(_ target: LinkTarget, _ change: LinkChange) -> Request {
        // RTM_NEWLINK without NLM_F_CREATE: unlike RTM_SETLINK it takes a bridge's and a port's options too.
        Request(.newLink, [], subject: "change link \(target)") { message in
            message.linkHeader(target, isUp: change.isUp)
            if let mac = change.mac { message.attribute(LinkAttribute.address, mac) }
            if let mtu = change.mtu { message.attribute(LinkAttribute.mtu, mtu) }
            if let alias = change.alias { message.attribute(LinkAttribute.alias, string: alias) }
            if let group = change.group { message.attribute(LinkAttribute.group, group) }
            if let master = change.master { message.attribute(LinkAttribute.master, master) }
            if let mode = change.addressGeneration {
                message.nested(LinkAttribute.familySpecific) { families in
                    families.nested(UInt16(AddressFamily.ipv6.rawValue)) {
                        $0.attribute(addressGenerationAttribute, mode.rawValue)
                    }
                }
            }
            if change.bridge != nil || change.port != nil {
                message.nested(LinkAttribute.info) { info in
                    if let bridge = change.bridge {
                        info.attribute(LinkInfoAttribute.kind, string: "bridge")
                        bridge.write(to: &info)
                    }
                    change.port?.write(to: &info)
                }
            }
        }
    }

    package static func deleteLink(_ target: LinkTarget) -> Request {
        Request(.deleteLink, [], subject: "delete link \(target)") { $0.linkHeader(target) }
    }

    /// Deletes all links of a group together.
    package static func deleteLinks(group: UInt32) -> Request {
        Request(.deleteLink, [], subject: "delete links of group \(group)") { message in
            message.linkHeader(index: 0)
            message.attribute(LinkAttribute.group, group)
        }
    }

    /// Reads one link. The answer also waits for a carrier change that the kernel has seen and not yet acted
    /// upon (since Linux 6.8, `linkwatch_sync_dev`).
    package static func getLink(_ target: LinkTarget, statistics: Bool = false) -> Request {
        Request(.getLink, [], subject: "read link \(target)") { message in
            message.linkHeader(target)
            message.attribute(LinkAttribute.extensionMask, extensionMask(statistics))
        }
    }

    /// Reads all links, for `NetlinkSocket.dump`.
    /// - Parameter master: only ports of this bridge.
    package static func listLinks(master: UInt32? = nil, statistics: Bool = false) -> Request {
        Request(.getLink, [], subject: "list links") { message in
            message.linkHeader(index: 0)
            message.attribute(LinkAttribute.extensionMask, extensionMask(statistics))
            if let master { message.attribute(LinkAttribute.master, master) }
        }
    }

    private static func extensionMask(_ statistics: Bool) -> UInt32 {
        // RTEXT_FILTER_SKIP_STATS
        statistics ? 0 : 1 << 3
    }
}

extension PayloadWriter {
    fileprivate mutating func linkHeader(index: UInt32, isUp: Bool? = nil) {
        header { header in
            // struct ifinfomsg: family, pad, type, index, flags, change.
            header.integer(AddressFamily.unspecified.rawValue)
            header.integer(UInt8(0))
            header.integer(UInt16(0))
            header.integer(index)
            header.integer(isUp == true ? LinkFlags.up.rawValue : 0)
            // Only the bit that is meant: a mask of all ones would clear whatever else is set.
            header.integer(isUp == nil ? 0 : LinkFlags.up.rawValue)
        }
    }

    fileprivate mutating func linkHeader(_ target: LinkTarget, isUp: Bool? = nil) {
        switch target {
        case .index(let index): linkHeader(index: index, isUp: isUp)
        case .name(let name):
            linkHeader(index: 0, isUp: isUp)
            attribute(LinkAttribute.name, string: name)
        }
    }

    fileprivate mutating func queues(_ count: UInt32?) {
        guard let count else { return }
        attribute(LinkAttribute.transmitQueues, count)
        attribute(LinkAttribute.receiveQueues, count)
    }

    fileprivate mutating func peer(_ peer: VethPeer, queues count: UInt32?) {
        linkHeader(index: peer.index)
        attribute(LinkAttribute.name, string: peer.name)
        if let mac = peer.mac { attribute(LinkAttribute.address, mac) }
        if let mtu = peer.mtu { attribute(LinkAttribute.mtu, mtu) }
        queues(count)
        if let namespace = peer.namespace { attribute(LinkAttribute.namespaceDescriptor, namespace) }
    }
}
