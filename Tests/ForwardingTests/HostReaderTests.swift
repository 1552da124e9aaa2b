import Testing
import Wire

@testable import Forwarding

/// What host a connection asks for.
struct HostReaderTests {
    // MARK: TLS

    private func vector16(_ bytes: [UInt8]) -> [UInt8] {
        [UInt8(bytes.count >> 8), UInt8(truncatingIfNeeded: bytes.count)] + bytes
    }

    private func serverName(_ name: String, type: UInt8 = 0) -> [UInt8] {
        [0, 0] + vector16(vector16([type] + vector16(Array(name.utf8))))
    }

    /// A ClientHello as RFC 8446 section 4.1.2 has it, without its record.
    private func hello(_ extensions: [UInt8]) -> [UInt8] {
        let body =
            [3, 3] + [UInt8](repeating: 7, count: 32) + [4, 1, 2, 3, 4] + vector16([0x13, 1]) + [1, 0]
            + vector16(extensions)
        return [1, 0, UInt8(body.count >> 8), UInt8(truncatingIfNeeded: body.count)] + body
    }

    private func record(_ bytes: some Collection<UInt8>) -> [UInt8] { [22, 3, 1] + vector16(Array(bytes)) }

    /// Another extension, which says nothing of hosts.
    private let versions: [UInt8] = [0, 43, 0, 3, 2, 3, 4]

    @Test func `a ClientHello says the host, wherever it is cut`() throws {
        let bytes = record(hello(versions + serverName("API.Example.com")))
        for length in 0..<bytes.count { #expect(try HostReader.read(Array(bytes.prefix(length))) == nil) }
        let request = try #require(try HostReader.read(bytes))
        #expect(request.host == "api.example.com")
        #expect(request.bytes == bytes && !request.isHTTP)
        let message = hello(serverName("a.example"))
        for size in [1, 2, 3, 4, 5, 40] {
            var records: [UInt8] = []
            for start in stride(from: 0, to: message.count, by: size) {
                records += record(message[start..<min(start + size, message.count)])
            }
            #expect(try HostReader.read(records)?.host == "a.example")
        }
        // What the client sends before it is answered.
        #expect(try HostReader.read(bytes + [23, 3, 3, 0, 1, 0])?.bytes.count == bytes.count + 6)
    }

    @Test func `a ClientHello that names no host, or hides one, is refused`() {
        #expect(throws: HostRefusal.noHost) { try HostReader.read(record(hello(versions))) }
        #expect(throws: HostRefusal.encrypted) {
            try HostReader.read(record(hello(serverName("a.example") + [0xfe, 0x0d, 0, 1, 0])))
        }
        for broken in [
            serverName("a.example") + serverName("b.example"), serverName("192.0.2.1"), serverName(""),
            serverName("a..example"), serverName("a.example", type: 1), serverName("a.example\u{0}"),
            [0, 0] + vector16(vector16([0] + vector16([97]) + [0] + vector16([98]))),
        ] {
            #expect(throws: HostRefusal.malformed) { try HostReader.read(record(hello(broken))) }
        }
    }

    @Test func `lengths that do not fit are refused`() {
        let message = hello(serverName("a.example"))
        // Something behind it in its record, an extension that is too long, a record that is empty.
        #expect(throws: HostRefusal.malformed) { try HostReader.read(record(message + [0])) }
        var long = message
        long[long.count - 11] = 99
        #expect(throws: HostRefusal.malformed) { try HostReader.read(record(long)) }
        #expect(throws: HostRefusal.malformed) { try HostReader.read([22, 3, 1, 0, 0]) }
        #expect(throws: HostRefusal.malformed) { try HostReader.read([22, 3, 1, 0xff, 0xff]) }
        #expect(throws: HostRefusal.tooLong) { try HostReader.read(record([1, 1, 0, 0])) }
        #expect(throws: HostRefusal.otherProtocol) { try HostReader.read(record([2, 0, 0, 0])) }
        #expect(throws: HostRefusal.otherProtocol) { try HostReader.read([22, 2, 1, 0, 1]) }
    }

    // MARK: HTTP

    private func read(_ text: String) throws -> HostRequest? { try HostReader.read(Array(text.utf8)) }

    @Test func `a request says the host, and goes on as the only one of its connection`() throws {
        let text =
            "POST /a?b HTTP/1.1\r\nhost:  API.example.com:8080 \r\nConnection: keep-alive, Upgrade\r\n"
            + "Upgrade: websocket\r\nContent-Length: 3\r\n\r\nabcGET"
        let head = "POST /a?b HTTP/1.1\r\nhost:  API.example.com:8080 \r\nContent-Length: 3\r\n"
        let request = try #require(try read(text))
        #expect(request.host == "api.example.com" && request.isHTTP)
        #expect(String(decoding: request.bytes, as: UTF8.self) == head + "Connection: close\r\n\r\nabcGET")
        let end = text.utf8.count - 6
        for length in 0..<end { #expect(try HostReader.read(Array(text.utf8.prefix(length))) == nil) }
        #expect(try read("GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n")?.host == "a.example")
        #expect(try read("OPTIONS * HTTP/1.0\r\nHost: a.example.\r\n\r\n")?.host == "a.example")
    }

    @Test(arguments: [
        "GET / HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example\r\n b.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a.example\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a.example\r\n\r\n",
        "GET / HTTP/1.1\nHost: a.example\n\n",
        "GET / HTTP/1.1\r\nX: \rHost: b.example\r\nHost: a.example\r\n\r\n",
        "GET http://b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET http://a.example@b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET ftp://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET //b.example\u{7f} HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example:80x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: [2001:db8::1]\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \r\n\r\n", "GET / HTTP/1.1\r\nX\u{0}: a\r\nHost: a.example\r\n\r\n",
    ])
    func `what servers could read as another host is refused`(text: String) {
        #expect(throws: HostRefusal.malformed) { try read(text) }
    }

    @Test func `neither TLS nor HTTP/1 is refused at once`() throws {
        for text in [
            "SSH-2.0-OpenSSH_9.6 hello\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "get / HTTP/1.1\r\n\r\n",
            "\u{1}", "\r\n", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            #expect(throws: HostRefusal.otherProtocol, "\(text)") { try read(text) }
        }
        #expect(throws: HostRefusal.noHost) { try read("GET / HTTP/1.1\r\nX: y\r\n\r\n") }
        let long = "GET / HTTP/1.1\r\nX: " + String(repeating: "a", count: HostReader.limit)
        #expect(throws: HostRefusal.tooLong) { try read(long) }
    }
}
