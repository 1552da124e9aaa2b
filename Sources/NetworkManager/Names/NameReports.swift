internal import DNS
internal import Model

extension NameStatistics {
    init(_ counters: EndpointCounters) {
        self.init()
        queries = counters.queries
        local = counters.local
        cached = counters.cached
        outside = counters.upstream
        refused = Dictionary(counters.refused.map { ($0.key.text, $0.value) }, uniquingKeysWith: +)
        entropy = Double(counters.entropy) / 1000
        labelBytes = counters.labelBytes
    }
}

extension DNS.DenialReason {
    /// One word for people and programs.
    var text: String {
        switch self {
        case .peer: "peer"
        case .outside: "outside"
        case .stranger: "stranger"
        case .outstanding: "outstanding"
        case .flood: "flood"
        case .inside: "inside"
        case .notLearnt: "not-learnt"
        case .undecided: "undecided"
        case .upstream: "upstream"
        case .malformed: "malformed"
        case .unsupported: "unsupported"
        default: "reason-\(rawValue)"
        }
    }
}
