import Testing
import Wire

@testable import DNS

/// Names outside, which all may ask for here.
struct UpstreamTests {
    private func fixture(
        udpSockets: Int = 8, tcpSockets: Int = 2, upstreams: Int = 1,
        settings: ResolverSettings = ResolverSettings()
    ) throws -> ResolverFixture {
        let fixture = try ResolverFixture(
            settings: settings, udpSockets: udpSockets, tcpSockets: tcpSockets, upstreams: upstreams)
        for address in ["10.1.0.2", "10.1.0.3", "10.1.0.11"] { try fixture.allowEverything(from: address) }
        _ = fixture.takeReleased()
        return fixture
    }

    private let name = "www.example.com"

    @Test func `a name is asked for once, and then answered from the cache as long as it is good`() throws {
        let fixture = try fixture()
        #expect(try fixture.ask(name) == nil)
        let sent = try #require(fixture.takeSent().first)
        #expect(sent.to == fixture.upstream)
        let asked = try PlainMessage(sent.message)
        #expect(asked.question.lowercased() == name && asked.additional.map(\.type) == [.opt])
        fixture.answer(sent, answers: [try MessageBuilder.a(name, "192.0.2.1", ttl: 60)])
        let answer = try PlainMessage(try #require(fixture.take().first).bytes)
        #expect(answer.id == 0x1234 && answer.question == name && !answer.isAuthoritative)
        #expect(answer.data == ["192.0.2.1"])
        #expect(fixture.takeReleased() == [sent.socket])
        fixture.now += 59_000
        #expect(
            try fixture.ask("WWW.example.com")?.answers.map(\.description) == [
                "WWW.example.com 1 1 192.0.2.1"
            ])
        fixture.now += 1000
        #expect(try fixture.ask(name) == nil)
        #expect(fixture.takeSent().count == 1)
    }

    @Test func `that there is no such name is remembered, and that there is nothing of a type`() throws {
        let fixture = try fixture()
        for (code, name) in [(3, "no.example.com"), (0, "empty.example.com")] {
            _ = try fixture.ask(name)
            fixture.answer(
                try #require(fixture.takeSent().first), code: code,
                authority: [MessageBuilder.soa("example.com", minimum: 30)])
            let first = try PlainMessage(try #require(fixture.take().first).bytes)
            #expect(Int(first.code.rawValue) == code && first.authority.map(\.type) == [.soa])
            fixture.now += 10_000
            let again = try #require(try fixture.ask(name))
            #expect(again.code == first.code && again.authority.map(\.ttl) == [20])
            fixture.now += 20_000
            #expect(try fixture.ask(name) == nil)
            _ = fixture.takeSent()
        }
    }

    @Test func `equal questions of several clients share one query and each gets its own answer`() throws {
        let fixture = try fixture()
        try fixture.send(MessageBuilder.query(name, id: 1))
        try fixture.send(MessageBuilder.query("WWW.EXAMPLE.COM", id: 2), from: "10.1.0.3")
        try fixture.send(MessageBuilder.query(name, .aaaa, id: 3))
        let sent = fixture.takeSent()
        #expect(sent.count == 2)
        fixture.answer(sent[0], answers: [try MessageBuilder.a(name, "192.0.2.1")])
        let replies = try fixture.take().map { try PlainMessage($0.bytes) }
        #expect(replies.map(\.id) == [1, 2])
        #expect(replies.map(\.question) == [name, "WWW.EXAMPLE.COM"])
    }

    @Test func `ids, sockets and letters' case are other ones for each query`() throws {
        let fixture = try fixture(udpSockets: 64)
        for number in 0..<60 {
            try fixture.send(MessageBuilder.query("abcdefgh\(number % 10)\(number / 10).example"))
        }
        let sent = fixture.takeSent()
        #expect(sent.count == 60)
        #expect(Set(sent.map(\.socket)).count == 60)
        #expect(Set(try sent.map { try PlainMessage($0.message).id }).count >= 58)
        #expect(Set(sent.map { Array($0.message[13..<21]) }).count >= 40)
    }

    @Test func `forged answers are passed over and the right one is taken`() throws {
        let fixture = try fixture()
        _ = try fixture.ask(name)
        let sent = try #require(fixture.takeSent().first)
        let lie = MessageBuilder.response(
            to: sent.message, answers: [try MessageBuilder.a(name, "203.0.113.66")])
        // From elsewhere; from another port; at another socket; with another id.
        fixture.deliver(lie, to: sent, from: fixture.other)
        fixture.deliver(lie, to: sent, from: UpstreamAddress(fixture.upstream.address, port: 5353))
        fixture.resolver.response(
            lie, 0..<lie.count, socket: sent.socket == 0 ? 1 : 0,
            from: .init(fixture.upstream.address, port: 53), at: fixture.now)
        var wrong = lie
        wrong[0] ^= 1
        fixture.deliver(wrong, to: sent)
        #expect(fixture.take().isEmpty && fixture.takeSent().isEmpty)
        fixture.answer(sent, answers: [try MessageBuilder.a(name, "192.0.2.1")])
        #expect(try PlainMessage(try #require(fixture.take().first).bytes).data == ["192.0.2.1"])
        // Too late.
        fixture.deliver(lie, to: sent)
        #expect(try fixture.ask(name)?.data == ["192.0.2.1"])
    }

    @Test func `a question that somebody guesses at, or whose case is not kept, goes over TCP`() throws {
        let fixture = try fixture()
        for guesses in [true, false] {
            let name = guesses ? "guessed.example" : "folded.example"
            _ = try fixture.ask(name)
            let sent = try #require(fixture.takeSent().first)
            var response = MessageBuilder.response(
                to: sent.message, answers: [try MessageBuilder.a(name, "203.0.113.66")])
            if guesses {
                response[1] ^= 1
                for _ in 0..<16 { fixture.deliver(response, to: sent) }
            } else {
                response[13] ^= 0x20
                fixture.deliver(response, to: sent)
            }
            let retry = try #require(fixture.takeSent().first)
            #expect(retry.socket >= 8, "the last two sockets are streams")
            fixture.answer(retry, answers: [try MessageBuilder.a(name, "192.0.2.1")])
            #expect(try PlainMessage(try #require(fixture.take().first).bytes).data == ["192.0.2.1"])
        }
    }

    @Test func `a truncated answer is asked for again over TCP`() throws {
        let fixture = try fixture()
        _ = try fixture.ask(name)
        let sent = try #require(fixture.takeSent().first)
        fixture.answer(sent, flags: 0x8380)
        let retry = try #require(fixture.takeSent().first)
        #expect(retry.socket >= 8 && retry.to == sent.to)
        fixture.answer(retry, answers: try (0..<100).map { try MessageBuilder.a(name, "192.0.2.\($0)") })
        #expect(try PlainMessage(try #require(fixture.take().first).bytes).isTruncated)
        try fixture.send(MessageBuilder.query(name), connection: 3)
        #expect(try PlainMessage(try #require(fixture.take().first).bytes).answers.count == 100)
    }

    @Test func `an upstream that does not know EDNS is asked without`() throws {
        let fixture = try fixture()
        _ = try fixture.ask(name)
        fixture.answer(try #require(fixture.takeSent().first), code: 1)
        let plain = try #require(fixture.takeSent().first)
        #expect(try PlainMessage(plain.message).additional.isEmpty)
        fixture.answer(plain, answers: [try MessageBuilder.a(name, "192.0.2.1")])
        #expect(fixture.take().count == 1)
        _ = try fixture.ask("other.example")
        #expect(try PlainMessage(try #require(fixture.takeSent().first).message).additional.isEmpty)
    }

    @Test func `a dead upstream is passed over, and asked again when its time has come`() throws {
        let fixture = try fixture(upstreams: 2)
        for number in 0..<2 {
            _ = try fixture.ask("a\(number).example")
            let sent = try #require(fixture.takeSent().first)
            #expect(sent.to == fixture.upstream)
            fixture.pass(milliseconds: 2000)
            let second = try #require(fixture.takeSent().first)
            #expect(second.to == fixture.other)
            fixture.answer(second, answers: [try MessageBuilder.a("a\(number).example", "192.0.2.1")])
            #expect(fixture.take().count == 1)
        }
        // Dead: nobody waits for it any more.
        _ = try fixture.ask("b.example")
        #expect(fixture.takeSent().map(\.to) == [fixture.other])
        // One query tries it again; the next ones do not.
        fixture.now += 6000
        _ = try fixture.ask("c.example")
        _ = try fixture.ask("d.example")
        let tries = fixture.takeSent()
        #expect(tries.map(\.to) == [fixture.upstream, fixture.other])
        fixture.answer(tries[0], answers: [try MessageBuilder.a("c.example", "192.0.2.1")])
        _ = try fixture.ask("e.example")
        #expect(fixture.takeSent().map(\.to) == [fixture.upstream])
    }

    @Test func `an upstream that refuses or cannot be reached is followed by the next at once`() throws {
        let fixture = try fixture(upstreams: 2)
        _ = try fixture.ask("a.example")
        fixture.answer(try #require(fixture.takeSent().first), code: 5)
        let second = try #require(fixture.takeSent().first)
        #expect(second.to == fixture.other)
        fixture.resolver.upstreamFailed(second.socket, at: fixture.now)
        _ = fixture.take()
        #expect(fixture.takeSent().map(\.to) == [fixture.upstream])
    }

    @Test func `when nobody answers the client is told, and soon told again without asking`() throws {
        let fixture = try fixture(upstreams: 2)
        _ = try fixture.ask("a.example")
        var tries = 0
        for _ in 0..<60 where fixture.resolver.outstanding > 0 {
            fixture.pass(milliseconds: 100)
            tries += fixture.takeSent().count
        }
        #expect(tries >= 2)
        let failed = try PlainMessage(try #require(fixture.take().first).bytes)
        #expect(failed.code == .serverFailure)
        #expect(try fixture.ask("a.example")?.code == .serverFailure)
        #expect(fixture.takeSent().isEmpty)
        fixture.now += 3000
        #expect(try fixture.ask("a.example") == nil)
    }

    @Test func `one client has so many queries waiting and no more`() throws {
        var settings = ResolverSettings()
        settings.outstanding = 20
        let fixture = try fixture(udpSockets: 4, settings: settings)
        for number in 0..<100 { try fixture.send(MessageBuilder.query("n\(number).example")) }
        let replies = try fixture.take().map { try PlainMessage($0.bytes) }
        #expect(replies.count == 80 && replies.allSatisfy { $0.code == .refused })
        // Another one's query takes the first socket that is free.
        #expect(fixture.takeSent().count == 4)
        try fixture.send(MessageBuilder.query("urgent.example"), from: "10.1.0.3")
        #expect(fixture.takeSent().isEmpty)
        let first = try #require(fixture.resolver.lookups.first { $0.value.socket == 0 })
        fixture.resolver.upstreamFailed(try #require(first.value.socket), at: fixture.now)
        _ = fixture.take()
        let next = try fixture.takeSent().map { try PlainMessage($0.message).question.lowercased() }
        #expect(next.contains("urgent.example"))
    }

    @Test func `all sockets are given back whatever becomes of a query`() throws {
        let fixture = try fixture(udpSockets: 3, upstreams: 2)
        var generator = SteadyGenerator()
        for round in 0..<300 {
            for number in 0..<3 { try fixture.send(MessageBuilder.query("r\(round)n\(number).example")) }
            for sent in fixture.takeSent() {
                switch generator.next() % 6 {
                case 0: fixture.answer(sent, code: 2)
                case 1: fixture.answer(sent, flags: 0x8380)
                case 2: fixture.resolver.upstreamFailed(sent.socket, at: fixture.now)
                case 3: break
                default: fixture.answer(sent, answers: [])
                }
            }
            fixture.pass(milliseconds: generator.next() % 500)
        }
        for _ in 0..<100 {
            fixture.pass(milliseconds: 100)
            _ = fixture.takeSent()
        }
        _ = fixture.take()
        #expect(fixture.resolver.lookups.isEmpty && fixture.resolver.outstanding == 0)
        #expect(fixture.resolver.lookupsByKey.isEmpty)
        #expect(fixture.resolver.endpoints.allSatisfy { $0.outstanding == 0 && $0.inFlight == 0 })
        for number in 0..<3 { try fixture.send(MessageBuilder.query("end\(number).example")) }
        #expect(fixture.takeSent().count == 3)
    }

    @Test func `other upstreams are asked what is under way, and nothing that the old ones said is kept`()
        throws
    {
        let fixture = try fixture()
        _ = try fixture.ask("a.example")
        fixture.answer(
            try #require(fixture.takeSent().first), answers: [try MessageBuilder.a("a.example", "192.0.2.1")])
        _ = fixture.take()
        _ = try fixture.ask("b.example")
        _ = fixture.takeSent()
        fixture.order(.upstreams([fixture.other]))
        #expect(fixture.takeSent().map(\.to) == [fixture.other])
        #expect(try fixture.ask("a.example") == nil)
        #expect(fixture.takeSent().map(\.to) == [fixture.other])
    }

    @Test func `a network with upstreams of its own asks those, and keeps its answers to itself`() throws {
        let fixture = try fixture()
        fixture.order(
            .network(
                NetworkDescription(
                    id: 2, name: "jobs", subnets: [try CIDR("10.2.0.0/24")], upstreams: [fixture.other])))
        try fixture.allowEverything(from: "10.2.0.2", listener: 1)
        _ = try fixture.ask(name)
        fixture.answer(
            try #require(fixture.takeSent().first), answers: [try MessageBuilder.a(name, "192.0.2.1")])
        _ = fixture.take()
        #expect(try fixture.ask(name, from: "10.2.0.2", listener: 1) == nil)
        #expect(fixture.takeSent().map(\.to) == [fixture.other])
    }

    @Test func `an answer with an address of the fabric is given without it, and counted`() throws {
        let fixture = try fixture()
        _ = try fixture.ask("rebind.example")
        fixture.answer(
            try #require(fixture.takeSent().first),
            answers: [try MessageBuilder.a("rebind.example", "10.2.0.2")])
        let answer = try PlainMessage(try #require(fixture.take().first).bytes)
        #expect(answer.code == .noError && answer.answers.isEmpty)
        fixture.pass(milliseconds: 1000)
        #expect(
            fixture.takeReports() == [
                .denied([
                    Denial(
                        client: ResolverFixture.web, name: try #require(DomainName("rebind.example")),
                        reason: .inside,
                        count: 1)
                ])
            ])
    }

    @Test func `who joins another's lookup does not wait for that one's share`() throws {
        let fixture = try fixture(udpSockets: 2)
        for number in 0..<4 { try fixture.send(MessageBuilder.query("n\(number).example")) }
        try fixture.send(MessageBuilder.query("n3.example", id: 9), from: "10.1.0.3")
        let first = try #require(fixture.takeSent().first)
        fixture.answer(first)
        #expect(
            try fixture.takeSent().map { try PlainMessage($0.message).question.lowercased() } == [
                "n3.example"
            ])
    }

    @Test func `that EDNS is not understood holds for the query where anybody may have said so`() throws {
        let fixture = try fixture()
        _ = try fixture.ask(name)
        let sent = try #require(fixture.takeSent().first)
        // FORMERR with a header alone.
        fixture.deliver(
            Array(sent.message[0..<2]) + MessageBuilder.word(0x8181) + [UInt8](repeating: 0, count: 8),
            to: sent)
        let plain = try #require(fixture.takeSent().first)
        #expect(try PlainMessage(plain.message).additional.isEmpty)
        _ = try fixture.ask("other.example.com")
        #expect(
            try PlainMessage(try #require(fixture.takeSent().first).message).additional.map(\.type) == [.opt])
    }

    @Test func `subnets of networks without names are the fabric's too`() throws {
        let fixture = try fixture()
        let outside = [try MessageBuilder.a(name, "10.9.0.1"), try MessageBuilder.a(name, "192.0.2.1")]
        func ask() throws -> [String] {
            _ = try fixture.ask(name)
            for sent in fixture.takeSent() { fixture.answer(sent, answers: outside) }
            return try fixture.take().flatMap { try PlainMessage($0.bytes).data }
        }
        #expect(try ask() == ["10.9.0.1", "192.0.2.1"])
        // What was remembered is asked again.
        fixture.order(.own([try CIDR("10.9.0.0/16")], isLast: true))
        #expect(try ask() == ["192.0.2.1"])
        #expect(try fixture.ask(name)?.data == ["192.0.2.1"])
        // The same once more changes nothing.
        fixture.order(.own([try CIDR("10.9.0.0/16")], isLast: true))
        #expect(try fixture.ask(name)?.data == ["192.0.2.1"])
    }

    @Test func `a network that comes makes the answers of before be asked again`() throws {
        let fixture = try fixture()
        _ = try fixture.ask(name)
        fixture.answer(
            try #require(fixture.takeSent().first), answers: [try MessageBuilder.a(name, "10.3.0.1")])
        _ = fixture.take()
        fixture.order(.network(NetworkDescription(id: 3, name: "new", subnets: [try CIDR("10.3.0.0/24")])))
        #expect(try fixture.ask(name) == nil)
    }

    @Test func `an address of the fabric is none of outside in IPv6's clothes either`() throws {
        let fixture = try fixture()
        _ = try fixture.ask(name, .aaaa)
        fixture.answer(
            try #require(fixture.takeSent().first),
            answers: ["::ffff:10.1.0.3", "2001:db8::1"].map {
                MessageBuilder.record(name, .aaaa, ttl: 60, try! IPAddress($0).bytes)
            })
        #expect(try PlainMessage(try #require(fixture.take().first).bytes).data == ["2001:db8::1"])
    }
}
