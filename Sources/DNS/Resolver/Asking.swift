internal import Sys
internal import Wire

/// Something the manager was asked, and the queries that wait for its answer.
struct Question {
    enum Subject: Hashable {
        case peer(client: Owner, target: Owner)
        case outside(OutsideKey)
    }

    let subject: Subject
    let report: ResolverReport
    var parked: [Parked] = []
}

struct OutsideKey: Hashable {
    let client: Owner
    let name: DomainName
}

/// An answer that is held back until its client can reach the addresses in it.
struct Learning {
    let report: ResolverReport
    let client: ClientReference
    let owner: Owner
    let name: DomainName
    let learnt: LearntSet
    let reply: [UInt8]
    /// To answer the query otherwise.
    let query: [UInt8]
}

/// What the manager is asked, and what becomes of its answers.
extension Resolver {
    private func nextQuestion() -> UInt32 {
        lastQuestion &+= 1
        return lastQuestion
    }

    private func due(_ id: UInt32, _ kind: DeadlineQueue.Kind) {
        deadlines.push(now + settings.managerPatience, kind, id)
    }

    func report(_ report: ResolverReport) { actions.append(.report(report)) }

    /// Asks about all of these; the query waits for the last of them, and is served from the beginning then.
    /// - Returns: false if its client has too many waiting.
    func askAboutPeers(_ reply: ReplyContext, _ targets: [Int32]) -> Bool {
        guard let parked = parkIfRoom(reply) else { return false }
        let client = reply.owner.index
        var last: UInt32 = 0
        for target in targets {
            let pair = pair(client, target)
            if let asked = peerQuestions[pair], questions[asked] != nil {
                last = asked
                continue
            }
            last = nextQuestion()
            let report = ResolverReport.mayLearnPeer(
                question: last, client: endpoints[Int(client)].description.id,
                target: endpoints[Int(target)].description.id)
            peerQuestions[pair] = last
            questions[last] = Question(
                subject: .peer(
                    client: reply.owner, target: Owner(index: target, serial: endpoints[Int(target)].serial)),
                report: report)
            due(last, .question)
            self.report(report)
        }
        questions[last]?.parked.append(parked)
        return true
    }

    /// Names outside are without number: who makes them up keeps neither the manager nor others busy.
    private func maySpend(_ reply: ReplyContext, _ cost: Int = 1) -> Bool {
        let index = Int(reply.owner.index)
        guard endpoints[index].allowance.take(cost, now: now, perSecond: settings.questionsPerSecond) else {
            deny(reply, .refused, .flood, .other)
            return false
        }
        return true
    }

    func askAboutOutside(_ reply: ReplyContext) {
        let key = OutsideKey(client: reply.owner, name: asked.name)
        if let asked = outsideQuestions[key], questions[asked] != nil {
            if let parked = park(reply) { questions[asked]?.parked.append(parked) }
            return
        }
        guard maySpend(reply), let parked = park(reply) else { return }
        let id = nextQuestion()
        let report = ResolverReport.mayAskOutside(
            question: id, client: endpoints[Int(reply.owner.index)].description.id, name: key.name)
        outsideQuestions[key] = id
        questions[id] = Question(subject: .outside(key), report: report, parked: [parked])
        due(id, .question)
        self.report(report)
    }

    /// The manager has answered. Answers to what is not asked any more are passed over.
    func verdictCame(_ id: UInt32, _ verdict: Verdict) {
        guard let question = take(id) else { return }
        switch question.subject {
        case .peer(let client, let target):
            if isPresent(client), isPresent(target) {
                // What is forgotten is asked again: cheaper than remembering which was used last.
                if verdicts.count >= settings.verdicts { verdicts.removeAll(keepingCapacity: true) }
                verdicts[pair(client.index, target.index)] = verdict
            }
        case .outside(let key):
            if isPresent(key.client) {
                let index = Int(key.client.index)
                if verdict.coversEverything {
                    endpoints[index].everything = verdict
                } else {
                    if endpoints[index].outside.count >= settings.outsideVerdicts {
                        endpoints[index].outside.removeAll()
                    }
                    endpoints[index].outside[key.name] = OutsideVerdict(verdict: verdict)
                }
            }
        }
        for parked in question.parked { resume(parked) }
    }

    private func take(_ id: UInt32) -> Question? {
        guard let question = questions.removeValue(forKey: id) else { return nil }
        switch question.subject {
        case .peer:
            // The pair's serials may have changed since; an id that is not in use is asked again.
            if case .peer(let client, let target) = question.subject, isPresent(client), isPresent(target) {
                peerQuestions[pair(client.index, target.index)] = nil
            }
            if peerQuestions.count > 2 * questions.count + 64 {
                peerQuestions = peerQuestions.filter { questions[$0.value] != nil }
            }
        case .outside(let key): outsideQuestions[key] = nil
        }
        return question
    }

    func questionTimedOut(_ id: UInt32) {
        guard let question = take(id) else { return }
        switch question.subject {
        // A failure would say that the name is there.
        case .peer: for parked in question.parked { resume(parked, mayWait: false) }
        case .outside: for parked in question.parked { fail(parked, .undecided, .notReady) }
        }
    }

    // MARK: Learning

    /// Holds the last answer back until the client can reach what is in it.
    func learnFirst(_ reply: ReplyContext, _ addresses: [LearntAddress], _ learnt: LearntSet) {
        let held = outbox.takeLast()
        // Each address is an element of the kernel's and a row of the manager's.
        guard maySpend(reply, addresses.count), let parked = park(reply) else { return }
        let id = nextQuestion()
        let report = ResolverReport.learn(
            id: id, client: endpoints[Int(reply.owner.index)].description.id, name: asked.name, addresses)
        learnings[id] = Learning(
            report: report, client: reply.client, owner: reply.owner, name: asked.name, learnt: learnt,
            reply: held, query: parked.bytes)
        due(id, .learning)
        self.report(report)
    }

    func learnt(_ id: UInt32, _ isReachable: Bool) {
        guard let learning = learnings.removeValue(forKey: id) else { return }
        guard isReachable else { return failLearning(learning) }
        unpark(learning.owner)
        // The client's address may be another endpoint's by now, who must not be told.
        guard owner(of: learning.client) == learning.owner else { return }
        remember(learning)
        outbox.append(learning.reply, to: learning.client)
    }

    private func remember(_ learning: Learning) {
        let index = Int(learning.owner.index)
        if endpoints[index].everything != nil {
            // The verdict is not the name's own; what was learnt is, though.
            let verdict = endpoints[index].everything ?? Verdict(.learn)
            if endpoints[index].outside.count >= settings.outsideVerdicts {
                endpoints[index].outside.removeAll()
            }
            endpoints[index].outside[learning.name] = OutsideVerdict(
                verdict: verdict, learnt: learning.learnt)
        } else {
            endpoints[index].outside[learning.name]?.learnt = learning.learnt
        }
    }

    func learningTimedOut(_ id: UInt32) {
        guard let learning = learnings.removeValue(forKey: id) else { return }
        failLearning(learning)
    }

    private func failLearning(_ learning: Learning) {
        fail(
            Parked(client: learning.client, owner: learning.owner, bytes: learning.query), .notLearnt,
            .notReady)
    }

    // MARK: A new manager, another policy

    /// Asks again what the manager before did not answer.
    func askAgain() {
        for (_, question) in questions.sorted(by: { $0.key < $1.key }) { report(question.report) }
        for (_, learning) in learnings.sorted(by: { $0.key < $1.key }) { report(learning.report) }
    }

    func forgetVerdicts(of client: UInt64?) {
        guard let client else {
            verdicts = [:]
            for index in endpoints.indices {
                endpoints[index].everything = nil
                endpoints[index].outside = [:]
            }
            return
        }
        guard let number = endpointNumbers[client] else { return }
        lastSerial &+= 1
        endpoints[Int(number)].verdictSerial = lastSerial
        endpoints[Int(number)].everything = nil
        endpoints[Int(number)].outside = [:]
    }
}
