import Foundation
import Model
import Testing
import Wire

@Suite struct PublishedPortTests {
    private func parse(_ text: String) throws -> [String] { try PublishedPort.parse(text).map(\.description) }

    private func refusal(_ texts: String...) -> String {
        do {
            return "accepted: \(try PublishedPort.parse(texts))"
        } catch {
            return "\(error)"
        }
    }

    @Test func `a port leads to the same one where no other is named`() throws {
        #expect(try parse("80") == ["80:80/tcp"])
        #expect(try parse("53/udp") == ["53:53/udp"])
        #expect(try parse("192.0.2.1:80") == ["192.0.2.1:80:80/tcp"])
        #expect(try parse("[2001:db8::1]:80") == ["[2001:db8::1]:80:80/tcp"])
    }

    @Test func `address, ports and protocol are read in order`() throws {
        let port = try #require(try PublishedPort.parse("192.0.2.1:8080:80/udp").first)
        #expect(port.address == (try IPAddress("192.0.2.1")) && port.hostPort == 8080)
        #expect(port.endpointPort == 80 && port.transport == .udp)
        #expect(try parse("[::1]:65535:1/tcp") == ["[::1]:65535:1/tcp"])
        #expect(try parse("0.0.0.0:8080:80") == ["0.0.0.0:8080:80/tcp"])
    }

    @Test func `ranges lead to ranges of the same length`() throws {
        #expect(try parse("8000-8002:80-82") == ["8000:80/tcp", "8001:81/tcp", "8002:82/tcp"])
        #expect(try parse("[::]:7-8/udp") == ["[::]:7:7/udp", "[::]:8:8/udp"])
        #expect(try parse("5-5:6") == ["5:6/tcp"])
        #expect(try parse("65534-65535").count == 2)
        #expect(
            refusal("8000-8002:80")
                == "published port \"8000-8002:80\": 3 ports of the host cannot lead to 1 of the endpoint")
        #expect(refusal("9-8:8-9") == "published port \"9-8:8-9\": the range 9-8 ends before it begins")
        #expect(refusal("1-2000").hasSuffix("at most 1024 ports can be published at once"))
        #expect(refusal("1-1000", "2001-3000").hasSuffix("at most 1024 ports can be published at once"))
    }

    @Test(arguments: [
        "", ":", "80:", ":80", "0", "80:0", "0:80", "65536", "080808", "-1", "+80", "80-", "-80", "1-2-3",
        "a",
        "80/sctp", "80/", "80/TCP", "/tcp", "1:2:3", "1.2.3:80", "1.2.3.4", "1.2.3.4:", "1.2.3.4::80",
        "[::1]",
        "[::1]80", "[::1:80", "[1.2.3.4]:80", "::1:80", "[]:80", "[::1%eth0]:80", " 80", "80 ", "8\u{0660}",
    ])
    func `what is no published port is refused by one line that names it`(text: String) throws {
        let line = refusal(text)
        #expect(line.hasPrefix("published port \"\(text)\": ") && !line.contains("\n"))
    }

    @Test func `the same port twice is refused, whatever way it is said`() throws {
        #expect(
            refusal("80:1", "80:1") == "published port \"80:1\": 80:1/tcp is published twice")
        #expect(
            refusal("79-81:79-81", "80:1")
                == "published port \"80:1\": is in conflict with 80:80/tcp")
        #expect(refusal("80", "192.0.2.1:80").hasSuffix("in conflict with 80:80/tcp"))
        #expect(refusal("192.0.2.1:80", "0.0.0.0:80").hasSuffix("in conflict with 192.0.2.1:80:80/tcp"))
        for apart in [
            ["80", "80/udp"], ["192.0.2.1:80", "192.0.2.2:80"], ["0.0.0.0:80", "[::]:80"],
            ["81:80", "82:80"],
        ] {
            #expect(try PublishedPort.parse(apart).count == 2)
        }
    }

    @Test func `a port survives its text and its document`() throws {
        let ports = try PublishedPort.parse(["[2001:db8::1]:1-3:4-6/udp", "80", "192.0.2.1:81:82"])
        for port in ports { #expect(try PublishedPort.parse(port.description) == [port]) }
        let document = try JSONEncoder().encode(ports)
        #expect(try JSONDecoder().decode([PublishedPort].self, from: document) == ports)
        #expect(throws: (any Error).self) {
            try JSONDecoder().decode([PublishedPort].self, from: Data("[\"1-2\"]".utf8))
        }
    }

    @Test func `protocols without ports cannot be published`() throws {
        #expect(throws: ModelError.self) { try PublishedPort(hostPort: 1, endpointPort: 1, transport: .icmp) }
        #expect(throws: ModelError.self) { try PublishedPort(hostPort: 0, endpointPort: 1) }
    }
}
