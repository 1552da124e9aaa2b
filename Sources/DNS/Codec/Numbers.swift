/// A type of resource record (RFC 1035 section 3.2.2 and IANA's registry).
package struct RecordType: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt16
    package init(rawValue: UInt16) { self.rawValue = rawValue }

    package static let a = RecordType(rawValue: 1)
    package static let ns = RecordType(rawValue: 2)
    package static let cname = RecordType(rawValue: 5)
    package static let soa = RecordType(rawValue: 6)
    package static let ptr = RecordType(rawValue: 12)
    package static let hinfo = RecordType(rawValue: 13)
    package static let minfo = RecordType(rawValue: 14)
    package static let mx = RecordType(rawValue: 15)
    package static let txt = RecordType(rawValue: 16)
    package static let rp = RecordType(rawValue: 17)
    package static let afsdb = RecordType(rawValue: 18)
    package static let rt = RecordType(rawValue: 21)
    package static let aaaa = RecordType(rawValue: 28)
    package static let srv = RecordType(rawValue: 33)
    package static let naptr = RecordType(rawValue: 35)
    package static let kx = RecordType(rawValue: 36)
    package static let dname = RecordType(rawValue: 39)
    package static let opt = RecordType(rawValue: 41)
    package static let rrsig = RecordType(rawValue: 46)
    package static let nsec = RecordType(rawValue: 47)
    package static let nsec3 = RecordType(rawValue: 50)
    package static let svcb = RecordType(rawValue: 64)
    package static let https = RecordType(rawValue: 65)
    package static let ixfr = RecordType(rawValue: 251)
    package static let axfr = RecordType(rawValue: 252)
    package static let any = RecordType(rawValue: 255)

    /// RFC 6895 section 3.1: 128 to 255 are questions about a message or a zone, which no cache answers.
    var isMeta: Bool { (128...255).contains(rawValue) || self == .opt }
}

/// The class of the Internet; no other is served.
let internetClass: UInt16 = 1

/// What became of a query (RFC 1035 section 4.1.1, RFC 6891).
package struct ResponseCode: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }

    package static let noError = ResponseCode(rawValue: 0)
    package static let formatError = ResponseCode(rawValue: 1)
    package static let serverFailure = ResponseCode(rawValue: 2)
    package static let nameError = ResponseCode(rawValue: 3)
    package static let notImplemented = ResponseCode(rawValue: 4)
    package static let refused = ResponseCode(rawValue: 5)
    /// Beyond the header's four bits: the rest of it is in the OPT record.
    package static let badVersion = ResponseCode(rawValue: 16)
}

/// The second word of a header (RFC 1035 section 4.1.1, RFC 4035 section 3.2).
struct HeaderFlags {
    static let response: UInt16 = 0x8000
    static let authoritative: UInt16 = 0x0400
    static let truncated: UInt16 = 0x0200
    static let recursionDesired: UInt16 = 0x0100
    static let recursionAvailable: UInt16 = 0x0080
    static let authenticData: UInt16 = 0x0020
    static let checkingDisabled: UInt16 = 0x0010

    static func opcode(_ flags: UInt16) -> UInt16 { flags >> 11 & 0xf }
}

/// Sizes that the protocol and we ourselves set.
enum Limit {
    static let header = 12
    /// RFC 1035 section 2.3.4: of a name on the wire.
    static let name = 255
    static let label = 63
    /// RFC 1035 section 2.3.4: a UDP message to one who does not say that it takes more.
    static let plainUDP = 512
    /// What is not fragmented on common paths, as DNS operators agreed on in 2020.
    static let udp = 1232
    static let message = 65535
    /// Records that are looked at in a response.
    static let records = 1024
    /// Aliases (CNAME) that are followed in a response.
    static let aliases = 16
}

/// Why an answer is none (RFC 8914), told to who understands EDNS.
package struct ExtendedError: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt16
    package init(rawValue: UInt16) { self.rawValue = rawValue }

    package static let other = ExtendedError(rawValue: 0)
    package static let notReady = ExtendedError(rawValue: 14)
    package static let blocked = ExtendedError(rawValue: 15)
    package static let filtered = ExtendedError(rawValue: 17)
    package static let prohibited = ExtendedError(rawValue: 18)
    package static let notSupported = ExtendedError(rawValue: 21)
    package static let noReachableAuthority = ExtendedError(rawValue: 22)
}
