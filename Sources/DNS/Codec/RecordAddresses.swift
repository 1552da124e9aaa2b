internal import Wire

/// The addresses that the data of a record tell a client to talk to.
enum RecordAddresses {
    /// - Parameter data: with names written out.
    static func of(_ type: RecordType, _ data: ArraySlice<UInt8>) -> [IPAddress] {
        switch type {
        case .a, .aaaa: IPAddress(bytes: data).map { [$0] } ?? []
        case .svcb, .https: hints(data)
        default: []
        }
    }

    /// RFC 9460 section 2.2: a priority, a target, and parameters, each with a key and a length; of those 4 and 6
    /// are lists of addresses (section 7.3).
    private static func hints(_ data: ArraySlice<UInt8>) -> [IPAddress] {
        let bytes = Array(data)
        guard bytes.count > 2, var position = skipName(bytes, 2, bytes.count) else { return [] }
        var found: [IPAddress] = []
        while position + 4 <= bytes.count {
            let key = number(bytes, position)
            let end = position + 4 + Int(number(bytes, position + 2))
            guard end <= bytes.count else { return found }
            let width = key == 4 ? 4 : key == 6 ? 16 : 0
            if width > 0 {
                for start in stride(from: position + 4, through: end - width, by: width) {
                    if let address = IPAddress(bytes: bytes[start..<start + width]) { found.append(address) }
                }
            }
            position = end
        }
        return found
    }
}

extension IPAddress {
    /// The IPv4 address that an IPv4-mapped one stands for (RFC 4291 section 2.5.5.2): whoever connects to it
    /// connects there.
    var unmapped: IPAddress {
        guard family == .v6, bits >> 32 == 0xffff else { return self }
        return IPAddress(.v4, bits: bits & 0xffff_ffff)
    }
}
