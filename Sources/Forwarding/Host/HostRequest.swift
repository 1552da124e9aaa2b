package import Wire

/// The host that a connection asks for, and what has been read of it so far.
struct HostRequest: Hashable, Sendable {
    /// In lower case, without a dot at its end.
    let host: String
    let isHTTP: Bool
    /// What goes to the server in place of what was read.
    let bytes: [UInt8]
}

/// A connection of an endpoint that asks for a host: what the manager is asked.
package struct HostClaim: Hashable, Sendable {
    /// Chosen by the forwarder.
    package var id: UInt32
    package var client: IPAddress
    package var destination: IPAddress
    package var port: UInt16
    package var host: String
    /// It was allowed before.
    package var isUnderWay: Bool

    package init(
        id: UInt32, client: IPAddress, destination: IPAddress, port: UInt16, host: String, isUnderWay: Bool
    ) {
        self.id = id
        self.client = client
        self.destination = destination
        self.port = port
        self.host = host
        self.isUnderWay = isUnderWay
    }
}

/// Why a connection asks for no host that anyone could allow.
package enum HostRefusal: UInt8, Hashable, Sendable, CaseIterable, Error {
    /// It begins as neither TLS nor HTTP/1.
    case otherProtocol = 1
    /// It says what those do not say, or says it in a way that servers read differently.
    case malformed
    /// It names no host: no SNI, no Host.
    case noHost
    /// Its ClientHello has a second one encrypted within (draft-ietf-tls-esni), whose host nobody sees.
    case encrypted
    /// It names no host within what is read of a connection, or within its time.
    case tooLong
    /// No rule allows the host.
    case notAllowed
    /// No manager was there to say.
    case undecided
}

/// Finds out what host a connection asks for, from its first bytes.
enum HostReader {
    /// Bytes that are read of a connection: a ClientHello, or the head of a request.
    static let limit = 16 << 10

    /// - Returns: nil while there is too little to tell.
    static func read(_ bytes: [UInt8]) throws(HostRefusal) -> HostRequest? {
        guard let first = bytes.first else { return nil }
        let request: HostRequest?
        switch first {
        case ClientHello.recordType: request = try ClientHello.host(bytes)
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): request = try RequestHead.host(bytes)
        default: throw .otherProtocol
        }
        if request == nil, bytes.count >= limit { throw .tooLong }
        return request
    }

    /// A name as rules have them; nil for what is none, such as an address.
    static func name(_ bytes: some BidirectionalCollection<UInt8>) -> String? {
        var labels = bytes.map { (65...90).contains($0) ? $0 | 0x20 : $0 }[...]
        if labels.last == UInt8(ascii: ".") { labels.removeLast() }
        guard (1...253).contains(labels.count) else { return nil }
        let parts = labels.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        let isName = parts.allSatisfy { label in
            (1...63).contains(label.count) && label.first != 45 && label.last != 45
                && label.allSatisfy {
                    (97...122).contains($0) || (48...57).contains($0) || $0 == 45 || $0 == 95
                }
        }
        guard isName, parts.last?.allSatisfy({ (48...57).contains($0) }) == false else { return nil }
        return String(decoding: labels, as: UTF8.self)
    }
}
