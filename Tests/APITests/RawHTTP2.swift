import NIOCore
import NIOHPACK
import Sys

/// Speaks just enough HTTP/2 (RFC 9113) to send what no gRPC library of ours would.
struct RawHTTP2: ~Copyable {
    private let socket: Descriptor

    init(_ path: String) throws { socket = try UnixSocket.connect(to: path) }

    /// Makes a call with an empty message, and reads to its end.
    /// - Parameter headers: all of the request's.
    /// - Returns: the header fields of the answer and of its trailers; later ones win.
    borrowing func call(_ headers: [(String, String)]) throws -> [String: String] {
        var encoder = HPACKEncoder(allocator: ByteBufferAllocator())
        var block = ByteBuffer()
        try encoder.encode(headers: HPACKHeaders(headers), to: &block)
        var bytes = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
        bytes += frame(type: 4, flags: 0, stream: 0, [])
        // END_HEADERS; then a message of no bytes, uncompressed, with END_STREAM.
        bytes += frame(type: 1, flags: 4, stream: 1, Array(block.readableBytesView))
        bytes += frame(type: 0, flags: 1, stream: 1, [0, 0, 0, 0, 0])
        try socket.write(bytes)
        return try readAnswer()
    }

    private func frame(type: UInt8, flags: UInt8, stream: UInt8, _ payload: [UInt8]) -> [UInt8] {
        [0, UInt8(payload.count >> 8), UInt8(payload.count & 255), type, flags, 0, 0, 0, stream] + payload
    }

    private borrowing func readAnswer() throws -> [String: String] {
        var decoder = HPACKDecoder(allocator: ByteBufferAllocator())
        var answer: [String: String] = [:]
        var bytes: [UInt8] = []
        while true {
            while bytes.count >= 9,
                case let length = Int(bytes[0]) << 16 | Int(bytes[1]) << 8 | Int(bytes[2]),
                bytes.count >= 9 + length
            {
                let (type, flags) = (bytes[3], bytes[4])
                let payload = Array(bytes[9..<(9 + length)])
                bytes.removeFirst(9 + length)
                // RST_STREAM and GOAWAY: the server wants none of it.
                if type == 3 || type == 7 { return answer }
                guard type == 1 else { continue }
                var block = ByteBuffer(bytes: payload)
                for header in try decoder.decodeHeaders(from: &block) { answer[header.name] = header.value }
                if flags & 1 == 1 { return answer }
            }
            let part = try socket.read(upTo: 4096)
            if part.isEmpty { return answer }
            bytes += part
        }
    }
}
