internal import Wire

/// A domain name in lower case, as its bytes on the wire: a length before each label, 0 at the end.
///
/// Names are compared without regard to case (RFC 4343), so that what is compared is kept in lower case.
package struct DomainName: Hashable, Sendable, CustomStringConvertible {
    /// At most 255 bytes, labels of at most 63.
    package let wire: [UInt8]

    package static let root = DomainName(checked: [0])

    /// Bytes that are known to be a name in lower case.
    init(checked wire: [UInt8]) { self.wire = wire }

    /// Uncompressed bytes of a whole name; nil if they are none.
    package init?(wire bytes: some Collection<UInt8>) {
        var wire = Array(bytes.prefix(Limit.name + 1))
        guard (1...Limit.name).contains(wire.count) else { return nil }
        var position = 0
        while true {
            guard position < wire.count else { return nil }
            let length = Int(wire[position])
            if length == 0 { break }
            guard length <= Limit.label, position + length < wire.count else { return nil }
            for index in position + 1...position + length { wire[index] = lowerCased(wire[index]) }
            position += length + 1
        }
        guard position == wire.count - 1 else { return nil }
        self.wire = wire
    }

    /// Text such as `www.example.com`, with or without a dot at its end; nil if it is no name.
    ///
    /// Escapes are those of RFC 1035 section 5.1: `\.` and `\DDD`.
    package init?(_ text: String) {
        var wire: [UInt8] = []
        var label: [UInt8] = []
        var bytes = Array(text.utf8)[...]
        if bytes == [UInt8(ascii: ".")] { bytes = [] }
        while let byte = bytes.popFirst() {
            switch byte {
            case UInt8(ascii: "."):
                guard (1...Limit.label).contains(label.count) else { return nil }
                wire.append(UInt8(label.count))
                wire += label
                label = []
            case UInt8(ascii: "\\"):
                guard let next = bytes.popFirst() else { return nil }
                guard (48...57).contains(next) else {
                    label.append(next)
                    continue
                }
                guard let second = bytes.popFirst(), let third = bytes.popFirst(),
                    let value = UInt8(String(decoding: [next, second, third], as: UTF8.self))
                else { return nil }
                label.append(lowerCased(value))
            default: label.append(lowerCased(byte))
            }
            guard wire.count + label.count < Limit.name else { return nil }
        }
        if !label.isEmpty {
            guard label.count <= Limit.label else { return nil }
            wire.append(UInt8(label.count))
            wire += label
        }
        wire.append(0)
        guard wire.count <= Limit.name else { return nil }
        self.wire = wire
    }

    /// The labels, first to last, without the root's.
    package var labels: [ArraySlice<UInt8>] {
        var labels: [ArraySlice<UInt8>] = []
        var position = 0
        while wire[position] != 0 {
            let end = position + 1 + Int(wire[position])
            labels.append(wire[position + 1..<end])
            position = end
        }
        return labels
    }

    /// Whether the name is `zone` or below it.
    package func isWithin(_ zone: DomainName) -> Bool {
        let start = wire.count - zone.wire.count
        guard start >= 0, wire[start...] == zone.wire[...] else { return false }
        // The end of the bytes may look like the zone in the middle of a label.
        var position = 0
        while position < start { position += Int(wire[position]) + 1 }
        return position == start
    }

    /// The name with labels in front of it; nil if that is too long.
    package func prefixed(by labels: String...) -> DomainName? {
        var wire: [UInt8] = []
        for label in labels {
            guard let front = DomainName(label) else { return nil }
            wire += front.wire.dropLast()
        }
        wire += self.wire
        return wire.count <= Limit.name ? DomainName(checked: wire) : nil
    }

    /// `www.example.com`, without a dot at the end; `.` is the root.
    package var description: String {
        guard wire.count > 1 else { return "." }
        var text: [UInt8] = []
        for label in labels {
            if !text.isEmpty { text.append(UInt8(ascii: ".")) }
            for byte in label {
                switch byte {
                case UInt8(ascii: "."), UInt8(ascii: "\\"): text += [UInt8(ascii: "\\"), byte]
                case 33...126: text.append(byte)
                default: text += [UInt8(ascii: "\\"), 48 + byte / 100, 48 + byte / 10 % 10, 48 + byte % 10]
                }
            }
        }
        return String(decoding: text, as: UTF8.self)
    }
}

/// RFC 4343 section 3: A to Z alone have a case.
@inline(__always)
func lowerCased(_ byte: UInt8) -> UInt8 {
    byte &- 65 < 26 ? byte | 0x20 : byte
}
