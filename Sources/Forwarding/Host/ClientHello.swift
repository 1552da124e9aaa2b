internal import Wire

/// The first message of TLS (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2), as far as it says the host.
enum ClientHello {
    /// ContentType handshake (RFC 8446 section 5.1).
    static let recordType: UInt8 = 22
    private static let messageType: UInt8 = 1
    /// ExtensionType: server_name (RFC 6066 section 3), encrypted_client_hello (draft-ietf-tls-esni).
    private static let serverName: UInt16 = 0
    private static let encrypted: UInt16 = 0xfe0d

    /// - Returns: nil while the message is not whole.
    static func host(_ bytes: [UInt8]) throws(HostRefusal) -> HostRequest? {
        guard let message = try message(bytes) else { return nil }
        let name: ArraySlice<UInt8>?
        do throws(DecodeError) { name = try serverName(of: message) } catch { throw .malformed }
        guard let name else { throw .noHost }
        guard !name.isEmpty else { throw .encrypted }
        guard let host = HostReader.name(name) else { throw .malformed }
        return HostRequest(host: host, isHTTP: false, bytes: bytes)
    }

    /// Puts the message together from its records.
    private static func message(_ bytes: [UInt8]) throws(HostRefusal) -> [UInt8]? {
        var message: [UInt8] = []
        var rest = bytes[...]
        while true {
            if message.count >= 4 {
                guard message[0] == messageType else { throw .otherProtocol }
                let length = Int(message[1]) << 16 | Int(message[2]) << 8 | Int(message[3])
                guard length <= HostReader.limit else { throw .tooLong }
                // What follows it in its record would be another message, and there is none to follow.
                guard message.count <= 4 + length else { throw .malformed }
                if message.count == 4 + length { return message }
            }
            guard rest.count >= 5 else {
                if let type = rest.first, type != recordType { throw .otherProtocol }
                return nil
            }
            let start = rest.startIndex
            // Any version 3.x; its record's own is of no meaning.
            guard rest[start] == recordType, rest[start + 1] == 3 else { throw .otherProtocol }
            let length = Int(rest[start + 3]) << 8 | Int(rest[start + 4])
            // RFC 8446 section 5.1: fragments of handshakes are not empty, and no longer than this.
            guard (1...1 << 14).contains(length) else { throw .malformed }
            rest = rest.dropFirst(5)
            guard rest.count >= length else {
                // The first byte may tell already that nothing will come of it.
                if message.first ?? rest.first ?? messageType != messageType { throw .otherProtocol }
                return nil
            }
            message += rest.prefix(length)
            rest = rest.dropFirst(length)
        }
    }

    /// - Returns: nil where there is none; empty where there is another, encrypted.
    private static func serverName(of message: [UInt8]) throws(DecodeError) -> ArraySlice<UInt8>? {
        var reader = ByteReader(message[...])
        try reader.skip(4 + 2 + 32, "header, version, random")
        try reader.skip(Int(try reader.integer("session id", as: UInt8.self)), "session id")
        try reader.skip(Int(try reader.integerBE("cipher suites", as: UInt16.self)), "cipher suites")
        try reader.skip(Int(try reader.integer("compression", as: UInt8.self)), "compression")
        guard reader.remaining > 0 else { return nil }
        let length: UInt16 = try reader.integerBE("extensions")
        guard reader.remaining == Int(length) else {
            throw DecodeError("extensions", at: reader.offset, "do not end with the message")
        }
        var name: ArraySlice<UInt8>?
        var isEncrypted = false
        while reader.remaining > 0 {
            let type: UInt16 = try reader.integerBE("extension")
            let size: UInt16 = try reader.integerBE("extension's length")
            let content = try reader.take(Int(size), "extension")
            if type == encrypted { isEncrypted = true }
            guard type == serverName else { continue }
            // RFC 8446 section 4.2: no two of a type.
            guard name == nil else { throw DecodeError("server_name", at: reader.offset, "stands twice") }
            name = try hostName(content)
        }
        return isEncrypted ? [] : name
    }

    /// ServerNameList with one HostName: RFC 6066 section 3 has no other types, and no two of one.
    private static func hostName(_ content: ArraySlice<UInt8>) throws(DecodeError) -> ArraySlice<UInt8> {
        var reader = ByteReader(content)
        let list: UInt16 = try reader.integerBE("server names")
        let type: UInt8 = try reader.integer("name's type")
        let length: UInt16 = try reader.integerBE("name's length")
        let name = try reader.take(Int(length), "name")
        guard type == 0, length > 0, reader.remaining == 0, Int(list) == Int(length) + 3 else {
            throw DecodeError("server_name", at: 0, "is not one host name")
        }
        return name
    }
}
