import GRPCCore
import Sys

@testable import API

/// A call by header fields of one's own, which no client of gRPC would send.
enum RawCall {
    /// Makes a call with an empty message, and reads to its end.
    /// - Returns: the status of the answer, or the HTTP status where it is no answer of gRPC's.
    static func make(_ path: String, _ fields: [(name: String, value: String)]) async throws -> Status {
        let loop = try EventLoop.shared
        let stream = try await loop.run {
            let connection = try Connection(calling: UnixSocket.connect(to: path), loop: loop)
            let stream = CallStream(on: connection, messageLimit: 1 << 20)
            try connection.begin(stream, fields)
            return stream
        }
        defer { loop.execute { stream.connection?.end() } }
        // Who is refused may be so before this.
        try? await stream.send([])
        try await loop.run { stream.conclude(.end) }
        while let part = try await stream.next() {
            if case .status(let status, _) = part { return status }
        }
        throw RPCError(code: .unknown, message: "no status")
    }
}
