internal import Forwarding
internal import Model
internal import Namespaces
internal import Sys
internal import Wire

/// What the manager keeps to forward ports: what is published, the line to the forwarder, and sockets that it
/// has not been given yet.
struct PortDesk {
    struct Entry {
        let port: PublishedPort
        let endpointID: String
    }

    /// nil while there is no proxy.
    var line: ProxyLine?
    /// The forwarder has said what it holds, and was told what there shall be.
    var isInStep = false
    /// What it has said so far that it holds.
    var held: Set<UInt32> = []
    /// By number.
    private(set) var published: [UInt32: Entry] = [:]
    /// Numbers by port of the host.
    private var numbers: [UInt16: Set<UInt32>] = [:]
    /// Open sockets of the host's that the forwarder does not have.
    private var sockets: [UInt32: Int32] = [:]
    /// Those whose socket could not be opened when it had to be once more.
    var lacking: Set<UInt32> = []
    /// Those that the forwarder is to close and has not closed yet.
    private var closing: Set<UInt32> = []
    /// Connections that were verified, and that it is to end.
    private var endingHosts: Set<UInt32> = []
    var count: PortCount?
    var lastCount: UInt32 = 0
    private var waiters: [CheckedContinuation<Void, Never>] = []
    /// The subnets that the kernel leads answers of; nil where it leads none.
    var routed: [CIDR]?

    mutating func insert(_ publication: Publication, of endpointID: String) {
        published[publication.id] = Entry(port: publication.port, endpointID: endpointID)
        numbers[publication.port.hostPort, default: []].insert(publication.id)
    }

    mutating func remove(_ id: UInt32) {
        guard let entry = published.removeValue(forKey: id) else { return }
        numbers[entry.port.hostPort]?.remove(id)
        if numbers[entry.port.hostPort]?.isEmpty ?? false { numbers[entry.port.hostPort] = nil }
        lacking.remove(id)
        _ = takeSocket(id)
        close(id)
    }

    /// Has the forwarder let go of a socket; done when it says so.
    mutating func close(_ id: UInt32) {
        guard let line else { return }
        closing.insert(id)
        line.send(ForwardOrder.withdraw(id: id).encoded)
    }

    /// What is published already and cannot be beside this.
    func conflict(with port: PublishedPort) -> Entry? {
        (numbers[port.hostPort] ?? []).lazy.compactMap { published[$0] }.first {
            $0.port.collides(with: port)
        }
    }

    /// A number that nothing has; an earlier manager's are not given again soon, since the forwarder may hold
    /// what that one did not come to withdraw.
    /// - Parameter taken: by gates.
    func freeNumber(but taken: some Collection<UInt32>) -> UInt32 {
        while true {
            let number = UInt32.random(in: 1...(.max))
            if published[number] == nil, !taken.contains(number) { return number }
        }
    }

    // MARK: Sockets

    mutating func keep(_ socket: consuming Descriptor, for id: UInt32) {
        if let old = sockets.updateValue(socket.release(), forKey: id) { _ = Descriptor(owning: old) }
    }

    mutating func takeSocket(_ id: UInt32) -> Descriptor? {
        sockets.removeValue(forKey: id).map { Descriptor(owning: $0) }
    }

    // MARK: Closing

    /// Ports of the host are not free yet that were given up.
    var isClosingPorts: Bool { !closing.isEmpty }
    var isClosing: Bool { !closing.isEmpty || !endingHosts.isEmpty }

    /// Told once nothing is being closed any more.
    mutating func wait(_ waiter: CheckedContinuation<Void, Never>) { waiters.append(waiter) }

    mutating func closed(_ id: UInt32) {
        closing.remove(id)
        if !isClosing { endClosing() }
    }

    mutating func endHost(_ id: UInt32) {
        guard let line else { return }
        endingHosts.insert(id)
        line.send(ForwardOrder.host(id: id, isAllowed: false).encoded)
    }

    mutating func hostsEnded(_ ids: [UInt32]) {
        guard !endingHosts.isEmpty else { return }
        endingHosts.subtract(ids)
        if !isClosing { endClosing() }
    }

    mutating func endClosing() {
        closing = []
        endingHosts = []
        for waiter in waiters { waiter.resume() }
        waiters = []
    }
}

extension HostPort {
    init(_ port: PublishedPort) {
        let bits = port.address?.bits ?? 0
        self.init(
            family: port.address?.family.rawValue ?? 0, high: UInt64(truncatingIfNeeded: bits >> 64),
            low: UInt64(truncatingIfNeeded: bits), port: port.hostPort, isStream: port.transport == .tcp)
    }
}
