internal import GRPCCore

/// The header fields of calls, and what they mean ("gRPC over HTTP/2").
enum CallFields {
    private static let contentType = "application/grpc"
    /// What gRPC says for itself: no metadata of the caller's.
    private static let reserved: Set<String> = [
        "content-type", "te", "grpc-encoding", "grpc-accept-encoding", "grpc-status", "grpc-message",
    ]

    /// Bytes of a status message.
    private static let messageLimit = 4_000

    // MARK: A client's

    static func request(_ method: MethodDescriptor, authority: String, _ metadata: Metadata) -> HeaderFields {
        [
            (":method", "POST"), (":scheme", "http"), (":path", "/\(method.fullyQualifiedMethod)"),
            (":authority", authority), ("te", "trailers"), ("content-type", contentType),
        ] + fields(metadata)
    }

    /// How an answer begins.
    enum Response {
        /// More will be said.
        case informational
        case accepted(Metadata)
        case refused(Status, Metadata)
    }

    static func response(_ fields: HeaderFields) -> Response {
        let code = first(":status", fields).flatMap { Int($0) } ?? 0
        if (100..<200).contains(code) { return .informational }
        guard code == 200 else {
            return .refused(Status(code: meaning(httpStatus: code), message: "HTTP status \(code)"), [:])
        }
        guard isCall(fields) else {
            return .refused(Status(code: .unknown, message: "the answer is not gRPC's"), [:])
        }
        if let encoding = first("grpc-encoding", fields), encoding != "identity" {
            let words = "the answer is encoded with \"\(encoding)\", which nobody asked for"
            return .refused(Status(code: .internalError, message: words), [:])
        }
        return .accepted(metadata(fields))
    }

    static func status(_ fields: HeaderFields) -> (Status, Metadata) {
        guard
            let code = first("grpc-status", fields).flatMap({ Int($0) }).flatMap(Status.Code.init(rawValue:))
        else {
            return (Status(code: .unknown, message: "the answer has no status"), metadata(fields))
        }
        let message = first("grpc-message", fields).map(PercentCoding.decoded) ?? ""
        return (Status(code: code, message: message), metadata(fields))
    }

    /// gRPC's "HTTP to gRPC Status Code Mapping".
    private static func meaning(httpStatus: Int) -> Status.Code {
        switch httpStatus {
        case 400: .internalError
        case 401: .unauthenticated
        case 403: .permissionDenied
        case 404: .unimplemented
        case 429, 502, 503, 504: .unavailable
        default: .unknown
        }
    }

    // MARK: A server's

    /// What a client asks for.
    enum Request {
        case call(MethodDescriptor, Metadata)
        /// The whole answer.
        case refused(HeaderFields)
    }

    static func request(_ fields: HeaderFields) -> Request {
        guard first(":method", fields) == "POST" else { return .refused([(":status", "405")]) }
        guard isCall(fields) else { return .refused([(":status", "415")]) }
        let path = first(":path", fields) ?? ""
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0].isEmpty, !parts[1].isEmpty, !parts[2].isEmpty else {
            let words = "\"\(path.prefix(100))\" names no method"
            return .refused(refusal(Status(code: .unimplemented, message: words)))
        }
        if let encoding = first("grpc-encoding", fields), encoding != "identity" {
            let words = "messages encoded with \"\(encoding.prefix(100))\" are not taken"
            return .refused(
                refusal(Status(code: .unimplemented, message: words)) + [("grpc-accept-encoding", "identity")]
            )
        }
        let method = MethodDescriptor(fullyQualifiedService: String(parts[1]), method: String(parts[2]))
        return .call(method, metadata(fields))
    }

    static func answer(_ metadata: Metadata) -> HeaderFields {
        [(":status", "200"), ("content-type", contentType)] + fields(metadata)
    }

    static func trailers(_ status: Status, _ metadata: Metadata) -> HeaderFields {
        var all: HeaderFields = [("grpc-status", "\(status.code.rawValue)")]
        // A header block of more than some 16 KiB reaches nobody, and a byte may take three.
        let message = String(decoding: status.message.utf8.prefix(messageLimit), as: UTF8.self)
        if !message.isEmpty { all.append(("grpc-message", PercentCoding.encoded(message))) }
        return all + fields(metadata)
    }

    /// A status that is all of the answer.
    static func refusal(_ status: Status, _ metadata: Metadata = [:]) -> HeaderFields {
        answer([:]) + trailers(status, metadata)
    }

    // MARK: Both

    private static func first(_ name: String, _ fields: HeaderFields) -> String? {
        fields.first { $0.name == name }?.value
    }

    /// "application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8".
    private static func isCall(_ fields: HeaderFields) -> Bool {
        guard let type = first("content-type", fields)?.lowercased(), type.hasPrefix(contentType) else {
            return false
        }
        return type.utf8.count == contentType.utf8.count
            || ["+", ";"].contains(type.dropFirst(contentType.count).first)
    }

    private static func metadata(_ fields: HeaderFields) -> Metadata {
        var metadata = Metadata()
        for (name, value) in fields where !name.hasPrefix(":") && !reserved.contains(name) {
            metadata.addString(value, forKey: name)
        }
        return metadata
    }

    /// Names and values that would break the block are left out.
    private static func fields(_ metadata: Metadata) -> HeaderFields {
        metadata.compactMap { name, value in
            let (name, value) = (name.lowercased(), value.encoded())
            let isSound =
                !name.isEmpty && !name.hasPrefix(":") && !reserved.contains(name)
                && name.utf8.allSatisfy { (0x21...0x7e).contains($0) }
                && value.utf8.allSatisfy { (0x20...0x7e).contains($0) }
            return isSound ? (name, value) : nil
        }
    }
}
