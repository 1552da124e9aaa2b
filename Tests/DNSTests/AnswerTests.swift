import Testing
import Wire

@testable import DNS

/// What is taken from an upstream's message, and what is not.
struct AnswerTests {
    private let rules = AnswerRules()

    private func question(_ name: String, _ type: RecordType = .a, signatures: Bool = false) throws
        -> UpstreamQuestion
    {
        let name = try #require(DomainName(name))
        var question = UpstreamQuestion(
            id: 0, name: name, cased: [], type: type, wantsSignatures: signatures, checkingDisabled: false)
        var generator: any RandomNumberGenerator = SteadyGenerator()
        question.randomize(using: &generator)
        return question
    }

    private func examine(
        _ question: UpstreamQuestion, _ bytes: [UInt8], overTCP: Bool = false
    ) -> UpstreamOutcome {
        question.examine(bytes, 0..<bytes.count, overTCP: overTCP, rules: rules) { _, data in
            data.starts(with: [10, 1, 0])
        }
    }

    private func body(_ outcome: UpstreamOutcome) throws -> AnswerBody {
        guard case .answer(let body) = outcome else {
            Issue.record("\(outcome)")
            throw DecodeError("outcome", at: 0, "no answer")
        }
        return body
    }

    /// The answer as a client would see it.
    private func message(_ question: UpstreamQuestion, _ outcome: UpstreamOutcome) throws -> PlainMessage {
        let body = try body(outcome)
        return try PlainMessage(
            MessageBuilder.word(1) + MessageBuilder.word(0x8180 | Int(body.code.rawValue))
                + MessageBuilder.word(1)
                + MessageBuilder.word(Int(body.answers)) + MessageBuilder.word(Int(body.authority))
                + MessageBuilder.word(0) + question.name.wire
                + MessageBuilder.word(Int(question.type.rawValue)) + MessageBuilder.word(1) + body.records)
    }

    @Test func `the case of letters is chosen at random and must come back`() throws {
        let question = try question("www.example.com")
        #expect(question.cased != question.name.wire)
        #expect(question.cased.map(lowerCased) == question.name.wire)
        var response = MessageBuilder.response(
            to: question.message, answers: [try MessageBuilder.a("www.example.com", "192.0.2.1")])
        #expect(try message(question, examine(question, response)).data == ["192.0.2.1"])
        response[13] ^= 0x20
        #expect(examine(question, response) == .caseDiffers)
        // Over TCP nobody can have guessed it.
        #expect(try message(question, examine(question, response, overTCP: true)).data == ["192.0.2.1"])
    }

    @Test func `another id, name, type or class, a query, and other operations are no answer`() throws {
        let question = try question("www.example.com")
        let right = MessageBuilder.response(to: question.message)
        for (place, bit) in [(0, 1), (1, 1), (2, 0x80), (2, 0x08), (14, 1), (30, 1), (32, 2)]
            as [(Int, UInt8)]
        {
            var wrong = right
            wrong[place] ^= bit
            #expect(examine(question, wrong) == .ignored, "byte \(place)")
        }
        var none = right
        none[5] = 0
        #expect(examine(question, none) == .ignored)
        for length in 0..<right.count { #expect(examine(question, Array(right.prefix(length))) == .ignored) }
    }

    @Test func `aliases are followed and everything beside the chain is passed over`() throws {
        let question = try question("www.example.com")
        let outcome = examine(
            question,
            MessageBuilder.response(
                to: question.message,
                answers: [
                    // In no order; a stranger's address, and one for the bank.
                    try MessageBuilder.a("edge.cdn.example", "192.0.2.7", ttl: 30),
                    try MessageBuilder.a("bank.example", "203.0.113.66"),
                    MessageBuilder.cname("www.example.com", "www.cdn.example", ttl: 600),
                    MessageBuilder.cname("www.cdn.example", "edge.cdn.example", ttl: 60),
                ],
                authority: [
                    MessageBuilder.record("bank.example", .ns, ttl: 9999, MessageBuilder.name("evil.example"))
                ],
                additional: [try MessageBuilder.a("evil.example", "203.0.113.66")]))
        let answer = try message(question, outcome)
        #expect(
            answer.answers.map(\.description) == [
                "www.example.com 5 600 www.cdn.example", "www.cdn.example 5 60 edge.cdn.example",
                "edge.cdn.example 1 30 192.0.2.7",
            ])
        #expect(answer.authority.isEmpty && answer.additional.isEmpty)
        #expect(try body(outcome).lifetime == 30)
    }

    @Test func `aliases that lead in a circle, or on and on, are a failure`() throws {
        let question = try question("a.example")
        let circle = [
            MessageBuilder.cname("a.example", "b.example"), MessageBuilder.cname("b.example", "a.example"),
        ]
        #expect(
            examine(question, MessageBuilder.response(to: question.message, answers: circle))
                == .failed(.serverFailure))
        var chain = (0..<20).map { MessageBuilder.cname("n\($0).example", "n\($0 + 1).example") }
        chain[0] = MessageBuilder.cname("a.example", "n1.example")
        #expect(
            examine(question, MessageBuilder.response(to: question.message, answers: chain))
                == .failed(.serverFailure))
    }

    @Test func `addresses of the fabric are taken out of answers from outside`() throws {
        let question = try question("rebind.example")
        let outcome = examine(
            question,
            MessageBuilder.response(
                to: question.message,
                answers: [
                    try MessageBuilder.a("rebind.example", "10.1.0.3"),
                    try MessageBuilder.a("rebind.example", "192.0.2.9"),
                ]))
        #expect(try message(question, outcome).data == ["192.0.2.9"])
    }

    @Test func `what is not there is kept for as long as the SOA of a zone above it says`() throws {
        let question = try question("nothing.example.com")
        func lifetime(_ authority: [[UInt8]], code: Int = 3) throws -> UInt32 {
            try body(
                examine(
                    question, MessageBuilder.response(to: question.message, code: code, authority: authority))
            ).lifetime
        }
        #expect(try lifetime([MessageBuilder.soa("example.com", ttl: 600, minimum: 60)]) == 60)
        #expect(try lifetime([MessageBuilder.soa("example.com", ttl: 20, minimum: 60)]) == 20)
        #expect(try lifetime([MessageBuilder.soa("com", ttl: 90_000, minimum: 90_000)], code: 0) == 3600)
        // No SOA, or somebody else's: nobody knows for how long.
        #expect(try lifetime([]) == 0)
        #expect(try lifetime([MessageBuilder.soa("example.org")]) == 0)
        #expect(try lifetime([MessageBuilder.soa("x.nothing.example.com")]) == 0)
    }

    @Test func `times to live are bounded and the top bit means none`() throws {
        let question = try question("www.example.com")
        func lifetime(_ ttl: Int) throws -> UInt32 {
            try body(
                examine(
                    question,
                    MessageBuilder.response(
                        to: question.message,
                        answers: [try MessageBuilder.a("www.example.com", "192.0.2.1", ttl: ttl)]))
            ).lifetime
        }
        #expect(try lifetime(1_000_000) == 86_400)
        #expect(try lifetime(0x8000_0001) == 0)
        #expect(try lifetime(7) == 7)
    }

    @Test func `truncation, errors and ignorance of EDNS are told apart`() throws {
        var question = try question("www.example.com")
        func outcome(_ code: Int, flags: Int = 0x8180, overTCP: Bool = false) -> UpstreamOutcome {
            examine(
                question, MessageBuilder.response(to: question.message, code: code, flags: flags),
                overTCP: overTCP)
        }
        #expect(outcome(0, flags: 0x8380) == .truncated)
        #expect(outcome(0, flags: 0x8380, overTCP: true) == .failed(.serverFailure))
        #expect(outcome(2) == .failed(.serverFailure))
        #expect(outcome(5) == .failed(.refused))
        #expect(outcome(1) == .withoutEDNS(repeatsQuestion: true))
        #expect(outcome(4) == .withoutEDNS(repeatsQuestion: true))
        question.usesEDNS = false
        #expect(outcome(1) == .failed(.formatError))
    }

    @Test func `compressed names in data are written out and compressed again`() throws {
        let question = try question("example.com", .mx)
        // 10 mail.<example.com>, with a pointer into the question.
        let data = MessageBuilder.word(10) + [4] + Array("mail".utf8) + [0xc0, 12]
        let outcome = examine(
            question,
            MessageBuilder.response(
                to: question.message,
                answers: [MessageBuilder.record("example.com", .mx, ttl: 60, data)]))
        let answer = try body(outcome)
        // Owner and the end of the name are pointers to the question.
        #expect(
            answer.records == [0xc0, 12, 0, 15, 0, 1, 0, 0, 0, 60, 0, 9, 0, 10, 4] + Array("mail".utf8) + [
                0xc0, 12,
            ])
    }

    @Test func `records whose data are not what their type says break the answer`() throws {
        let question = try question("www.example.com")
        for data in [[192, 0, 2], [192, 0, 2, 1, 1], []] as [[UInt8]] {
            #expect(
                examine(
                    question,
                    MessageBuilder.response(
                        to: question.message,
                        answers: [MessageBuilder.record("www.example.com", .a, ttl: 60, data)]))
                    == .failed(.serverFailure))
        }
        var cut = MessageBuilder.response(
            to: question.message, answers: [try MessageBuilder.a("www.example.com", "192.0.2.1")])
        cut.removeLast()
        #expect(examine(question, cut) == .failed(.serverFailure))
    }

    @Test func `signatures come along for who wants them`() throws {
        let question = try question("www.example.com", signatures: true)
        let signature = MessageBuilder.record(
            "www.example.com", .rrsig, ttl: 60, [0, 1] + [UInt8](repeating: 9, count: 30))
        let other = MessageBuilder.record(
            "www.example.com", .rrsig, ttl: 60, [0, 28] + [UInt8](repeating: 9, count: 30))
        let answer = try message(
            question,
            examine(
                question,
                MessageBuilder.response(
                    to: question.message,
                    answers: [try MessageBuilder.a("www.example.com", "192.0.2.1"), other, signature])))
        #expect(answer.answers.map(\.type) == [.a, .rrsig])
    }

    private static func signature(_ owner: String, of type: RecordType) -> [UInt8] {
        MessageBuilder.record(
            owner, .rrsig, ttl: 60,
            MessageBuilder.word(Int(type.rawValue)) + [UInt8](repeating: 0, count: 16)
                + MessageBuilder.name("example.com") + [1, 2, 3])
    }

    /// `a.example.com NSEC z.example.com`, with an empty list of types.
    private static let proof = MessageBuilder.record(
        "a.example.com", .nsec, ttl: 60, MessageBuilder.name("z.example.com"))

    @Test func `who wants signatures gets the proof that there is nothing, and nobody else`() throws {
        let authority = [
            Self.proof, Self.signature("a.example.com", of: .nsec), MessageBuilder.soa("example.com"),
            Self.signature("example.com", of: .soa), Self.signature("example.com", of: .ns),
            MessageBuilder.record("example.com", .ns, ttl: 60, MessageBuilder.name("ns.example.com")),
        ]
        for wants in [true, false] {
            let question = try question("no.example.com", signatures: wants)
            let outcome = examine(
                question, MessageBuilder.response(to: question.message, code: 3, authority: authority))
            #expect(
                try message(question, outcome).authority.map(\.type)
                    == (wants ? [.soa, .nsec, .rrsig, .rrsig] : [.soa]))
            #expect(try body(outcome).lifetime == 60)
        }
    }

    @Test func `who wants signatures is told that a wildcard is the closest there is`() throws {
        let question = try question("www.example.com", signatures: true)
        let outcome = examine(
            question,
            MessageBuilder.response(
                to: question.message,
                answers: [
                    try MessageBuilder.a("www.example.com", "192.0.2.1"),
                    Self.signature("www.example.com", of: .a),
                ], authority: [Self.proof, Self.signature("a.example.com", of: .nsec)]))
        let answer = try message(question, outcome)
        #expect(
            answer.answers.map(\.type) == [.a, .rrsig] && answer.authority.map(\.type) == [.nsec, .rrsig])
    }

    @Test func `who wants signatures gets the record that an alias was made by`() throws {
        let question = try question("www.old.example.com", signatures: true)
        let outcome = examine(
            question,
            MessageBuilder.response(
                to: question.message,
                answers: [
                    MessageBuilder.record(
                        "old.example.com", .dname, ttl: 60, MessageBuilder.name("new.example")),
                    Self.signature("old.example.com", of: .dname),
                    MessageBuilder.cname("www.old.example.com", "www.new.example"),
                    try MessageBuilder.a("www.new.example", "192.0.2.1"),
                ]))
        #expect(try message(question, outcome).answers.map(\.type) == [.dname, .rrsig, .cname, .a])
    }
}
