import Testing
import Wire

@testable import DNS

struct CacheTests {
    private let key: NameHash.Key = {
        var generator = SteadyGenerator()
        return NameHash.Key(using: &generator)
    }()

    private func name(_ text: String) throws -> (QueryName, DomainName) {
        let bytes = MessageBuilder.name(text)
        var name = QueryName(key: key)
        let end = name.read(bytes, at: 0, end: bytes.count)
        try #require(end == bytes.count)
        return (name, name.name)
    }

    private func body(_ name: DomainName, addresses: Int = 1, lifetime: UInt32 = 60) -> AnswerBody {
        var builder = AnswerBuilder(name)
        for index in 0..<addresses {
            let fits = builder.append(.answer, name, .a, ttl: lifetime, data: [192, 0, 2, UInt8(index)])
            #expect(fits)
        }
        return builder.finished(lifetime: lifetime)
    }

    @Test func `an answer is there until its time is over`() throws {
        var cache = DNSCache(entries: 10)
        let (query, name) = try name("www.example.com")
        cache.insert(1, name, body(name), now: 100)
        let found = cache.find(1, query, now: 159)
        let hit = try #require(found)
        #expect(hit.age == 59)
        #expect(AnswerBody.addresses(in: hit.body.records, age: hit.age).map(\.ttl) == [1])
        let late = cache.find(1, query, now: 160)
        #expect(late == nil)
        #expect(cache.count == 0)
    }

    @Test func `two names with one hash do not answer for each other`() throws {
        var cache = DNSCache(entries: 10)
        let (_, first) = try name("www.example.com")
        let (query, _) = try name("www.example.net")
        cache.insert(1, first, body(first), now: 0)
        let found = cache.find(1, query, now: 0)
        #expect(found == nil)
    }

    @Test func `what may not be kept is not`() throws {
        var cache = DNSCache(entries: 10)
        let (_, name) = try name("www.example.com")
        cache.insert(1, name, body(name, lifetime: 0), now: 0)
        #expect(cache.count == 0)
    }

    @Test func `a full cache keeps what is asked for`() throws {
        var cache = DNSCache(entries: 100)
        let (popular, name) = try name("popular.example")
        cache.insert(0, name, body(name, lifetime: 1000), now: 0)
        for number in 1...1000 {
            let (_, other) = try self.name("n\(number).example")
            cache.insert(UInt64(number), other, body(other, lifetime: 1000), now: 0)
            let found = cache.find(0, popular, now: 0)
            #expect(found != nil)
            #expect(cache.count <= 100)
        }
    }

    @Test func `a cached name takes 300 bytes at most, of whatever size answers are`() throws {
        for addresses in [1, 4, 12, 60] {
            var cache = DNSCache(entries: 5_000)
            for number in 0..<7_000 {
                let (query, name) = try name("host-\(number).some-service.region.example.com")
                cache.insert(query.hash, name, body(name, addresses: addresses, lifetime: 1000), now: 0)
            }
            #expect(cache.footprint <= 300 * 5_000, "\(addresses) addresses")
            if addresses <= 4 { #expect(cache.count == 5_000) }
            #expect(cache.footprint / cache.count <= 300 || addresses > 4)
        }
    }

    @Test func `a cache that empties and fills again loses nothing of its room`() throws {
        var cache = DNSCache(entries: 50)
        for round in 0..<20 {
            for number in 0..<50 {
                let (_, other) = try name("r\(round)n\(number).example")
                cache.insert(
                    UInt64(round * 50 + number), other, body(other, lifetime: 5), now: UInt32(round * 10))
            }
            #expect(cache.count == 50)
        }
    }
}
