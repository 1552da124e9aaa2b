internal import CLinux
internal import Sys

/// Waits for many descriptors at once (epoll(7)).
struct Poller: ~Copyable {
    struct Events: OptionSet {
        let rawValue: UInt32

        static let readable = Events(rawValue: EPOLLIN.rawValue)
        static let writable = Events(rawValue: EPOLLOUT.rawValue)
        static let error = Events(rawValue: EPOLLERR.rawValue)
        static let hangUp = Events(rawValue: EPOLLHUP.rawValue)
        static let peerClosed = Events(rawValue: EPOLLRDHUP.rawValue)
        /// Tells of changes alone.
        static let edge = Events(rawValue: EPOLLET.rawValue)
    }

    private let descriptor: Descriptor
    private var ready = [cl_event](repeating: cl_event(), count: Int(CL_BATCH))

    init() throws(SystemError) {
        descriptor = Descriptor(
            owning: try system("epoll_create") { epoll_create1(Int32(EPOLL_CLOEXEC)) })
    }

    borrowing func add(_ number: Int32, _ events: Events, token: UInt64) throws(SystemError) {
        try control(EPOLL_CTL_ADD, number, events, token)
    }

    borrowing func change(_ number: Int32, _ events: Events, token: UInt64) throws(SystemError) {
        try control(EPOLL_CTL_MOD, number, events, token)
    }

    /// Needed where others have the same open file; else closing it does this.
    borrowing func remove(_ number: Int32) { try? control(EPOLL_CTL_DEL, number, [], 0) }

    private borrowing func control(_ operation: Int32, _ number: Int32, _ events: Events, _ token: UInt64)
        throws(SystemError)
    {
        let poller = descriptor.rawValue
        try system("epoll_ctl", "descriptor \(number)") {
            cl_epoll_control(poller, operation, number, events.rawValue, token)
        }
    }

    /// - Parameter milliseconds: -1 waits without end.
    /// - Returns: how many events there are to look at.
    mutating func wait(milliseconds: Int32) throws(SystemError) -> Int {
        let poller = descriptor.rawValue
        return Int(
            try system("epoll_wait") {
                unsafe ready.withUnsafeMutableBufferPointer {
                    unsafe cl_epoll_wait(poller, $0.baseAddress, Int32($0.count), milliseconds)
                }
            })
    }

    borrowing func event(_ index: Int) -> (token: UInt64, events: Events) {
        (ready[index].token, Events(rawValue: ready[index].ready))
    }
}

/// What an event is about: kind, place in a table, and which of those that have had this place.
struct Token {
    enum Kind: UInt8 {
        case link = 1
        case control
        case port
        case client
        case server
        case session
        case asker
    }

    let kind: Kind
    let slot: Int
    let generation: UInt32

    init(_ kind: Kind, slot: Int = 0, generation: UInt32 = 0) {
        self.kind = kind
        self.slot = slot
        self.generation = generation
    }

    init?(_ number: UInt64) {
        guard let kind = Kind(rawValue: UInt8(truncatingIfNeeded: number >> 56)) else { return nil }
        self.init(
            kind, slot: Int(number >> 32 & 0xff_ffff), generation: UInt32(truncatingIfNeeded: number))
    }

    var number: UInt64 {
        UInt64(kind.rawValue) << 56 | UInt64(slot & 0xff_ffff) << 32 | UInt64(generation)
    }
}

/// Objects by number. A number is used again, with another generation: events of what is gone find nothing.
struct SlotTable<Item: AnyObject> {
    private var items: [Item?] = []
    private var generations: [UInt32] = []
    private var free: [Int] = []
    private(set) var count = 0

    /// Where the next one will be.
    mutating func reserve() -> (slot: Int, generation: UInt32) {
        count += 1
        if let slot = free.popLast() { return (slot, generations[slot]) }
        items.append(nil)
        generations.append(0)
        return (items.count - 1, 0)
    }

    mutating func put(_ item: Item, at slot: Int) { items[slot] = item }

    mutating func remove(_ slot: Int) {
        items[slot] = nil
        generations[slot] &+= 1
        free.append(slot)
        count -= 1
    }

    subscript(_ token: Token) -> Item? { self[token.slot, token.generation] }

    /// Whatever is there now.
    func at(_ slot: Int) -> Item? { items.indices.contains(slot) ? items[slot] : nil }

    subscript(_ slot: Int, _ generation: UInt32) -> Item? {
        guard slot < items.count, generations[slot] == generation else { return nil }
        return items[slot]
    }

    /// All there are, by slot.
    var all: [Item] { items.compactMap(\.self) }
}
