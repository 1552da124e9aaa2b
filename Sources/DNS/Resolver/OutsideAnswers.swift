internal import Sys
internal import Wire

/// Answers about names outside.
extension Resolver {
    func serveOutside(_ reply: ReplyContext, _ network: Int32, _ fresh: AnswerBody?) {
        var verdict = Verdict(.allowed)
        var learnt: LearntSet?
        if reply.owner.isEndpoint {
            let index = Int(reply.owner.index)
            let own =
                endpoints[index].everything == nil || endpoints[index].everything?.outcome == .learn
                ? endpoints[index].outside[asked.name] : nil
            guard let known = endpoints[index].everything ?? own?.verdict else {
                return askAboutOutside(reply)
            }
            verdict = known
            learnt = own?.learnt
        }
        if fresh == nil { countOutside(reply.owner) }
        if verdict.outcome == .denied { return denyByPolicy(reply, verdict.reason) }
        if reply.query.type == .any { return answerAny(reply) }

        if let fresh { return answerOutside(reply, fresh, age: 0, verdict, learnt) }
        let group = group(network)
        let key = cacheKey(reply.query, group)
        if let hit = cache.find(key, asked, now: seconds) {
            if reply.owner.isEndpoint { endpoints[Int(reply.owner.index)].counters.cached += 1 }
            return answerOutside(reply, hit.body, age: hit.age, verdict, learnt)
        }
        lookUp(reply, key, group)
    }

    /// What makes the answer to a name another one.
    private func cacheKey(_ query: Query, _ group: UInt64) -> UInt64 {
        let flags: UInt64 = (query.wantsSignatures ? 1 : 0) | (query.checkingDisabled ? 2 : 0)
        return NameHash.mixed(
            NameHash.mixed(asked.hash, UInt64(query.type.rawValue) << 2 | flags, key), group, key)
    }

    /// Whose upstreams a network asks: 0 if the host's.
    private func group(_ network: Int32) -> UInt64 {
        guard network >= 0, networks[Int(network)].description.upstreams != nil else { return 0 }
        return networks[Int(network)].description.id
    }

    private func answerOutside(
        _ reply: ReplyContext, _ body: AnswerBody, age: UInt32, _ verdict: Verdict, _ learnt: LearntSet?
    ) {
        if body.code != .noError, body.code != .nameError {
            return deny(reply, body.code, .upstream, .noReachableAuthority)
        }
        var body = body
        var addresses: [LearntAddress] = []
        if verdict.outcome == .learn, reply.owner.isEndpoint {
            addresses = AnswerBody.addresses(in: body.records, age: age)
            if addresses.count > ResolverReport.mostAddresses {
                body.cut(addresses: ResolverReport.mostAddresses)
                addresses = AnswerBody.addresses(in: body.records, age: age)
            }
        }
        begin(reply, body.code, authentic: body.authentic)
        let records = outbox.bytes.count
        outbox.bytes += body.records
        if age > 0 {
            var places: [Int] = []
            AnswerBody.forEachRecord(outbox.bytes, from: records) { _, ttl, _ in places.append(ttl) }
            for place in places {
                let left = AnswerBody.remaining(number32(outbox.bytes, place), age)
                set(UInt16(left >> 16), at: place)
                set(UInt16(truncatingIfNeeded: left), at: place + 2)
            }
        }
        finish(reply, answers: body.answers, authority: body.authority, code: body.code)
        guard !addresses.isEmpty else { return }
        let set = LearntSet(addresses, now: seconds)
        if learnt?.covers(set) != true { learnFirst(reply, addresses, set) }
    }

    private func countOutside(_ owner: Owner) {
        guard owner.isEndpoint else { return }
        let (bits, bytes) = LabelEntropy.of(asked)
        let index = Int(owner.index)
        endpoints[index].counters.labelBytes += UInt64(bytes)
        // A mean that forgets: each name has a sixteenth of it.
        let old = endpoints[index].counters.entropy
        endpoints[index].counters.entropy = old == 0 ? bits : (old * 15 + bits) / 16
    }
}
