internal import API

/// The messages of a call's data, and the text of its status.
///
/// What must hold: cut anywhere, the same data has the same messages; they are in it as they are; and a status
/// reads its own text.
func decodeCalls(_ bytes: [UInt8]) -> String? {
    let text = String(decoding: bytes, as: UTF8.self)
    guard PercentCoding.decoded(PercentCoding.encoded(text)) == text else {
        return "\(text) does not read its own text"
    }
    _ = PercentCoding.decoded(text)

    let cut = Int(bytes.first ?? 1) + 1
    let whole = messages(bytes, cut: bytes.count + 1)
    guard messages(bytes, cut: cut) == whole else { return "the messages differ when cut every \(cut) bytes" }
    var again: [UInt8] = []
    for message in whole { MessageFrames.append(message, to: &again) }
    return bytes.starts(with: again) ? nil : "the messages are not those of the data"
}

/// Up to the first problem.
private func messages(_ bytes: [UInt8], cut: Int) -> [[UInt8]] {
    var frames = MessageFrames(limit: 1 << 12)
    var complete: [[UInt8]] = []
    for start in stride(from: 0, to: bytes.count, by: cut) {
        let part = Array(bytes[start..<min(start + cut, bytes.count)])
        do { try unsafe part.withUnsafeBytes { try unsafe frames.take($0) { complete.append($0) } } } catch {
            break
        }
    }
    return complete
}
