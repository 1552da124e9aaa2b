package import Wire

/// What the manager tells the forwarder, one datagram each.
package enum ForwardOrder: Hashable, Sendable {
    /// Forwards to an endpoint. One descriptor comes along, the host's listening (TCP) or bound (UDP) socket;
    /// none for an id that the forwarder holds already, which goes on with the socket it has.
    case publish(ForwardedPort)
    /// Closes the port's socket and ends its connections.
    case withdraw(id: UInt32)
    /// Transparent sockets come along, of one kind, at most 64.
    case refill(IPFamily, ForwardTransport)
    /// The fabric's own subnets, in place of those told before, `subnetLimit` at a time: no client has an address
    /// there. They are in force with the last part.
    case own([CIDR], isLast: Bool)
    /// Another manager begins to tell what there shall be. What it does not publish before `endResync` is
    /// withdrawn.
    case beginResync
    case endResync
    /// Asks for the counters of all ports; the answer bears the request's number.
    case count(request: UInt32)
    /// Whether a connection may go on to the host that it asks for; of one that does already, whether it may stay.
    /// The socket to go on by comes along, not connected; none for a connection that has one.
    case host(id: UInt32, isAllowed: Bool)
}

/// What the forwarder tells the manager, one datagram each.
package enum ForwardReport: Hashable, Sendable {
    /// More transparent sockets are wanted, within this many.
    case wantSockets(IPFamily, ForwardTransport, count: UInt16)
    /// Ports that are forwarded: the answer to `beginResync`, in as many parts as it takes.
    case holds([UInt32], isLast: Bool)
    /// The answer to `count`, in as many parts as it takes.
    case counters(request: UInt32, [UInt32: ForwardCounters], isLast: Bool)
    /// The port is forwarded from now on.
    case published(id: UInt32)
    /// The port's socket is closed.
    case withdrawn(id: UInt32)
    /// The port is not forwarded: its socket is not what it should be (EINVAL), or has come without one
    /// (EBADF).
    case failed(id: UInt32, errno: Int32)
    /// A connection asks for a host. Asked again of the next manager, as long as it is there.
    case mayReach(HostClaim)
    /// Connections that were asked about have ended.
    case hostsEnded([UInt32])
    /// A connection was refused that asks for no host, or without the manager's word.
    case hostRefused(client: IPAddress, destination: IPAddress, port: UInt16, HostRefusal)
}

extension ForwardOrder {
    /// Bytes of the longest message, either way.
    package static let limit = 60 << 10
    /// Subnets that one message holds.
    package static let subnetLimit = 2_048

    package var encoded: [UInt8] {
        var writer = ByteWriter(capacity: 64)
        switch self {
        case .publish(let port):
            writer.integer(UInt8(1))
            writer.integerBE(port.id)
            writer.integer(port.transport.rawValue)
            writer.integerBE(port.port)
            writer.integerBE(port.limit)
            for list in [port.targets, port.standIns] {
                writer.integer(UInt8(truncatingIfNeeded: list.count))
                for address in list { writer.append(address) }
            }
        case .withdraw(let id):
            writer.integer(UInt8(2))
            writer.integerBE(id)
        case .refill(let family, let transport):
            writer.append([3, family.rawValue, transport.rawValue])
        case .own(let subnets, let isLast):
            writer.append([4, isLast ? 1 : 0])
            for subnet in subnets {
                writer.append(subnet.first)
                writer.integer(UInt8(truncatingIfNeeded: subnet.prefixLength))
            }
        case .beginResync: writer.integer(UInt8(5))
        case .endResync: writer.integer(UInt8(6))
        case .count(let request):
            writer.integer(UInt8(7))
            writer.integerBE(request)
        case .host(let id, let isAllowed):
            writer.integer(UInt8(8))
            writer.integerBE(id)
            writer.integer(UInt8(isAllowed ? 1 : 0))
        }
        return writer.bytes
    }

    /// Throws what is wrong with it.
    package init(_ bytes: ArraySlice<UInt8>) throws(DecodeError) {
        var reader = ByteReader(bytes)
        let kind: UInt8 = try reader.integer("kind")
        switch kind {
        case 1:
            let id: UInt32 = try reader.integerBE("id")
            let transport = try reader.transport()
            let port: UInt16 = try reader.integerBE("port")
            let limit: UInt32 = try reader.integerBE("limit")
            let targets = try reader.onePerFamily("targets")
            let standIns = try reader.onePerFamily("stand-ins")
            guard (port != 0) == !targets.isEmpty, port != 0 || transport == .tcp else {
                throw DecodeError("port", at: 6, "there is nothing to forward to")
            }
            self = .publish(
                ForwardedPort(
                    id: id, transport: transport, targets: targets, port: port, standIns: standIns,
                    limit: limit))
        case 2: self = .withdraw(id: try reader.integerBE("id"))
        case 3: self = .refill(try reader.family(), try reader.transport())
        case 4:
            let isLast = try reader.flag()
            var subnets: [CIDR] = []
            while reader.remaining > 0 {
                let address = try reader.address()
                let length: UInt8 = try reader.integer("prefix length")
                guard length <= address.family.width else {
                    throw DecodeError("prefix length", at: reader.offset, "\(length) is too long")
                }
                subnets.append(CIDR(containing: address, prefixLength: Int(length)))
            }
            self = .own(subnets, isLast: isLast)
        case 5: self = .beginResync
        case 6: self = .endResync
        case 7: self = .count(request: try reader.integerBE("request"))
        case 8: self = .host(id: try reader.integerBE("id"), isAllowed: try reader.flag())
        default: throw DecodeError("kind", at: 0, "\(kind) is no order")
        }
        try reader.end()
    }
}

extension ForwardReport {
    /// Ports that one message tells of.
    static let portsInOne = 512

    package var encoded: [UInt8] {
        var writer = ByteWriter(capacity: 64)
        switch self {
        case .wantSockets(let family, let transport, let count):
            writer.append([1, family.rawValue, transport.rawValue])
            writer.integerBE(count)
        case .holds(let ids, let isLast):
            writer.append([2, isLast ? 1 : 0])
            for id in ids { writer.integerBE(id) }
        case .counters(let request, let counters, let isLast):
            writer.append([3, isLast ? 1 : 0])
            writer.integerBE(request)
            for (id, counters) in counters {
                writer.integerBE(id)
                for field in counters.fields { writer.integerBE(field) }
            }
        case .published(let id):
            writer.integer(UInt8(4))
            writer.integerBE(id)
        case .withdrawn(let id):
            writer.integer(UInt8(5))
            writer.integerBE(id)
        case .failed(let id, let errno):
            writer.integer(UInt8(6))
            writer.integerBE(id)
            writer.integerBE(errno)
        case .mayReach(let question):
            writer.append([7, question.isUnderWay ? 1 : 0])
            writer.integerBE(question.id)
            writer.append(question.client)
            writer.append(question.destination)
            writer.integerBE(question.port)
            writer.append(question.host.utf8.prefix(253))
        case .hostsEnded(let ids):
            writer.integer(UInt8(8))
            for id in ids { writer.integerBE(id) }
        case .hostRefused(let client, let destination, let port, let refusal):
            writer.append([9, refusal.rawValue])
            writer.append(client)
            writer.append(destination)
            writer.integerBE(port)
        }
        return writer.bytes
    }

    /// Throws what is wrong with it: the forwarder faces the world, and the manager believes nothing.
    package init(_ bytes: ArraySlice<UInt8>) throws(DecodeError) {
        var reader = ByteReader(bytes)
        let kind: UInt8 = try reader.integer("kind")
        switch kind {
        case 1:
            self = .wantSockets(
                try reader.family(), try reader.transport(), count: try reader.integerBE("count"))
        case 2:
            let isLast = try reader.flag()
            var ids: [UInt32] = []
            while reader.remaining > 0 { ids.append(try reader.integerBE("id")) }
            self = .holds(ids, isLast: isLast)
        case 3:
            let isLast = try reader.flag()
            let request: UInt32 = try reader.integerBE("request")
            var all: [UInt32: ForwardCounters] = [:]
            while reader.remaining > 0 {
                let id: UInt32 = try reader.integerBE("id")
                var counters = ForwardCounters()
                var fields: [UInt64] = []
                for _ in 0..<ForwardCounters.fieldCount { fields.append(try reader.integerBE("counter")) }
                counters.fields = fields
                all[id] = counters
            }
            self = .counters(request: request, all, isLast: isLast)
        case 4: self = .published(id: try reader.integerBE("id"))
        case 5: self = .withdrawn(id: try reader.integerBE("id"))
        case 6: self = .failed(id: try reader.integerBE("id"), errno: try reader.integerBE("errno"))
        case 7:
            let isUnderWay = try reader.flag()
            let id: UInt32 = try reader.integerBE("id")
            let client = try reader.address()
            let destination = try reader.address()
            let port: UInt16 = try reader.integerBE("port")
            let start = reader.offset
            guard let host = HostReader.name(try reader.take(reader.remaining, "host")) else {
                throw DecodeError("host", at: start, "is no name")
            }
            self = .mayReach(
                HostClaim(
                    id: id, client: client, destination: destination, port: port, host: host,
                    isUnderWay: isUnderWay))
        case 8:
            var ids: [UInt32] = []
            while reader.remaining > 0 { ids.append(try reader.integerBE("id")) }
            self = .hostsEnded(ids)
        case 9:
            let number: UInt8 = try reader.integer("refusal")
            guard let refusal = HostRefusal(rawValue: number) else {
                throw DecodeError("refusal", at: 1, "\(number) is none")
            }
            self = .hostRefused(
                client: try reader.address(), destination: try reader.address(),
                port: try reader.integerBE("port"), refusal)
        default: throw DecodeError("kind", at: 0, "\(kind) is no report")
        }
        try reader.end()
    }
}

extension ByteWriter {
    fileprivate mutating func append(_ address: IPAddress) {
        integer(address.family.rawValue)
        append(address.bytes)
    }
}

extension ByteReader {
    fileprivate mutating func family() throws(DecodeError) -> IPFamily {
        let number: UInt8 = try integer("family")
        guard let family = IPFamily(rawValue: number) else {
            throw DecodeError("family", at: offset - 1, "\(number) is neither 4 nor 6")
        }
        return family
    }

    fileprivate mutating func transport() throws(DecodeError) -> ForwardTransport {
        let number: UInt8 = try integer("transport")
        guard let transport = ForwardTransport(rawValue: number) else {
            throw DecodeError("transport", at: offset - 1, "\(number) is neither TCP nor UDP")
        }
        return transport
    }

    fileprivate mutating func address() throws(DecodeError) -> IPAddress {
        let family = try family()
        let start = offset
        guard let address = IPAddress(bytes: try take(family.width / 8, "address")) else {
            throw DecodeError("address", at: start, "is none")
        }
        return address
    }

    fileprivate mutating func onePerFamily(_ field: String) throws(DecodeError) -> [IPAddress] {
        let start = offset
        let count: UInt8 = try integer(field)
        var addresses: [IPAddress] = []
        for _ in 0..<count {
            let address = try address()
            guard !addresses.contains(where: { $0.family == address.family }) else {
                throw DecodeError(field, at: start, "more than one address of a family")
            }
            addresses.append(address)
        }
        return addresses
    }

    fileprivate mutating func flag() throws(DecodeError) -> Bool {
        let number: UInt8 = try integer("flag")
        guard number <= 1 else { throw DecodeError("flag", at: offset - 1, "\(number) is neither 0 nor 1") }
        return number == 1
    }

    fileprivate func end() throws(DecodeError) {
        guard remaining == 0 else { throw DecodeError("end", at: offset, "\(remaining) bytes too many") }
    }
}
