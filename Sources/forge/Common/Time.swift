internal import Sys

/// Times as people write and read them.
enum Time {
    private static let units: [(suffix: String, milliseconds: UInt64)] = [
        ("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000),
    ]

    /// Reads `500ms`, `30s`, `10m`, `2h`, `1h30m` or `7d`.
    static func milliseconds(_ text: String, _ field: String) throws -> UInt64 {
        var rest = Substring(text)
        var total: UInt64 = 0
        while !rest.isEmpty {
            let digits = rest.prefix { $0.isASCII && $0.isNumber }
            rest = rest.dropFirst(digits.count)
            let word = rest.prefix { $0.isLetter }
            rest = rest.dropFirst(word.count)
            guard let number = UInt64(digits), let unit = units.first(where: { $0.suffix == word }),
                number <= 366 * 86_400_000 / unit.milliseconds
            else { throw Failure("\(field) \"\(text)\": expected a time such as 30s, 10m or 2h") }
            total += number * unit.milliseconds
        }
        guard total > 0 else { throw Failure("\(field) \"\(text)\": expected a time such as 30s, 10m or 2h") }
        return total
    }

    /// What is left until a moment: `9m58s`, `2h5m`, `3d4h`.
    static func left(until milliseconds: Int64) -> String {
        let seconds = max(0, (milliseconds - wallClockMilliseconds() + 999) / 1000)
        let parts = [
            (seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"),
            (seconds % 60, "s"),
        ]
        let shown = parts.drop { $0.0 == 0 }.prefix(2).filter { $0.0 > 0 }
        return shown.isEmpty ? "0s" : shown.map { "\($0.0)\($0.1)" }.joined()
    }
}
