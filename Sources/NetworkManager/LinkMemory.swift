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
    /// Somebody changed a link's traffic control.
    case trafficControl
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
    /// The netlink port that our own changes of traffic control come from.
    private let ownPort: UInt32

    init(ownPort: UInt32) { self.ownPort = ownPort }

    mutating func change(_ message: Message) -> LinkChange? {
        if message.type == .deleteAddress {
            return (try? InterfaceAddress(message)).map { .addressGone($0.link) }
        }
        if [.newQdisc, .deleteQdisc, .newFilter, .deleteFilter].contains(message.type) {
            return message.port == ownPort ? nil : .trafficControl
        }
        switch try? LinkEvent(message) {
        case .deleted(let link):
            states[link.name] = nil
            return .gone(link.name)
        case .changed(let link):
            guard link.group == Ownership.group else { return nil }
            let isBridge = link.kind == "bridge"
            let state = State(
                isInOrder: link.flags.contains(.up) && (isBridge || link.kind == "ifb" || link.master != 0),
                isRunning: link.flags.contains(.running))
            guard let before = states.updateValue(state, forKey: link.name) else { return nil }
            if before.isInOrder, !state.isInOrder { return .worse(link.name) }
            return isBridge && !before.isRunning && state.isRunning ? .carrierBack(link.name) : nil
        case nil: return nil
        }
    }
}
