internal import Sys
internal import Wire

/// The resolver without its sockets: is told what came in, and says what is to go out.
///
/// ```
/// query ─> whose? ─> a name of the fabric ─> may the client know? ──────────────> answer
///                └─> a name outside ─> may it ask? ─> cache ─> upstream ─> learnt? ─> answer
/// ```
/// Where the manager or an upstream must be asked first, the query waits and is then served from the
/// beginning. Answers are in `outbox`, whatever else there is to do in `actions`; the caller takes both after
/// each call. Not safe for use by several threads: it is confined to the one that runs `ResolverServer`.
package final class Resolver {
    package let settings: ResolverSettings
    package var outbox = Outbox()
    package var actions: [ResolverAction] = []

    var random: any RandomNumberGenerator
    let key: NameHash.Key
    /// Milliseconds.
    var now: UInt64 = 0
    /// The same in seconds, for times to live.
    var seconds: UInt32 { UInt32(truncatingIfNeeded: now / 1000) }
    /// The name of the query that is being served.
    var asked: QueryName

    // What the fabric is.
    var own: [CIDR] = []
    /// Parts of the next ones.
    var comingOwn: [CIDR] = []
    var table: NameTable
    var networks: [NetworkState] = []
    var networkNumbers: [UInt64: Int32] = [:]
    var endpoints: [EndpointState] = []
    var endpointNumbers: [UInt64: Int32] = [:]
    var freeEndpoints: [Int32] = []
    var clients: [ClientKey: Int32] = [:]
    var byAddress: [IPAddress: Int32] = [:]
    var listeners: [ListenerState] = []
    var generation: UInt32 = 0
    var lastSerial: UInt32 = 0
    var strangers = EndpointCounters(endpoint: 0)

    // What the manager was asked.
    /// On pairs of endpoints, by their verdict serials.
    var verdicts: [UInt64: Verdict] = [:]
    var questions: [UInt32: Question] = [:]
    var peerQuestions: [UInt64: UInt32] = [:]
    var outsideQuestions: [OutsideKey: UInt32] = [:]
    var learnings: [UInt32: Learning] = [:]
    var lastQuestion: UInt32
    var denials = DenialLedger()

    // What upstreams were asked.
    var cache: DNSCache
    let rules = AnswerRules()
    /// By network; 0 is the host's.
    var upstreams: [UInt64: UpstreamGroup] = [:]
    var sockets = SocketPool()
    var lookups: [UInt32: Lookup] = [:]
    var lookupsByKey: [UInt64: UInt32] = [:]
    /// Lookups that no socket is free for, in order.
    var waiting: [SocketPool.Kind: [UInt32]] = [:]
    var lastLookup: UInt32 = 0
    /// Queries that wait, of all clients.
    var outstanding = 0
    var deadlines = DeadlineQueue()

    /// - Parameters:
    ///   - random: of ids and of the case of letters; must not be guessed.
    ///   - lastQuestion: what the manager is asked is counted from there. Another one for each resolver, so that
    ///     an answer to the one before is none to this.
    package init(
        settings: ResolverSettings = ResolverSettings(),
        random: any RandomNumberGenerator = SystemRandomNumberGenerator(),
        lastQuestion: UInt32 = .random(in: 0...(.max))
    ) {
        self.settings = settings
        self.random = random
        self.lastQuestion = lastQuestion
        var system = SystemRandomNumberGenerator()
        key = NameHash.Key(using: &system)
        asked = QueryName(key: key)
        table = NameTable(key: key)
        cache = DNSCache(entries: settings.cachedNames)
    }

    /// When `tick` is to be called, in milliseconds of the caller's clock.
    package var nextDeadline: UInt64? { deadlines.soonest }

    /// Does what is due.
    package func tick(at time: UInt64) {
        now = max(now, time)
        while let due = deadlines.popDue(now) {
            switch due.kind {
            case .lookup: lookupTimedOut(due.id, attempt: due.attempt)
            case .question: questionTimedOut(due.id)
            case .learning: learningTimedOut(due.id)
            case .denials: flushDenials()
            }
        }
    }

    // MARK: Listeners

    struct ListenerState {
        let description: ListenerDescription
        /// -1 if it is none's, or the network is not known.
        var network: Int32
    }

    /// A socket on which clients ask; queries name it by its number.
    package func addListener(_ description: ListenerDescription) -> Int32 {
        let state = ListenerState(
            description: description, network: networkNumbers[description.network] ?? -1)
        listeners.append(state)
        return Int32(listeners.count - 1)
    }

    /// Takes the number of a listener that is gone for another one.
    package func replaceListener(_ number: Int32, _ description: ListenerDescription) {
        listeners[Int(number)] = ListenerState(
            description: description, network: networkNumbers[description.network] ?? -1)
    }

    /// Whose a query is. The server asks before it serves, so that a flood costs no more than this.
    package func clientIndex(_ client: ClientReference) -> Int32 { owner(of: client).index }

    func owner(of client: ClientReference) -> Owner {
        let listener = listeners[Int(client.listener)]
        if listener.description.trusted { return .trusted }
        guard listener.network >= 0,
            let index = clients[ClientKey(network: listener.network, client.peer)]
        else { return .stranger }
        return Owner(index: index, serial: endpoints[Int(index)].serial)
    }

    func isPresent(_ owner: Owner) -> Bool {
        owner.isEndpoint && endpoints[Int(owner.index)].serial == owner.serial
    }

    /// Queries that were thrown away unread, since their client sent more than its share.
    package func dropped(_ count: Int, of client: Int32) {
        guard client >= 0 else { return strangers.refused[.flood, default: 0] += UInt64(count) }
        endpoints[Int(client)].counters.queries += UInt64(count)
        endpoints[Int(client)].counters.refused[.flood, default: 0] += UInt64(count)
        note(
            Denial(
                client: endpoints[Int(client)].description.id, name: .root, reason: .flood,
                count: UInt32(clamping: count)))
    }
}
