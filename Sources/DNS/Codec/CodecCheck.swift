internal import Sys
internal import Wire

/// What must hold of every message, for fuzzers and the tests that replay what they found.
package enum CodecCheck {
    /// A client's message is given to a resolver with an endpoint or two.
    /// - Returns: the promise that is broken.
    package static func query(_ bytes: [UInt8]) -> String? {
        let resolver = Resolver()
        let listener = resolver.addListener(ListenerDescription(network: 1, transport: .udp))
        let address = IPAddress.v4(IPv4Address(bits: 0x0a01_0002))
        resolver.order(
            .network(
                NetworkDescription(id: 1, name: "n", subnets: [CIDR(containing: address, prefixLength: 24)])),
            at: 0)
        resolver.order(
            .endpoint(
                EndpointDescription(
                    id: 1, network: 1, name: "e", aliases: ["a"], addresses: [address],
                    ports: [.init(name: "http", transport: .tcp, number: 80)])), at: 0)
        let client = ClientReference(listener: listener, peer: SocketAddress(address, port: 1))
        resolver.query(bytes, 0..<bytes.count, from: client, at: 0)
        guard resolver.outbox.replies.count <= 1 else { return "one query has two answers" }
        guard !resolver.outbox.replies.isEmpty else { return nil }
        let reply = Array(resolver.outbox.bytes[resolver.outbox.range(0)])
        guard bytes.count >= Limit.header, reply.prefix(2) == bytes.prefix(2) else {
            return "an answer has another id"
        }
        guard reply.count <= Limit.udp else { return "an answer has \(reply.count) bytes" }
        return unreadable(reply)
    }

    /// An upstream's message is taken as the answer to a question, and given to a client.
    package static func response(_ bytes: [UInt8]) -> String? {
        guard let name = DomainName("www.example.com") else { return "no name" }
        for type in [RecordType.a, .mx, .soa, .srv, .naptr] {
            // Whatever id, and whatever case, the message has.
            var question = UpstreamQuestion(
                id: bytes.count < 2 ? 0 : number(bytes, 0), name: name, cased: name.wire, type: type,
                wantsSignatures: type == .a, checkingDisabled: false)
            question.usesEDNS = false
            let outcome = question.examine(
                bytes, 0..<bytes.count, overTCP: true, rules: AnswerRules(), isInside: { _, _ in false })
            guard case .answer(let body) = outcome else { continue }
            guard body.lifetime <= AnswerRules().longest else { return "kept for \(body.lifetime) s" }
            var message = question.message
            message[2] = 0x80
            message[3] = body.code.rawValue | (body.authentic ? UInt8(HeaderFlags.authenticData) : 0)
            func count(_ value: UInt16, at place: Int) {
                message[place] = UInt8(value >> 8)
                message[place + 1] = UInt8(truncatingIfNeeded: value)
            }
            count(body.answers, at: 6)
            count(body.authority, at: 8)
            message += body.records
            var records = 0
            AnswerBody.forEachRecord(body.records, from: 0) { _, _, _ in records += 1 }
            guard records == Int(body.answers) + Int(body.authority) else { return "records are lost" }
            if let broken = unreadable(message) { return broken }
            // Who asks us with the same question gets the same.
            guard
                question.examine(
                    message, 0..<message.count, overTCP: true, rules: AnswerRules(),
                    isInside: { _, _ in false })
                    == outcome
            else { return "an answer is another one when it is passed on" }
        }
        return nil
    }

    /// Reads a message of ours from front to end.
    private static func unreadable(_ message: [UInt8]) -> String? {
        guard message.count >= Limit.header else { return "an answer without a header" }
        var reader = MessageReader(message, 0..<message.count)
        do throws(DecodeError) {
            try reader.skip(Limit.header, "header")
            if number(message, 4) == 1 {
                _ = try reader.name("question")
                try reader.skip(4, "question")
            }
            for place in [6, 8, 10] {
                for _ in 0..<number(message, place) {
                    let record = try reader.record()
                    if record.type != .opt { _ = try expandedData(record, reader) }
                }
            }
        } catch {
            return "an answer that cannot be read: \(error)"
        }
        return reader.position == message.count ? nil : "bytes behind an answer"
    }
}
