internal import Wire

/// What a counter expression has counted.
package struct NftCounter: Hashable, Sendable {
    package var packets: UInt64
    package var bytes: UInt64

    package init(packets: UInt64, bytes: UInt64) {
        self.packets = packets
        self.bytes = bytes
    }
}

/// A member of a set or an entry of a map.
package struct NftElement: Hashable, Sendable {
    package var key: [UInt8]
    /// The last key of the range, part by part: sets with `interval` and `concat` only.
    package var keyEnd: [UInt8]?
    /// The first key behind a range that began at the last element before this one: sets with `interval`
    /// only.
    package var isIntervalEnd: Bool
    /// The value, in maps of values.
    package var data: [UInt8]?
    /// The value, in maps of verdicts.
    package var verdict: NftVerdict?
    package var timeoutMs: UInt64?
    /// For elements that bring their own; others get the set's.
    package var expressions: [NftExpression]
    /// Shown by nft; cut at 127 bytes.
    package var comment: String?
    /// What the element's counter says: read from the kernel, never sent to it.
    package var counter: NftCounter?

    package init(
        key: [UInt8], keyEnd: [UInt8]? = nil, isIntervalEnd: Bool = false, data: [UInt8]? = nil,
        verdict: NftVerdict? = nil, timeoutMs: UInt64? = nil, expressions: [NftExpression] = [],
        comment: String? = nil, counter: NftCounter? = nil
    ) {
        self.key = key
        self.keyEnd = keyEnd
        self.isIntervalEnd = isIntervalEnd
        self.data = data
        self.verdict = verdict
        self.timeoutMs = timeoutMs
        self.expressions = expressions
        self.comment = comment
        self.counter = counter
    }

    /// NFT_SET_ELEM_INTERVAL_END
    private static let intervalEnd: UInt32 = 0x1

    /// Writes the payload of one list entry.
    /// - Parameter keyOnly: leave out what does not tell the element from others: enough to delete it.
    func encode(into writer: inout PayloadWriter, keyOnly: Bool) {
        writer.data(Nfta.Element.key, key)
        if let keyEnd { writer.data(Nfta.Element.keyEnd, keyEnd) }
        if isIntervalEnd { writer.attributeBE(Nfta.Element.flags, NftElement.intervalEnd) }
        guard !keyOnly else { return }
        if let data { writer.data(Nfta.Element.data, data) }
        if let verdict { writer.verdict(Nfta.Element.data, verdict) }
        if let timeoutMs { writer.attributeBE(Nfta.Element.timeout, timeoutMs) }
        if let comment {
            writer.attribute(Nfta.Element.userdata, bytes: NftNote.comment(NftNote.elementComment, comment))
        }
        if expressions.count == 1 {
            writer.expression(Nfta.Element.expression, expressions[0])
        } else if !expressions.isEmpty {
            writer.expressions(Nfta.Element.expressions, expressions)
        }
    }

    /// Reads one list entry. Of its expressions only a counter and a limit are kept.
    init(_ attributes: [Attribute]) throws(DecodeError) {
        func value(_ type: UInt16) throws(DecodeError) -> [UInt8]? {
            guard let wrapped = try attributes[type: type]?.nested() else { return nil }
            return wrapped[type: Nfta.Data.value].map { Array($0.payload) }
        }
        let flags: UInt32 = try attributes[type: Nfta.Element.flags]?.integerBE() ?? 0
        var verdict: NftVerdict?
        if let wrapped = try attributes[type: Nfta.Element.data]?.nested()[type: Nfta.Data.verdict]?.nested()
        {
            let code: Int32 = try wrapped[type: Nfta.Verdict.code]?.integerBE() ?? 0
            verdict = NftVerdict(code: code, chain: wrapped[type: Nfta.Verdict.chain]?.string ?? "")
        }
        var counter = try attributes[type: Nfta.Element.expression].flatMap(NftCounter.init(expression:))
        var limit = try attributes[type: Nfta.Element.expression].flatMap(NftExpression.init(limit:))
        for entry in try attributes[type: Nfta.Element.expressions]?.nested() ?? [] {
            if counter == nil { counter = try NftCounter(expression: entry) }
            if limit == nil { limit = try NftExpression(limit: entry) }
        }
        self.init(
            // An element without a key is the catch-all one.
            key: try value(Nfta.Element.key) ?? [], keyEnd: try value(Nfta.Element.keyEnd),
            isIntervalEnd: flags & NftElement.intervalEnd != 0, data: try value(Nfta.Element.data),
            verdict: verdict,
            timeoutMs: try attributes[type: Nfta.Element.timeout]?.integerBE(),
            expressions: limit.map { [$0] } ?? [],
            comment: attributes[type: Nfta.Element.userdata].flatMap {
                NftNote.comment(in: $0.payload, kind: NftNote.elementComment)
            }, counter: counter)
    }
}

extension NftCounter {
    /// nil if the expression is not a counter.
    init?(expression: Attribute) throws(DecodeError) {
        let parts = try expression.nested()
        guard parts[type: Nfta.Expression.name]?.string == "counter",
            let data = try parts[type: Nfta.Expression.data]?.nested()
        else { return nil }
        self.init(
            packets: try data[type: Nfta.Counter.packets]?.integerBE() ?? 0,
            bytes: try data[type: Nfta.Counter.bytes]?.integerBE() ?? 0)
    }
}
