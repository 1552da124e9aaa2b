internal import Wire

/// The head of an HTTP/1 request (RFC 9112 sections 3 and 5), read as strictly as servers could.
///
/// One connection carries one request: the head goes on with `Connection: close`, after which a server takes no
/// other (RFC 9112 section 9.6). So nothing that comes later has to be looked at.
enum RequestHead {
    private static let lineEnd: [UInt8] = [13, 10]
    /// What concerns one connection alone (RFC 9110 section 7.6.1); an upgrade would be another protocol.
    private static let dropped: Set<String> = [
        "connection", "keep-alive", "proxy-connection", "upgrade", "http2-settings",
    ]

    /// - Returns: nil while the head is not whole.
    static func host(_ bytes: [UInt8]) throws(HostRefusal) -> HostRequest? {
        guard let end = try end(of: bytes) else { return nil }
        var lines = bytes[..<end].split(separator: 10, omittingEmptySubsequences: false).map { $0.dropLast() }
        // The last line end leaves an empty line behind it.
        lines.removeLast()
        guard let requestLine = lines.first else { throw .malformed }
        let target = try target(requestLine)
        var host: ArraySlice<UInt8>?
        var head = Array(requestLine) + lineEnd
        for line in lines.dropFirst() {
            let (name, value) = try field(line)
            if name == "host" {
                // RFC 9112 section 3.2: a request with more than one is to be refused.
                guard host == nil else { throw .malformed }
                host = value
            }
            if !dropped.contains(name) { head += line + lineEnd }
        }
        head += "Connection: close".utf8 + lineEnd + lineEnd
        guard let host else { throw .noHost }
        // RFC 9112 section 3.2.2: the authority of an absolute target counts, whatever Host says.
        guard let name = name(host), target == nil || target.flatMap(Self.name) == name else {
            throw .malformed
        }
        return HostRequest(host: name, isHTTP: true, bytes: head + bytes[(end + 2)...])
    }

    /// Where the empty line begins that ends the head.
    private static func end(of bytes: [UInt8]) throws(HostRefusal) -> Int? {
        var start = 0
        for (index, byte) in bytes.enumerated() {
            switch byte {
            case 10:
                guard index > start, bytes[index - 1] == 13 else { throw .malformed }
                if index == start + 1 { return start }
                start = index + 1
            case 0: throw .malformed
            default:
                // RFC 9112 section 2.2: a CR by itself is not to be taken for anything.
                if index > 0, bytes[index - 1] == 13 { throw .malformed }
            }
        }
        // What is no request will not become one.
        if start == 0 {
            guard isMethod(bytes.prefix { $0 != 32 }) else { throw .otherProtocol }
        }
        return nil
    }

    /// The authority of an absolute target; nil of one without.
    private static func target(_ line: ArraySlice<UInt8>) throws(HostRefusal) -> ArraySlice<UInt8>? {
        let parts = line.split(separator: 32, omittingEmptySubsequences: false)
        guard parts.count == 3, isMethod(parts[0]) else { throw .otherProtocol }
        let version = String(decoding: parts[2], as: UTF8.self)
        // "PRI * HTTP/2.0" is how HTTP/2 begins.
        guard version == "HTTP/1.1" || version == "HTTP/1.0" else { throw .otherProtocol }
        // A tunnel to anywhere.
        guard String(decoding: parts[0], as: UTF8.self) != "CONNECT" else { throw .malformed }
        let target = parts[1]
        guard target.allSatisfy({ $0 > 32 && $0 < 127 }) else { throw .malformed }
        if target.first == UInt8(ascii: "/") || target.elementsEqual("*".utf8) { return nil }
        for scheme in ["http://", "https://"]
        where String(decoding: target.prefix(scheme.utf8.count), as: UTF8.self).lowercased() == scheme {
            return target.dropFirst(scheme.utf8.count).prefix { !"/?#".utf8.contains($0) }
        }
        throw .malformed
    }

    /// A field's name in lower case, and its value without the spaces about it.
    private static func field(_ line: ArraySlice<UInt8>) throws(HostRefusal) -> (String, ArraySlice<UInt8>) {
        // A line that begins with a space would go on with the one before (RFC 9112 section 5.2), and a space before
        // the colon is read differently by everyone (section 5.1).
        guard let colon = line.firstIndex(of: UInt8(ascii: ":")), colon > line.startIndex,
            line[..<colon].allSatisfy(isToken)
        else { throw .malformed }
        var value = line[(colon + 1)...]
        while let first = value.first, first == 32 || first == 9 { value.removeFirst() }
        while let last = value.last, last == 32 || last == 9 { value.removeLast() }
        return (String(decoding: line[..<colon], as: UTF8.self).lowercased(), value)
    }

    /// The host of `host[:port]`.
    private static func name(_ authority: ArraySlice<UInt8>) -> String? {
        var host = authority
        if let colon = authority.firstIndex(of: UInt8(ascii: ":")) {
            let port = authority[(colon + 1)...]
            guard port.count <= 5, port.allSatisfy({ (48...57).contains($0) }) else { return nil }
            host = authority[..<colon]
        }
        return HostReader.name(host)
    }

    /// The longest that is registered has 16 letters (IANA "HTTP Method Registry").
    private static func isMethod(_ bytes: ArraySlice<UInt8>) -> Bool {
        (1...20).contains(bytes.count) && bytes.allSatisfy(isToken)
    }

    /// RFC 9110 section 5.6.2.
    private static func isToken(_ byte: UInt8) -> Bool {
        switch byte {
        case 48...57, 65...90, 97...122: true
        default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
        }
    }
}
