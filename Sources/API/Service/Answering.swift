package import GRPCCore
package import Model
internal import Wire

extension RPCError {
    /// The status that a caller sees: the code says what kind of trouble, the message is one line for people.
    package init(_ error: ModelError) {
        let code: RPCError.Code =
            switch error {
            case .invalid, .ambiguous: .invalidArgument
            case .notFound: .notFound
            case .exists: .alreadyExists
            case .precondition: .failedPrecondition
            case .exhausted: .resourceExhausted
            }
        self.init(code: code, message: oneLine(error.description))
    }

    /// One line for each problem. A message travels in HTTP/2 trailers, of which peers take 8 KiB at least
    /// once each byte of it is percent-encoded.
    init(_ error: PolicyDocumentError) {
        var lines: [String] = []
        var room = 2_400
        for line in error.description.split(separator: "\n").map({ oneLine($0) }) {
            room -= line.utf8.count
            if room < 0, !lines.isEmpty { break }
            lines.append(String(line.prefix(600)))
        }
        let left = error.problems.count - lines.count
        if left > 0 { lines.append("\(error.file): \(left) more like these") }
        self.init(code: .invalidArgument, message: lines.joined(separator: "\n"))
    }
}

/// Runs the work behind one call and turns what it throws into a status.
func answering<Answer>(_ work: () async throws -> Answer) async throws -> Answer {
    do { return try await work() } catch {
        switch error {
        case let error as ModelError: throw RPCError(error)
        case let error as PolicyDocumentError: throw RPCError(error)
        case let error as RPCError: throw error
        case is CancellationError: throw RPCError(code: .cancelled, message: "the caller went away")
        default: throw RPCError(code: .internalError, message: oneLine("\(error)"))
        }
    }
}

/// Runs what may wait without end, until it has ended, its caller has gone or the call's time is over.
///
/// gRPC tells a handler of both, and ends it for neither.
func whileCalled(_ work: @escaping @Sendable () async throws -> Void) async throws {
    let working = Task(executorPreference: try EventLoop.shared) { try await work() }
    try await withRPCCancellationHandler {
        try await withTaskCancellationHandler {
            try await working.value
        } onCancel: {
            working.cancel()
        }
    } onCancelRPC: {
        working.cancel()
    }
    // To who has gone it is all the same.
    if working.isCancelled { throw RPCError(code: .deadlineExceeded, message: "the call's time is over") }
}

/// Without control characters, which would reach a terminal.
private func oneLine(_ text: some StringProtocol) -> String {
    String(
        String.UnicodeScalarView(
            text.unicodeScalars.map { $0.properties.generalCategory == .control ? " " : $0 }))
}

/// How large the parts of a request may be: far beyond any real one. The whole is bounded by the server.
enum Bounds {
    static let subnets = 16
    static let addresses = 16
    static let names = 10_000
    static let policies = 1_000
    static let reference = 512
    static let path = 4_096

    static func check(_ field: String, count: Int, atMost limit: Int) throws(ModelError) {
        guard count <= limit else { throw .invalid(field, "\(count)", "at most \(limit) are taken") }
    }

    /// A name, id or prefix that refers to something: present, short, printable.
    static func reference(_ text: String, _ field: String) throws(ModelError) -> String {
        guard !text.isEmpty else { throw .invalid(field, text, "is required") }
        guard text.utf8.count <= reference, text.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else {
            throw .invalid(
                field, text, "must be at most \(reference) printable ASCII characters without spaces")
        }
        return text
    }

    /// As `reference`, where empty means none was given.
    static func optionalReference(_ text: String, _ field: String) throws(ModelError) -> String? {
        text.isEmpty ? nil : try reference(text, field)
    }
}

/// Reads a value from text, naming the field where it is not one.
func parse<Value>(_ field: String, _ text: String, _ read: (String) throws(ParseError) -> Value)
    throws(ModelError) -> Value
{
    do throws(ParseError) { return try read(text) } catch { throw .invalid(field, text, error.reason) }
}
