internal import Sys
internal import Wire

/// How values are written in messages between manager and proxy: numbers in network order, a count before
/// whatever repeats.
extension ByteWriter {
    mutating func string(_ text: String) {
        let bytes = Array(text.utf8.prefix(Int(UInt16.max)))
        integerBE(UInt16(bytes.count))
        append(bytes)
    }

    mutating func address(_ address: IPAddress) {
        integerBE(address.family.rawValue)
        append(address.bytes)
    }

    mutating func name(_ name: DomainName) {
        integerBE(UInt8(name.wire.count))
        append(name.wire)
    }

    mutating func list<T>(_ values: [T], _ write: (inout ByteWriter, T) -> Void) {
        integerBE(UInt16(min(values.count, Int(UInt16.max))))
        for value in values.prefix(Int(UInt16.max)) { write(&self, value) }
    }

    mutating func flag(_ value: Bool) { integerBE(UInt8(value ? 1 : 0)) }

    mutating func upstreams(_ upstreams: [UpstreamAddress]) {
        list(upstreams) {
            $0.address($1.address)
            $0.integerBE($1.port)
        }
    }

    mutating func subnets(_ subnets: [CIDR]) {
        list(subnets) {
            $0.address($1.first)
            $0.integerBE(UInt8($1.prefixLength))
        }
    }

    mutating func listener(_ listener: ListenerDescription) {
        integerBE(listener.network)
        integerBE(listener.transport.rawValue)
        flag(listener.trusted)
        list(listener.address.map { [$0] } ?? []) { $0.address($1) }
    }
}

extension ByteReader {
    private func failure(_ field: String, _ reason: String) -> DecodeError {
        DecodeError(field, at: offset, reason)
    }

    mutating func string(_ field: String) throws(DecodeError) -> String {
        let length: UInt16 = try integerBE(field)
        let bytes = try take(Int(length), field)
        guard let text = String(validating: bytes, as: UTF8.self) else { throw failure(field, "is no UTF-8") }
        return text
    }

    mutating func address(_ field: String) throws(DecodeError) -> IPAddress {
        let family: UInt8 = try integerBE(field)
        guard let family = IPFamily(rawValue: family) else { throw failure(field, "no family \(family)") }
        guard let address = IPAddress(bytes: try take(family.width / 8, field)) else {
            throw failure(field, "is no address")
        }
        return address
    }

    mutating func name(_ field: String) throws(DecodeError) -> DomainName {
        let length: UInt8 = try integerBE(field)
        let bytes = try take(Int(length), field)
        guard let name = DomainName(wire: bytes), name.wire[...] == bytes else {
            throw failure(field, "is no name in lower case")
        }
        return name
    }

    mutating func list<T>(
        _ field: String, _ read: (inout ByteReader) throws(DecodeError) -> T
    ) throws(DecodeError) -> [T] {
        let count: UInt16 = try integerBE(field)
        var values: [T] = []
        for _ in 0..<count { values.append(try read(&self)) }
        return values
    }

    mutating func flag(_ field: String) throws(DecodeError) -> Bool {
        let value: UInt8 = try integerBE(field)
        guard value <= 1 else { throw failure(field, "\(value) is neither yes nor no") }
        return value == 1
    }

    /// A number that stands for one of a few things.
    mutating func choice<T: RawRepresentable>(_ field: String) throws(DecodeError) -> T
    where T.RawValue == UInt8 {
        let value: UInt8 = try integerBE(field)
        guard let choice = T(rawValue: value) else { throw failure(field, "\(value) is unknown") }
        return choice
    }

    mutating func upstreams(_ field: String) throws(DecodeError) -> [UpstreamAddress] {
        try list(field) { reader throws(DecodeError) in
            let address = try reader.address(field)
            return UpstreamAddress(address, port: try reader.integerBE(field))
        }
    }

    mutating func subnets(_ field: String) throws(DecodeError) -> [CIDR] {
        try list(field) { reader throws(DecodeError) in
            let address = try reader.address(field)
            let length: UInt8 = try reader.integerBE(field)
            return CIDR(containing: address, prefixLength: Int(length))
        }
    }

    mutating func listener() throws(DecodeError) -> ListenerDescription {
        ListenerDescription(
            network: try integerBE("network"), transport: try choice("transport"),
            trusted: try flag("trusted"),
            address: try list("address") { reader throws(DecodeError) in try reader.address("address") }.first
        )
    }

    func finish() throws(DecodeError) {
        guard remaining == 0 else { throw failure("end", "\(remaining) bytes too many") }
    }
}
