internal import Model
internal import Netlink
internal import Wire

/// A decoder of bytes from outside, with what must hold whatever the bytes are.
///
/// The fuzzers in `Fuzz/` and the tests that replay their corpora run the same code. None may trap, and each
/// says itself when a promise is broken.
public enum FuzzTarget: String, CaseIterable, Sendable {
    /// Replies and notifications of the kernel.
    case netlink
    /// Text of addresses and of blocks of them.
    case address
    /// Policy files.
    case policy
    /// Changes of a fabric, as choices, through the compiler of policies.
    case compiler
    /// Messages of the name service, and those between manager and resolver.
    case names
    /// What connections say of the host that they ask for, and messages between manager and forwarder.
    case hosts
    /// What a call on the API's socket carries.
    case calls

    /// - Returns: the promise that these bytes break, nil if none.
    public func violation(_ bytes: [UInt8]) -> String? {
        switch self {
        case .netlink: decodeNetlink(bytes)
        case .address: decodeAddress(String(decoding: bytes, as: UTF8.self))
        case .policy: decodePolicy(String(decoding: bytes, as: UTF8.self))
        case .compiler: compilePolicies(bytes)
        case .names: decodeNames(bytes)
        case .hosts: decodeHosts(bytes)
        case .calls: decodeCalls(bytes)
        }
    }
}

/// Errors are an answer like any other; what counts is that there is one.
private func decodeNetlink(_ bytes: [UInt8]) -> String? {
    guard let messages = try? Message.parse(bytes[...]) else { return nil }
    for message in messages {
        _ = try? NftEvent(message)
        _ = try? ConntrackEvent(message)
        if let packet = try? LogPacket(message) {
            _ = try? PacketSummary(etherType: packet.etherType, packet.payload)
        }
        // IPv4, IPv6, ARP
        for etherType: UInt16 in [0x0800, 0x86dd, 0x0806] {
            _ = try? PacketSummary(etherType: etherType, message.payload)
        }
        _ = try? LinkEvent(message)
        _ = try? InterfaceAddress(message)
        _ = try? Neighbour(message)
        _ = try? Route(message)
        _ = try? Qdisc(message)
        _ = try? Redirection(message)
        decodeListing(message)
    }
    // What says how long it is takes at least that many bytes.
    let claimed = messages.reduce(0) { $0 + Message.headerLength + $1.payload.count }
    return claimed > bytes.count ? "\(claimed) bytes of messages in \(bytes.count)" : nil
}

/// The kernel's lists have no type of message that tells them from the events.
private func decodeListing(_ message: Message) {
    guard let attributes = try? Attribute.parse(message.payload.dropFirst(4)) else { return }
    _ = try? NftChain(attributes, NftTable(family: .inet, name: "fuzz"))
    _ = try? NftSetInfo(attributes)
    _ = try? NftRuleInfo(attributes)
    _ = try? NftElement.list(attributes)
}

private func decodeAddress(_ text: String) -> String? {
    if let mac = try? MACAddress(text), (try? MACAddress(mac.description)) != mac {
        return "MAC \(mac) does not read its own text"
    }
    if let address = try? IPAddress(text) {
        guard (try? IPAddress(address.description)) == address else {
            return "\(address) does not read its own text"
        }
        guard IPAddress(bytes: address.bytes) == address else {
            return "\(address) differs from its own bytes"
        }
    }
    if let block = try? CIDR(text) {
        guard (try? CIDR(block.description)) == block else { return "\(block) does not read its own text" }
        guard block.contains(block.first), block.contains(block.last),
            block.address(at: block.span) == block.last
        else {
            return "\(block) does not hold its own bounds"
        }
    }
    return nil
}

private func decodePolicy(_ text: String) -> String? {
    guard let policies = try? PolicyDocument.parse(text) else { return nil }
    for policy in policies {
        guard let again = try? PolicyDocument.parse(policy.yaml), again == [policy] else {
            return "policy \(policy.name) does not read its own text"
        }
    }
    return nil
}
