import Testing
import Wire

@testable import DNS

/// The fabric's own names, of which policy lets everything be known here.
struct LocalNameTests {
    private func fixture() throws -> ResolverFixture {
        let fixture = try ResolverFixture()
        for name in ["web", "db", "pool"] {
            for type in [RecordType.a] {
                _ = try fixture.ask("\(name).shop.forge.internal", type)
                fixture.decide(Verdict(.allowed))
                _ = fixture.take()
            }
        }
        return fixture
    }

    @Test(arguments: [
        "db.shop.forge.internal", "DB.Shop.Forge.INTERNAL", "db",
    ])
    func `an endpoint is found by its whole name and, in its network, by its bare one`(_ name: String) throws
    {
        let answer = try #require(try fixture().ask(name))
        #expect(answer.question == name)
        #expect(answer.code == .noError && answer.isAuthoritative)
        #expect(answer.answers == [.init(owner: name, type: .a, ttl: 5, data: "10.1.0.3")])
    }

    @Test func `addresses of both families, aliases, and the endpoint's own name without asking`() throws {
        let fixture = try ResolverFixture()
        #expect(try fixture.ask("web")?.data == ["10.1.0.2"])
        #expect(try fixture.ask("www", .aaaa)?.data == ["fd01::2"])
        #expect(try fixture.ask("www.shop.forge.internal", from: "fd01::2")?.data == ["10.1.0.2"])
        #expect(fixture.takeReports().isEmpty)
    }

    @Test func `a name without records of the type asked has an answer with nothing in it`() throws {
        let answer = try #require(try fixture().ask("db.shop.forge.internal", .aaaa))
        #expect(answer.code == .noError && answer.answers.isEmpty)
        #expect(answer.authority.map(\.owner) == ["forge.internal"])
        #expect(answer.authority.map(\.ttl) == [1])
    }

    @Test func `names that nobody has do not exist, and nobody outside is asked`() throws {
        let fixture = try fixture()
        for name in [
            "nobody.shop.forge.internal", "x.db.shop.forge.internal", "forge.forge.internal", "nobody",
        ] {
            #expect(try fixture.ask(name)?.code == .nameError, "\(name)")
        }
        // Another network's names exist under their whole name only.
        #expect(try fixture.ask("batch")?.code == .nameError)
        // The zone and the own network are there, with nothing at them; another network hides.
        #expect(try fixture.ask("shop.forge.internal")?.code == .noError)
        #expect(try fixture.ask("forge.internal", .soa)?.answers.map(\.type) == [.soa])
        #expect(try fixture.ask("jobs.forge.internal")?.code == .nameError)
        #expect(fixture.takeSent().isEmpty)
        #expect(fixture.takeReports().allSatisfy { if case .denied = $0 { true } else { false } })
    }

    @Test func `several endpoints with one alias take turns at the front`() throws {
        let fixture = try fixture()
        var firsts: [String] = []
        for _ in 0..<6 {
            let data = try #require(try fixture.ask("pool")).data
            #expect(Set(data) == ["10.1.0.11", "10.1.0.12", "10.1.0.13"])
            firsts.append(data[0])
        }
        #expect(Set(firsts).count == 3)
        #expect(Set(firsts.prefix(3)) == Set(firsts.suffix(3)))
    }

    @Test func `declared ports have service records, under aliases too`() throws {
        let fixture = try fixture()
        for name in ["web", "www"] {
            let answer = try #require(try fixture.ask("_http._tcp.\(name).shop.forge.internal", .srv))
            #expect(answer.data == ["8080 web.shop.forge.internal"])
        }
        // Above it is nothing, which is not the same as not being there (RFC 8020).
        #expect(try fixture.ask("_tcp.web.shop.forge.internal", .srv)?.code == .noError)
        #expect(try fixture.ask("_http._udp.web.shop.forge.internal", .srv)?.code == .nameError)
    }

    @Test func `addresses have names, both ways`() throws {
        let fixture = try fixture()
        #expect(try fixture.ask("3.0.1.10.in-addr.arpa", .ptr)?.data == ["db.shop.forge.internal"])
        let six = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.d.f.ip6.arpa"
        #expect(try fixture.ask(six, .ptr)?.data == ["web.shop.forge.internal"])
        #expect(try fixture.ask("99.0.1.10.in-addr.arpa", .ptr)?.code == .nameError)
        #expect(try fixture.ask("3.0.1.10.in-addr.arpa", .a)?.answers.isEmpty == true)
        #expect(fixture.takeSent().isEmpty)
    }

    @Test(arguments: ["03.0.1.10.in-addr.arpa", "256.0.1.10.in-addr.arpa", "x.0.1.10.in-addr.arpa"])
    func `another spelling of an address is another name`(_ name: String) throws {
        let fixture = try fixture()
        #expect(try fixture.ask(name, .ptr) == nil)
        // It is asked about as a name outside.
        #expect(fixture.takeReports().contains { if case .mayAskOutside = $0 { true } else { false } })
    }

    @Test func `names that mean something by themselves are not asked for outside`() throws {
        let fixture = try fixture()
        #expect(try fixture.ask("localhost")?.data == ["127.0.0.1"])
        #expect(try fixture.ask("a.localhost", .aaaa)?.data == ["::1"])
        #expect(try fixture.ask("x.invalid")?.code == .nameError)
        #expect(try fixture.ask("x.onion")?.code == .nameError)
        #expect(fixture.takeReports().isEmpty && fixture.takeSent().isEmpty)
    }

    @Test func `who asks for everything gets something small, and zones are not given away`() throws {
        let fixture = try fixture()
        #expect(try fixture.ask("db.shop.forge.internal", .any)?.answers.map(\.type) == [.hinfo])
        #expect(try fixture.ask("forge.internal", .axfr)?.code == .refused)
        try fixture.send(MessageBuilder.query("version.bind", .txt, class: 3))
        #expect(try PlainMessage(try #require(fixture.take().first).bytes).code == .refused)
    }

    @Test func `an endpoint's change and its end show at once`() throws {
        let fixture = try fixture()
        fixture.order(
            .endpoint(
                EndpointDescription(
                    id: ResolverFixture.db, network: 1, name: "store", addresses: [try IPAddress("10.1.0.4")])
            ))
        #expect(try fixture.ask("db")?.code == .nameError)
        #expect(try fixture.ask("store")?.data == ["10.1.0.4"])
        #expect(try fixture.ask("3.0.1.10.in-addr.arpa", .ptr)?.code == .nameError)
        fixture.order(.removeEndpoint(ResolverFixture.db))
        #expect(try fixture.ask("store")?.code == .nameError)
        // One of several goes: the others stay.
        fixture.order(.removeEndpoint(112))
        #expect(try #require(try fixture.ask("pool")).data.sorted() == ["10.1.0.11", "10.1.0.13"])
    }

    @Test func `another name of the network is in force at once`() throws {
        let fixture = try fixture()
        fixture.order(
            .network(NetworkDescription(id: 1, name: "store", subnets: [try CIDR("10.1.0.0/24")])))
        #expect(try fixture.ask("db.shop.forge.internal")?.code == .nameError)
        #expect(try fixture.ask("db.store.forge.internal")?.data == ["10.1.0.3"])
        #expect(try fixture.ask("3.0.1.10.in-addr.arpa", .ptr)?.data == ["db.store.forge.internal"])
    }

    @Test func `who takes an address takes no verdicts with it`() throws {
        let fixture = try fixture()
        // db is gone, and another endpoint comes to its place in every list.
        fixture.order(.removeEndpoint(ResolverFixture.db))
        fixture.order(
            .endpoint(
                EndpointDescription(id: 199, network: 1, name: "db", addresses: [try IPAddress("10.1.0.3")])))
        #expect(try fixture.ask("db") == nil)
        #expect(
            fixture.takeReports().last
                == .mayLearnPeer(
                    question: fixture.resolver.lastQuestion, client: ResolverFixture.web, target: 199))
    }

    @Test func `an answer that is too long for a datagram says so, and is whole over a stream`() throws {
        let fixture = try fixture()
        for number in 0..<100 {
            fixture.order(
                .endpoint(
                    EndpointDescription(
                        id: UInt64(1000 + number), network: 1, name: "many-\(number)", aliases: ["many"],
                        addresses: [try IPAddress("10.1.0.\(100 + number)")])))
        }
        _ = try fixture.ask("many")
        fixture.decide(Verdict(.allowed))
        _ = fixture.take()
        let plain = try #require(try fixture.ask("many"))
        #expect(plain.isTruncated && plain.answers.isEmpty)
        #expect(try fixture.ask("many", room: 4096)?.isTruncated == true)
        try fixture.send(MessageBuilder.query("many"), connection: 5)
        let reply = try #require(fixture.take().first)
        #expect(reply.client.connection == 5)
        #expect(try PlainMessage(reply.bytes).answers.count == 100)
    }

    @Test func `EDNS is spoken with who speaks it`() throws {
        let fixture = try fixture()
        #expect(try fixture.ask("db")?.additional.isEmpty == true)
        let answer = try #require(try fixture.ask("db", room: 1232))
        #expect(answer.additional.map(\.type) == [.opt])
        var newer = MessageBuilder.query("db", room: 1232)
        newer[newer.count - 5] = 1
        try fixture.send(newer)
        let refused = try PlainMessage(try #require(fixture.take().first).bytes)
        // RFC 6891 section 6.1.3: BADVERS is 16, whose upper bits are the OPT record's.
        #expect(refused.code == .noError && refused.answers.isEmpty)
        #expect(refused.additional.first?.ttl == 1 << 24)
    }
}
