import Testing
import Wire

@testable import DNS

/// Who may know what.
struct PolicyTests {
    @Test func `the manager is asked before a peer's name is told, and asked once`() throws {
        let fixture = try ResolverFixture()
        #expect(try fixture.ask("db") == nil)
        #expect(
            fixture.takeReports() == [
                .mayLearnPeer(question: 1, client: ResolverFixture.web, target: ResolverFixture.db)
            ])
        // Asked again meanwhile, by another name too.
        #expect(try fixture.ask("db.shop.forge.internal") == nil)
        #expect(fixture.takeReports().isEmpty)
        fixture.order(.verdict(question: 1, Verdict(.allowed)))
        let replies = fixture.take()
        #expect(try replies.map { try PlainMessage($0.bytes).data } == [["10.1.0.3"], ["10.1.0.3"]])
        #expect(try fixture.ask("db")?.data == ["10.1.0.3"])
        #expect(fixture.takeReports().isEmpty)
    }

    @Test func `a name that may not be known looks exactly like one that is not there`() throws {
        let fixture = try ResolverFixture()
        _ = try fixture.ask("db.shop.forge.internal", room: 1232)
        fixture.decide(Verdict(.denied, reason: .peer))
        _ = fixture.take()
        for type in [RecordType.a, .aaaa, .srv, .any, .soa] {
            try fixture.send(MessageBuilder.query("db.shop.forge.internal", type, room: 1232))
            let hidden = try #require(fixture.take().first).bytes
            try fixture.send(MessageBuilder.query("no.shop.forge.internal", type, room: 1232))
            var missing = try #require(fixture.take().first).bytes
            #expect(hidden.count == missing.count)
            missing.replaceSubrange(13..<15, with: Array("db".utf8))
            #expect(hidden == missing)
        }
    }

    @Test func `a bare name and an address that may not be known look like those that nobody has`() throws {
        let fixture = try ResolverFixture()
        // Names outside are nobody's here.
        _ = try fixture.ask("a.example")
        fixture.decide(Verdict(.denied, coversEverything: true))
        _ = try fixture.ask("db")
        fixture.decide(Verdict(.denied, reason: .peer))
        _ = fixture.take()
        func answer(_ name: String, _ type: RecordType) throws -> [UInt8] {
            try fixture.send(MessageBuilder.query(name, type, room: 1232))
            return try #require(fixture.take().first).bytes
        }
        for type in [RecordType.a, .aaaa, .srv, .txt, .any, .soa] {
            var missing = try answer("no", type)
            missing.replaceSubrange(13..<15, with: Array("db".utf8))
            #expect(try answer("db", type) == missing, "\(type)")
        }
        for type in [RecordType.ptr, .txt] {
            var missing = try answer("9.0.1.10.in-addr.arpa", type)
            missing[13] = UInt8(ascii: "3")
            #expect(try answer("3.0.1.10.in-addr.arpa", type) == missing, "\(type)")
        }
        fixture.pass(milliseconds: 1000)
        let denials = fixture.takeReports().flatMap { report -> [Denial] in
            guard case .denied(let denials) = report else { return [] }
            return denials
        }
        // Bare names of types that no host has are names outside.
        #expect(denials.first { $0.name == DomainName("db") && $0.reason == .peer }?.count == 3)
        #expect(denials.first { $0.name == DomainName("3.0.1.10.in-addr.arpa") }?.count == 2)
    }

    @Test func `a network that says so refuses openly, with the reason for who understands it`() throws {
        let fixture = try ResolverFixture()
        _ = try fixture.ask("web.shop.forge.internal", from: "10.2.0.2", listener: 1, room: 1232)
        fixture.decide(Verdict(.denied, reason: DenialReason(rawValue: 77)))
        let answer = try PlainMessage(try #require(fixture.take().first).bytes)
        #expect(answer.code == .refused)
        // Option 15, 2 bytes, code 18 "prohibited" (RFC 8914).
        #expect(answer.additional.map(\.data) == ["0 f 0 2 0 12"])
        fixture.pass(milliseconds: 1000)
        #expect(
            fixture.takeReports() == [
                .denied([
                    Denial(
                        client: ResolverFixture.batch,
                        name: try #require(DomainName("web.shop.forge.internal")),
                        reason: DenialReason(rawValue: 77), count: 1)
                ])
            ])
    }

    @Test func `of several endpoints with one alias those are told that may be known`() throws {
        let fixture = try ResolverFixture()
        #expect(try fixture.ask("pool") == nil)
        for report in fixture.takeReports() {
            guard case .mayLearnPeer(let question, _, let target) = report else { continue }
            #expect(fixture.take().isEmpty)
            fixture.order(.verdict(question: question, Verdict(target == 112 ? .denied : .allowed)))
        }
        let answer = try PlainMessage(try #require(fixture.take().first).bytes)
        #expect(answer.data.sorted() == ["10.1.0.11", "10.1.0.13"])
    }

    @Test func `strangers are refused, and the host is told everything`() throws {
        let fixture = try ResolverFixture()
        #expect(try fixture.ask("web.shop.forge.internal", from: "10.1.0.77")?.code == .refused)
        // An endpoint's address in another network's listener is a stranger's.
        #expect(try fixture.ask("web.shop.forge.internal", from: "10.1.0.2", listener: 1)?.code == .refused)
        #expect(
            try fixture.ask("db.shop.forge.internal", from: "127.0.0.1", listener: 2)?.data == ["10.1.0.3"])
        #expect(
            try fixture.ask("3.0.1.10.in-addr.arpa", .ptr, from: "127.0.0.1", listener: 2)?.data == [
                "db.shop.forge.internal"
            ])
        #expect(try fixture.ask("www.example.com", from: "127.0.0.1", listener: 2) == nil)
        #expect(fixture.takeSent().count == 1)
    }

    @Test func `no name outside is asked for before the manager has said yes`() throws {
        let fixture = try ResolverFixture()
        #expect(try fixture.ask("secrets.evil.example") == nil)
        #expect(fixture.takeSent().isEmpty)
        #expect(
            fixture.takeReports() == [
                .mayAskOutside(
                    question: 1, client: ResolverFixture.web,
                    name: try #require(DomainName("secrets.evil.example")))
            ])
        fixture.order(.verdict(question: 1, Verdict(.denied)))
        #expect(try PlainMessage(try #require(fixture.take().first).bytes).code == .nameError)
        #expect(fixture.takeSent().isEmpty)
        // The verdict is on this name alone.
        _ = try fixture.ask("other.evil.example")
        #expect(fixture.takeReports().count == 1)
    }

    @Test func `a verdict on everything is asked for once`() throws {
        let fixture = try ResolverFixture()
        _ = try fixture.ask("a.example")
        fixture.decide(Verdict(.denied, coversEverything: true))
        _ = fixture.take()
        for number in 0..<50 { #expect(try fixture.ask("n\(number).example")?.code == .nameError) }
        #expect(fixture.takeReports().isEmpty)
        fixture.order(.forgetVerdicts(client: nil))
        #expect(try fixture.ask("a.example") == nil)
        #expect(fixture.takeReports().count == 1)
    }

    @Test func `what was said of one client is forgotten, and of nobody else`() throws {
        let fixture = try ResolverFixture()
        for address in ["10.1.0.2", "10.1.0.11"] {
            _ = try fixture.ask("db", from: address)
            fixture.decide(Verdict(.allowed))
            _ = fixture.take()
        }
        fixture.order(.forgetVerdicts(client: ResolverFixture.web))
        #expect(try fixture.ask("db", from: "10.1.0.11") != nil)
        #expect(try fixture.ask("db") == nil)
    }

    // MARK: Learning

    private func learning(_ ttl: Int = 300) throws -> (ResolverFixture, id: UInt32) {
        let fixture = try ResolverFixture()
        _ = try fixture.ask("api.example.com")
        fixture.decide(Verdict(.learn))
        let sent = try #require(fixture.takeSent().first)
        fixture.answer(
            sent,
            answers: [
                MessageBuilder.cname("api.example.com", "edge.example.net", ttl: 900),
                try MessageBuilder.a("edge.example.net", "192.0.2.1", ttl: ttl),
                try MessageBuilder.a("edge.example.net", "192.0.2.2", ttl: ttl),
            ])
        let reports = fixture.takeReports()
        guard reports.count == 1, case .learn(let id, let client, let name, let addresses) = reports[0] else {
            Issue.record("\(reports)")
            throw DecodeError("report", at: 0, "no learning")
        }
        #expect(client == ResolverFixture.web)
        #expect(name.description == "api.example.com")
        #expect(
            try addresses == [
                LearntAddress(address: IPAddress("192.0.2.1"), ttl: UInt32(ttl)),
                LearntAddress(address: IPAddress("192.0.2.2"), ttl: UInt32(ttl)),
            ])
        return (fixture, id)
    }

    @Test func `an answer is given when its addresses can be reached, and not before`() throws {
        let (fixture, id) = try learning()
        #expect(fixture.take().isEmpty)
        fixture.order(.learnt(id: id, true))
        #expect(
            try PlainMessage(try #require(fixture.take().first).bytes).data == [
                "edge.example.net", "192.0.2.1", "192.0.2.2",
            ])
        // Known by now; with the cache's age nothing outlives what was learnt.
        fixture.now += 100_000
        #expect(try fixture.ask("api.example.com")?.answers.map(\.ttl) == [800, 200, 200])
        #expect(fixture.takeReports().isEmpty)
    }

    @Test func `what one client has learnt another one has not`() throws {
        let (fixture, id) = try learning()
        fixture.order(.learnt(id: id, true))
        _ = fixture.take()
        #expect(try fixture.ask("api.example.com", from: "10.1.0.3") == nil)
        fixture.decide(Verdict(.learn))
        #expect(fixture.take().isEmpty)
        fixture.order(.counters(request: 0))
        #expect(fixture.takeSent().isEmpty, "the answer is in the cache")
        fixture.order(.learnt(id: fixture.resolver.lastQuestion, true))
        #expect(fixture.take().count == 1)
    }

    @Test func `addresses that a service record hints at are learnt like any others`() throws {
        let fixture = try ResolverFixture()
        _ = try fixture.ask("api.example.com", .https)
        fixture.decide(Verdict(.learn))
        // RFC 9460: priority 1, the name itself, alpn "h2", two hints of each family.
        let data =
            [0, 1, 0] + [0, 1, 0, 3, 2] + Array("h2".utf8) + [0, 4, 0, 8, 192, 0, 2, 1, 192, 0, 2, 2]
            + [0, 6, 0, 16] + (try IPAddress("2001:db8::1")).bytes
        let sent = try #require(fixture.takeSent().first)
        fixture.answer(sent, answers: [MessageBuilder.record("api.example.com", .https, ttl: 60, data)])
        #expect(fixture.take().isEmpty)
        guard case .learn(_, _, _, let addresses)? = fixture.takeReports().last else {
            Issue.record("not learnt")
            return
        }
        #expect(addresses.map(\.address.description) == ["192.0.2.1", "192.0.2.2", "2001:db8::1"])
    }

    @Test func `another set of addresses is learnt anew`() throws {
        let (fixture, id) = try learning(5)
        fixture.order(.learnt(id: id, true))
        _ = fixture.take()
        fixture.now += 6000
        #expect(try fixture.ask("api.example.com") == nil)
        fixture.answer(
            try #require(fixture.takeSent().first),
            answers: [try MessageBuilder.a("api.example.com", "192.0.2.3")])
        #expect(fixture.take().isEmpty)
        guard case .learn(let id, _, _, _)? = fixture.takeReports().last else {
            Issue.record("not learnt")
            return
        }
        fixture.order(.learnt(id: id, true))
        #expect(try PlainMessage(try #require(fixture.take().first).bytes).data == ["192.0.2.3"])
    }

    @Test func `addresses that cannot be learnt are not given`() throws {
        var (fixture, id) = try learning()
        fixture.order(.learnt(id: id, false))
        #expect(try PlainMessage(try #require(fixture.take().first).bytes).code == .serverFailure)
        (fixture, id) = try learning()
        fixture.pass(milliseconds: 3001)
        #expect(try PlainMessage(try #require(fixture.take().first).bytes).code == .serverFailure)
        fixture.order(.learnt(id: id, true))
        #expect(fixture.take().isEmpty, "an answer comes once")
        #expect(fixture.resolver.outstanding == 0)
    }

    @Test func `an answer that was held back is not given to who has the address now`() throws {
        let (fixture, id) = try learning()
        fixture.order(.removeEndpoint(ResolverFixture.web))
        fixture.order(
            .endpoint(
                EndpointDescription(id: 300, network: 1, name: "new", addresses: [try IPAddress("10.1.0.2")]))
        )
        fixture.order(.learnt(id: id, true))
        #expect(fixture.take().isEmpty)
        #expect(fixture.resolver.outstanding == 0)
    }

    // MARK: Managers come and go

    @Test func `queries wait for a manager that is gone, and are put to the next one`() throws {
        let fixture = try ResolverFixture()
        _ = try fixture.ask("db")
        _ = try fixture.ask("www.example.com")
        let asked = fixture.takeReports()
        fixture.pass(milliseconds: 2000)
        fixture.order(.begin)
        try fixture.tellEverything()
        #expect(fixture.takeReports().isEmpty)
        fixture.order(.end)
        #expect(fixture.takeReports() == asked)
        fixture.order(.verdict(question: 1, Verdict(.allowed)))
        #expect(try PlainMessage(try #require(fixture.take().first).bytes).data == ["10.1.0.3"])
        // Nobody has answered the other one.
        fixture.pass(milliseconds: 1001)
        let failed = try PlainMessage(try #require(fixture.take().first).bytes)
        #expect(failed.code == .serverFailure && failed.question == "www.example.com")
        #expect(fixture.resolver.outstanding == 0)
    }

    @Test func `what a new manager does not mention is dropped when it has told everything`() throws {
        let fixture = try ResolverFixture()
        _ = try fixture.ask("db", from: "127.0.0.1", listener: 2)
        fixture.order(.begin)
        try fixture.tellEverything(without: ResolverFixture.db)
        #expect(
            try fixture.ask("db.shop.forge.internal", from: "127.0.0.1", listener: 2)?.data == ["10.1.0.3"])
        fixture.order(.end)
        #expect(try fixture.ask("db.shop.forge.internal", from: "127.0.0.1", listener: 2)?.code == .nameError)
        #expect(try fixture.ask("web")?.data == ["10.1.0.2"])
        fixture.order(.begin)
        fixture.order(.network(NetworkDescription(id: 2, name: "jobs", subnets: [])))
        fixture.order(.end)
        #expect(try fixture.ask("web")?.code == .refused, "its network is gone")
        #expect(!fixture.resolver.hasNetwork(1) && fixture.resolver.hasNetwork(2))
        #expect(fixture.resolver.table.count == 0)
    }

    @Test func `a verdict on an endpoint that is gone meanwhile is nobody's`() throws {
        let fixture = try ResolverFixture()
        _ = try fixture.ask("db")
        fixture.order(.removeEndpoint(ResolverFixture.db))
        fixture.order(
            .endpoint(
                EndpointDescription(id: 300, network: 1, name: "db", addresses: [try IPAddress("10.1.0.3")])))
        fixture.order(.verdict(question: 1, Verdict(.allowed)))
        #expect(fixture.take().isEmpty)
        #expect(
            fixture.takeReports().last == .mayLearnPeer(question: 2, client: ResolverFixture.web, target: 300)
        )
    }

    @Test func `who makes up names does not keep the manager busy`() throws {
        var settings = ResolverSettings()
        settings.questionsPerSecond = 50
        settings.outstanding = 10_000
        let fixture = try ResolverFixture(settings: settings)
        for number in 0..<1000 { try fixture.send(MessageBuilder.query("n\(number).example")) }
        #expect(fixture.takeReports().count == 100)
        let replies = try fixture.take().map { try PlainMessage($0.bytes) }
        #expect(replies.count == 900 && replies.allSatisfy { $0.code == .refused })
        // Another client's question is asked, and so is its own in time.
        try fixture.send(MessageBuilder.query("a.example"), from: "10.1.0.3")
        #expect(fixture.takeReports().count == 1)
        fixture.now += 100
        for number in 1000..<1100 { try fixture.send(MessageBuilder.query("n\(number).example")) }
        #expect(fixture.takeReports().count == 5)
    }

    @Test func `counters tell what each endpoint asked and why it was refused`() throws {
        let fixture = try ResolverFixture()
        _ = try fixture.ask("web")
        _ = try fixture.ask("db")
        fixture.decide(Verdict(.denied, reason: .peer))
        _ = fixture.take()
        _ = try fixture.ask("mfzwizlnnfxgs5dboqqhg33nmv2gq2lom4.evil.example")
        fixture.decide(Verdict(.denied, reason: .outside))
        _ = fixture.take()
        _ = try fixture.ask("x.example", from: "10.1.0.99")
        _ = fixture.take()
        _ = fixture.takeReports()
        fixture.order(.counters(request: 9))
        let reports = fixture.takeReports()
        guard reports.count == 1, case .counters(9, let counters, isLast: true) = reports[0] else {
            Issue.record("\(reports)")
            return
        }
        #expect(counters.count == 7)
        let web = try #require(counters.first { $0.endpoint == ResolverFixture.web })
        #expect(web.queries == 3 && web.local == 1)
        #expect(web.refused == [.peer: 1, .outside: 1])
        #expect(web.entropy > 3500 && web.labelBytes == 34)
        let strangers = try #require(counters.first { $0.endpoint == 0 })
        #expect(strangers.queries == 1 && strangers.refused == [.stranger: 1])
    }

    @Test func `denials of many names are told as a few`() throws {
        let fixture = try ResolverFixture()
        _ = try fixture.ask("a.example")
        fixture.decide(Verdict(.denied, coversEverything: true))
        _ = fixture.take()
        for number in 0..<5000 { _ = try fixture.ask("n\(number).example") }
        fixture.pass(milliseconds: 1000)
        let reports = fixture.takeReports()
        guard reports.count == 1, case .denied(let denials) = reports[0] else {
            Issue.record("\(reports.count)")
            return
        }
        #expect(denials.count <= DenialLedger.namesOfOne + 1)
        #expect(denials.reduce(0) { $0 + Int($1.count) } == 5001)
    }

    // MARK: Hidden and absent

    private static let hidden = ["db.shop.forge.internal", "db"]

    /// What is answered to one more of these than may wait, and when nobody has decided on the others.
    private func undecided(_ name: String, from address: String, listener: Int32) throws -> [[UInt8]] {
        var settings = ResolverSettings()
        settings.outstanding = 4
        let fixture = try ResolverFixture(settings: settings)
        for id in 0..<5 {
            try fixture.send(
                MessageBuilder.query(name, id: UInt16(id), room: 1232), from: address, listener: listener)
        }
        var replies = fixture.take()
        fixture.pass(milliseconds: 3001)
        replies += fixture.take()
        return replies.sorted { $0.bytes[1] < $1.bytes[1] }.map(\.bytes)
    }

    @Test(arguments: hidden)
    func `a name that nobody decides on looks like one that is not there`(name: String) throws {
        let found = try undecided(name, from: "10.1.0.2", listener: 0)
        var missing = try undecided("no" + name.dropFirst(2), from: "10.1.0.2", listener: 0)
        for index in missing.indices { missing[index].replaceSubrange(13..<15, with: Array("db".utf8)) }
        #expect(found.count == 5)
        #expect(found == missing)
    }

    @Test func `a name that nobody decides on is refused where that is the network's way`() throws {
        let found = try undecided("db.shop.forge.internal", from: "10.2.0.2", listener: 1)
        let fixture = try ResolverFixture()
        try fixture.send(
            MessageBuilder.query("db.shop.forge.internal", id: 0, room: 1232), from: "10.2.0.2", listener: 1)
        fixture.decide(Verdict(.denied, reason: .peer))
        let denied = try #require(fixture.take().first).bytes
        #expect(found.count == 5 && found.allSatisfy { $0.dropFirst(2) == denied.dropFirst(2) })
    }

    @Test func `why a name was not told is counted, whatever it looked like`() throws {
        var settings = ResolverSettings()
        settings.outstanding = 4
        let fixture = try ResolverFixture(settings: settings)
        for _ in 0..<6 { try fixture.send(MessageBuilder.query("db.shop.forge.internal")) }
        fixture.pass(milliseconds: 3001)
        #expect(fixture.take().count == 6)
        let web = fixture.resolver.endpoints.first { $0.description.id == ResolverFixture.web }
        #expect(web?.counters.refused == [.outstanding: 2, .undecided: 4])
        #expect(fixture.resolver.outstanding == 0)
    }

    // MARK: Many addresses

    /// An answer with so many addresses, to a client that must learn them.
    private func learning(of count: Int) throws -> (ResolverFixture, [LearntAddress], UInt32) {
        let fixture = try ResolverFixture()
        _ = try fixture.ask("many.example.com")
        fixture.decide(Verdict(.learn))
        fixture.answer(
            try #require(fixture.takeSent().first),
            answers: try (0..<count).map {
                try MessageBuilder.a("many.example.com", "192.0.\($0 / 250).\($0 % 250)")
            })
        guard case .learn(let id, _, _, let addresses)? = fixture.takeReports().last else {
            Issue.record("not learnt")
            return (fixture, [], 0)
        }
        return (fixture, addresses, id)
    }

    @Test func `of an answer with very many addresses as many are told as are learnt`() throws {
        for (count, told) in [(64, 64), (65, 64), (1000, 64)] {
            let (fixture, addresses, id) = try learning(of: count)
            #expect(addresses.count == told)
            fixture.order(.learnt(id: id, true))
            _ = fixture.take()
            try fixture.send(MessageBuilder.query("many.example.com"), connection: 7)
            let answer = try PlainMessage(try #require(fixture.take().first).bytes)
            #expect(answer.data == addresses.map(\.address.description))
        }
    }

    @Test func `addresses are charged for, each as much as a question`() throws {
        var settings = ResolverSettings()
        settings.questionsPerSecond = 50
        let fixture = try ResolverFixture(settings: settings)
        for number in 0..<3 {
            try fixture.send(MessageBuilder.query("n\(number).example.com"))
            fixture.decide(Verdict(.learn))
            guard number < 2 else { break }
            fixture.answer(
                try #require(fixture.takeSent().first),
                answers: try (0..<60).map { try MessageBuilder.a("n\(number).example.com", "192.0.2.\($0)") })
        }
        let replies = try fixture.take().map { try PlainMessage($0.bytes) }
        // The first is held back, the second would be too much; to ask is not.
        #expect(replies.map(\.code) == [.refused])
        #expect(fixture.takeSent().count == 1)
    }
}
