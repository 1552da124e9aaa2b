internal import CLinux
internal import Namespaces
internal import Synchronization
internal import Sys

/// Runs asynchronous work to its end while the calling thread waits.
///
/// For the main thread of commands that fork: it must be there, and be the same, before and after. Such
/// commands hold their signals back, so one that asks us to end is noticed here.
/// - Throws: what `work` throws; `Interruption`.
func waiting<R: Sendable>(_ work: @escaping @Sendable () async throws -> R) throws -> R {
    let outcome = Outcome<R>()
    let pipe = try Pipe()
    let writer = pipe.writer.rawValue
    Task.detached {
        let result: Result<R, any Error>
        do { result = .success(try await work()) } catch { result = .failure(error) }
        outcome.value.withLock { $0 = result }
        let byte: [UInt8] = [1]
        _ = unsafe byte.withUnsafeBytes { unsafe write(writer, $0.baseAddress, 1) }
    }
    let ending = [SIGINT, SIGTERM, SIGQUIT, SIGHUP]
    let signals = Descriptor(
        owning: try system("signalfd") {
            unsafe ending.withUnsafeBufferPointer {
                unsafe cl_signal_descriptor($0.baseAddress, Int32($0.count))
            }
        })
    let input = try waitReadable([pipe.reader.rawValue, signals.rawValue])
    if !input[0], case let signal = cl_read_signal(signals.rawValue), signal > 0 {
        throw Interruption(signal: signal)
    }
    _ = try pipe.reader.read(upTo: 1)
    guard let result = outcome.value.withLock({ $0 }) else {
        throw Failure("the work ended without a result")
    }
    return try result.get()
}

/// A signal asked for the end.
struct Interruption: Error, Hashable {
    let signal: Int32
}

private final class Outcome<R: Sendable>: Sendable {
    let value = Mutex<Result<R, any Error>?>(nil)
}
