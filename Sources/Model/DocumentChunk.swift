/// The part of a YAML text from one `---` to the next, which is parsed by itself: so a document that is not
/// even YAML does not hide what is wrong with those after it.
struct DocumentChunk {
    let text: String
    let firstLine: Int

    /// Lines up to the last that is not blank.
    var lineCount: Int {
        1 + text.utf8.reversed().drop(while: DocumentChunk.isBlank).count { $0 == DocumentChunk.newline }
    }

    private static let dash = UInt8(ascii: "-")
    private static let newline = UInt8(ascii: "\n")

    /// YAML 1.2 section 9.1.2: `---` at the start of a line, before a blank or a line's end, begins a
    /// document, even inside a quoted or literal scalar. Text that is cut there means what it meant before.
    static func split(_ text: String) -> [DocumentChunk] {
        var chunks: [DocumentChunk] = []
        var current: [UInt8] = []
        var firstLine = 1
        func finish() {
            if current.contains(where: { !isBlank($0) }) {
                chunks.append(
                    DocumentChunk(text: String(decoding: current, as: UTF8.self), firstLine: firstLine))
            }
        }
        let lines = Array(text.utf8).split(separator: newline, omittingEmptySubsequences: false)
        for (index, line) in lines.enumerated() {
            if line.starts(with: [dash, dash, dash]), line.dropFirst(3).first.map(isBlank) ?? true {
                finish()
                current = []
                firstLine = index + 1
            }
            current += line
            current.append(newline)
        }
        finish()
        return chunks
    }

    /// What must not reach the parser, or nil.
    ///
    /// Sizes are bounded since each value becomes a tree node of some 200 bytes. Anchors are refused since a
    /// few lines of aliases to aliases stand for billions of values. (Depth is bounded by the parser: 1000
    /// levels.)
    func refusal() -> PolicyDocumentError.Problem? {
        guard text.utf8.count <= PolicyDocument.documentLimit else {
            return .init(
                line: firstLine,
                "the document has \(text.utf8.count) bytes, at most \(PolicyDocument.documentLimit) are read")
        }
        var line = firstLine
        var starts = 0
        var previous = DocumentChunk.newline
        var inComment = false
        var isLineStart = true
        let bytes = Array(text.utf8)
        for (index, byte) in bytes.enumerated() {
            // A line that begins with # is a comment, or text of a long scalar: no anchor either way. Beyond
            // ASCII there are other line ends (NEL, LS, PS), so the comment is not trusted past the first
            // such byte.
            if isLineStart, byte == UInt8(ascii: "#") { inComment = true }
            if byte >= 0x80 || byte == UInt8(ascii: "\r") || byte == DocumentChunk.newline {
                inComment = false
            }

            if isLineStart, index == 0 || previous == DocumentChunk.newline, byte == UInt8(ascii: "%") {
                return .init(line: line, "YAML directives (%) are not accepted")
            }
            let next = index + 1 < bytes.count ? bytes[index + 1] : DocumentChunk.newline
            if byte == UInt8(ascii: "&"), !inComment, !DocumentChunk.isWord(previous),
                !DocumentChunk.isBlank(next)
            {
                return .init(line: line, "YAML anchors and aliases (&, *) are not accepted")
            }
            if DocumentChunk.separators.contains(byte) { starts += 1 }
            if byte == DocumentChunk.newline { line += 1 }
            isLineStart = byte == DocumentChunk.newline || isLineStart && DocumentChunk.isBlank(byte)
            previous = byte
        }
        guard starts <= PolicyDocument.nodeLimit else {
            return .init(
                line: firstLine, "the document has too many values: at most \(PolicyDocument.nodeLimit)")
        }
        return nil
    }

    /// Each value of a tree is preceded by one of these, or is the first.
    private static let separators = Set(",:-?[{\n".utf8)

    private static func isBlank(_ byte: UInt8) -> Bool { [9, 10, 13, 32].contains(byte) }
    private static func isWord(_ byte: UInt8) -> Bool {
        (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
    }
}
