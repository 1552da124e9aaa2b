internal import GRPCCore

extension CallStream.Part {
    /// As a server reads it; a client sends no status.
    var request: RPCRequestPart<[UInt8]>? {
        switch self {
        case .metadata(let metadata): .metadata(metadata)
        case .message(let message): .message(message)
        case .status: nil
        }
    }

    /// As a client reads it.
    var response: RPCResponsePart<[UInt8]>? {
        switch self {
        case .metadata(let metadata): .metadata(metadata)
        case .message(let message): .message(message)
        case .status(let status, let metadata): .status(status, metadata)
        }
    }
}

extension CallStream {
    /// What comes, in the form that gRPC's core has for this side.
    func parts<Element>(_ form: @escaping @Sendable (Part) -> Element?) -> CallParts<Element> {
        CallParts(stream: self, form: form)
    }
}

struct CallParts<Element: Sendable>: AsyncSequence, Sendable {
    typealias Failure = any Error

    let stream: CallStream
    let form: @Sendable (CallStream.Part) -> Element?

    struct AsyncIterator: AsyncIteratorProtocol {
        let parts: CallParts

        func next() async throws -> Element? { try await parts.stream.next().flatMap(parts.form) }
    }

    func makeAsyncIterator() -> AsyncIterator { AsyncIterator(parts: self) }
}

/// What goes, one part after the other.
protocol CallWriter: ClosableRPCWriterProtocol {}

extension CallWriter {
    func write(contentsOf elements: some Sequence<Element>) async throws {
        for element in elements { try await write(element) }
    }
}
