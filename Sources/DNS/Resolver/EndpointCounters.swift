internal import Wire

/// What an endpoint has asked since it is there.
package struct EndpointCounters: Hashable, Sendable {
    /// Id of the endpoint; 0 for strangers.
    package var endpoint: UInt64
    package var queries: UInt64 = 0
    /// Of those, answered from the fabric's own names.
    package var local: UInt64 = 0
    /// Answered from the cache.
    package var cached: UInt64 = 0
    /// Asked of an upstream.
    package var upstream: UInt64 = 0
    /// Not answered, by reason.
    package var refused: [DenialReason: UInt64] = [:]
    /// How random the names outside look that it has lately asked for: bits for each character of their
    /// labels, in thousandths. English is at some 2.5 to 3.2; data in base32 at 4.5 and more.
    package var entropy: UInt32 = 0
    /// Bytes of those names' labels, all in all: what could have been carried out in them.
    package var labelBytes: UInt64 = 0

    package init(endpoint: UInt64) { self.endpoint = endpoint }

    mutating func refuse(_ reason: DenialReason) { refused[reason, default: 0] += 1 }

    func write(_ writer: inout ByteWriter) {
        writer.integerBE(endpoint)
        for value in [queries, local, cached, upstream, labelBytes] { writer.integerBE(value) }
        writer.integerBE(entropy)
        writer.list(refused.sorted { $0.key.rawValue < $1.key.rawValue }) {
            $0.integerBE($1.key.rawValue)
            $0.integerBE($1.value)
        }
    }

    init(_ reader: inout ByteReader) throws(DecodeError) {
        endpoint = try reader.integerBE("endpoint")
        queries = try reader.integerBE("queries")
        local = try reader.integerBE("local")
        cached = try reader.integerBE("cached")
        upstream = try reader.integerBE("upstream")
        labelBytes = try reader.integerBE("label bytes")
        entropy = try reader.integerBE("entropy")
        for (reason, count) in try reader.list(
            "refused",
            { reader throws(DecodeError) in
                let reason = DenialReason(rawValue: try reader.integerBE("reason"))
                return (reason, try reader.integerBE("count", as: UInt64.self))
            })
        { refused[reason] = count }
    }
}

/// How random a name looks: Shannon's entropy of its characters.
enum LabelEntropy {
    /// Of the labels left of the last two, which a registry gives out; of all, if there are no others.
    /// - Returns: bits for each character in thousandths, and how many characters there are.
    static func of(_ name: QueryName) -> (milliBits: UInt32, bytes: Int) {
        var counts = InlineArray<256, UInt8>(repeating: 0)
        var total = 0
        // Of c * log2(c) over all characters, brought up to date with each.
        var sum = 0.0
        var position = 0
        for _ in 0..<max(name.labels - 2, min(name.labels, 1)) {
            let length = Int(name.bytes[position])
            for index in position + 1..<position + 1 + length {
                let character = Int(name.bytes[index])
                let count = Int(counts[character])
                counts[character] = UInt8(count + 1)
                sum += weights[count + 1] - weights[count]
                total += 1
            }
            position += length + 1
        }
        guard total > 1 else { return (0, total) }
        // H = log2(n) - (1/n) * sum(c * log2(c))
        let bits = (weights[total] - sum) / Double(total)
        return (UInt32(max(0, bits) * 1000), total)
    }

    /// c * log2(c), of 0 to 256: a name has less than 256 characters.
    private static let weights: [Double] = (0...256).map { $0 < 2 ? 0 : Double($0) * logarithm(Double($0)) }

    /// By squaring: each step gives one more binary digit. There is no such function without a C library.
    private static func logarithm(_ value: Double) -> Double {
        var (value, whole) = (value, 0.0)
        while value >= 2 {
            value /= 2
            whole += 1
        }
        var (fraction, digit) = (0.0, 0.5)
        for _ in 0..<40 {
            value *= value
            if value >= 2 {
                value /= 2
                fraction += digit
            }
            digit /= 2
        }
        return whole + fraction
    }
}
