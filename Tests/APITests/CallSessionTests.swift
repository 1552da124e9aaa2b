import NIOCore
import NIOHPACK
import Testing

@testable import API

/// The client's side of HTTP/2, fed by hand.
@Suite struct CallSessionTests {
    private typealias Frame = (kind: UInt8, flags: UInt8, stream: UInt32, payload: [UInt8])

    private static func bytes(_ kind: UInt8, _ flags: UInt8, _ stream: UInt32, _ payload: [UInt8])
        -> ByteBuffer
    {
        var buffer = ByteBuffer()
        buffer.writeInteger(UInt32(payload.count) << 8 | UInt32(kind))
        buffer.writeInteger(flags)
        buffer.writeInteger(stream)
        buffer.writeBytes(payload)
        return buffer
    }

    private static func headers(_ fields: [(String, String)]) -> [UInt8] {
        var encoder = HPACKEncoder(allocator: ByteBufferAllocator())
        var block = ByteBuffer()
        try? encoder.encode(headers: HPACKHeaders(fields), to: &block)
        return Array(block.readableBytesView)
    }

    /// What the session has to send, without the preface.
    private static func frames(_ session: inout CallSession) throws -> [Frame] {
        var frames: [Frame] = []
        var output = session.output
        session.output = ByteBuffer()
        if output.getString(at: output.readerIndex, length: 3) == "PRI" {
            output.moveReaderIndex(forwardBy: 24)
        }
        while let frame = try CallFrame.take(from: &output) {
            frames.append(
                (
                    frame.kind.rawValue, frame.flags.rawValue, frame.stream,
                    Array(frame.payload.readableBytesView)
                ))
        }
        #expect(output.readableBytes == 0)
        return frames
    }

    private static func started(_ messages: [UInt8]...) throws -> CallSession {
        var session = CallSession()
        for (index, message) in messages.enumerated() {
            let started = session.start(UInt64(index), head: CallSession.head(path: "/s/m"), message: message)
            #expect(started)
        }
        return session
    }

    private static let ok = headers([(":status", "200"), ("content-type", "application/grpc")])
    private static let done = headers([("grpc-status", "0")])

    @Test func `writes a request as other programs read it`() throws {
        var session = try Self.started([7, 8])
        let frames = try Self.frames(&session)
        #expect(frames.map(\.kind) == [4, 8, 1, 0])
        #expect(frames[3].payload == [0, 0, 0, 0, 2, 7, 8])
        #expect(frames[3].flags == 1)
        var decoder = HPACKDecoder(allocator: ByteBufferAllocator())
        var block = ByteBuffer(bytes: frames[2].payload)
        let decoded = try decoder.decodeHeaders(from: &block)
        #expect(
            decoded.map { "\($0.name) \($0.value)" } == [
                ":method POST", ":scheme http", ":path /s/m", ":authority localhost",
                "content-type application/grpc", "te trailers",
            ])
    }

    @Test func `reads an answer however it is cut`() throws {
        var answer = Self.bytes(4, 0, 0, [])
        for part in [
            Self.bytes(1, 4, 1, Self.ok), Self.bytes(0, 8, 1, [2, 0, 0, 0, 0, 3, 1, 9, 9]),
            Self.bytes(0, 0, 1, [2, 3]),
            Self.bytes(1, 1, 1, []), Self.bytes(9, 4, 1, Self.done),
        ] { answer.writeImmutableBuffer(part) }
        for size in [1, 2, 7, 1000] {
            var session = try Self.started([])
            var rest = answer
            while rest.readableBytes > 0 {
                let part = rest.readSlice(length: min(size, rest.readableBytes))
                try session.receive(try #require(part))
            }
            #expect(session.finished.map(\.outcome) == [.answer(ByteBuffer(bytes: [1, 2, 3]))])
            #expect(session.isIdle)
        }
    }

    @Test func `reads a status, its message decoded`() throws {
        var session = try Self.started([])
        let trailers = Self.headers([
            (":status", "200"), ("grpc-status", "5"), ("grpc-message", "no %22x%22 %zz"),
        ])
        try session.receive(Self.bytes(1, 5, 1, trailers))
        #expect(session.finished.map(\.outcome) == [.status(code: 5, message: "no \"x\" %zz")])
    }

    @Test func `sends a large message as far as the server's windows go`() throws {
        var session = try Self.started(Array(repeating: 1, count: 100_000))
        func expectSent(_ count: Int) throws {
            let data = try Self.frames(&session).filter { $0.kind == 0 }
            #expect(data.reduce(0) { $0 + $1.payload.count } == count)
        }
        try expectSent(65_535)
        try session.receive(Self.bytes(8, 0, 1, [0, 0, 0, 100]))
        try expectSent(0)
        try session.receive(Self.bytes(8, 0, 0, [0, 1, 0, 0]))
        try expectSent(100)
        // A larger initial window counts for what is under way too.
        try session.receive(Self.bytes(4, 0, 0, [0, 4, 0, 2, 0, 0]))
        try expectSent(100_005 - 65_635)
    }

    @Test func `keeps to the number of calls that the server takes at a time`() throws {
        var session = CallSession()
        try session.receive(Self.bytes(4, 0, 0, [0, 3, 0, 0, 0, 2]))
        for id in 0..<5 { _ = session.start(UInt64(id), head: CallSession.head(path: "/s/m"), message: []) }
        let first = try Self.frames(&session)
        #expect(first.filter { $0.kind == 1 }.map(\.stream) == [1, 3])
        try session.receive(Self.bytes(1, 5, 3, Self.headers([(":status", "200"), ("grpc-status", "12")])))
        #expect(session.finished.map(\.id) == [1])
        let second = try Self.frames(&session)
        #expect(second.filter { $0.kind == 1 }.map(\.stream) == [5])
    }

    @Test func `tells what was refused from what broke`() throws {
        var session = try Self.started([1], [2], [3])
        // RST_STREAM with REFUSED_STREAM; GOAWAY after stream 3; then the end.
        try session.receive(Self.bytes(3, 0, 1, [0, 0, 0, 7]))
        try session.receive(Self.bytes(7, 0, 0, [0, 0, 0, 3, 0, 0, 0, 0]))
        #expect(session.isEnding)
        let started = session.start(9, head: CallSession.head(path: "/s/m"), message: [])
        #expect(!started)
        session.connectionEnded()
        let outcomes = Dictionary(uniqueKeysWithValues: session.finished.map { ($0.id, $0.outcome) })
        #expect(outcomes == [0: .refused, 1: .broken, 2: .refused])
    }

    @Test func `answers pings and settings`() throws {
        var session = CallSession()
        _ = try Self.frames(&session)
        try session.receive(Self.bytes(6, 0, 0, [1, 2, 3, 4, 5, 6, 7, 8]))
        try session.receive(Self.bytes(6, 1, 0, [1, 2, 3, 4, 5, 6, 7, 8]))
        try session.receive(Self.bytes(4, 1, 0, []))
        try session.receive(Self.bytes(77, 0, 0, [1]))
        let frames = try Self.frames(&session)
        #expect(frames.map(\.kind) == [6])
        #expect(frames[0].flags == 1)
        #expect(frames[0].payload == [1, 2, 3, 4, 5, 6, 7, 8])
    }

    @Test func `resets a call that is cancelled and drops what still comes of it`() throws {
        var session = try Self.started([1])
        _ = try Self.frames(&session)
        session.cancel(0)
        #expect(session.finished.map(\.outcome) == [.broken])
        let frames = try Self.frames(&session)
        #expect(frames.map(\.kind) == [3])
        try session.receive(Self.bytes(1, 4, 1, Self.ok))
        try session.receive(Self.bytes(0, 0, 1, [0, 0, 0, 0, 0]))
        try session.receive(Self.bytes(1, 5, 1, Self.done))
        #expect(session.finished.count == 1)
    }

    @Test(arguments: [
        bytes(5, 4, 1, []), bytes(0, 8, 1, [9, 1]), bytes(1, 4, 1, [0xff]), bytes(1, 0x24, 1, [1]),
        bytes(9, 4, 1, []), bytes(4, 0, 0, [0, 4, 0xff, 0xff, 0xff, 0xff]),
        ByteBuffer(bytes: [0, 0x40, 1, 0, 0, 0, 0, 0, 1]),
    ])
    func `ends a connection over which nonsense comes`(nonsense: ByteBuffer) throws {
        var session = try Self.started([1])
        #expect(throws: CallFault.self) { try session.receive(nonsense) }
    }

    @Test func `never traps on any bytes`() throws {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<3_000 {
            var session = try Self.started([1], [2])
            for _ in 0..<6 {
                let payload = (0..<Int.random(in: 0...24, using: &generator)).map { _ in
                    UInt8.random(in: 0...255, using: &generator)
                }
                let frame = Self.bytes(
                    UInt8.random(in: 0...10, using: &generator), UInt8.random(in: 0...63, using: &generator),
                    UInt32.random(in: 0...4, using: &generator), payload)
                do { try session.receive(frame) } catch { break }
            }
            session.connectionEnded()
            #expect(session.finished.count == 2)
        }
    }
}
