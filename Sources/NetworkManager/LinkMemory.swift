internal import Bridge
internal import Netlink

/// What the kernel told about links that matters to the fabric.
enum LinkChange: Hashable, Sendable {
    case gone(String)
    /// It was in order and is not any more: down, or no longer a port of a bridge.
    case worse(String)
    /// A bridge has a live port again.
    case carrierBack(String)
    /// An interface, by number, has lost an address.
    case addressGone(UInt32)
    /// The socket overflowed: anything may have happened.
    case lost
}

/// Tells changes that call for action from the many that every attach makes.
struct LinkMemory: Sendable {
    private struct State: Hashable {
        var isInOrder: Bool
        var isRunning: Bool
    }

    private var states: [String: State] = [:]

    mutating func change(_ message: Message) -> LinkChange? {
        if message.type == .deleteAddress {
            return (try? InterfaceAddress(message)).map { .addressGone($0.link) }
        }
        switch try? LinkEvent(message) {
        case .deleted(let link):
            states[link.name] = nil
            return .gone(link.name)
        case .changed(let link):
            guard link.group == Ownership.group else { return nil }
            let isBridge = link.kind == "bridge"
            let state = State(
                isInOrder: link.flags.contains(.up) && (isBridge || link.master != 0),
                isRunning: link.flags.contains(.running))
            guard let before = states.updateValue(state, forKey: link.name) else { return nil }
            if before.isInOrder, !state.isInOrder { return .worse(link.name) }
            return isBridge && !before.isRunning && state.isRunning ? .carrierBack(link.name) : nil
        case nil: return nil
        }
    }
}
