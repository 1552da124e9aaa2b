internal import CLinux
public import Sys

/// The one thread that goes into foreign network namespaces, and comes back.
///
/// `setns` acts on a thread, so no thread that runs other work is ever switched. The caller waits while the
/// thread runs its closure: safe to use from an actor, since nothing runs at the same time. Descriptors made
/// inside stay what they are.
@safe public final class NamespaceThread: Sendable {
    // The worker has its own locks; the pointer never changes and never leaves this class.
    private nonisolated(unsafe) let worker: OpaquePointer
    /// Where the thread belongs: the namespace of the thread that makes it.
    private let home: Descriptor

    public init() throws(NamespaceError) {
        do throws(SystemError) {
            home = try Descriptor.open("/proc/thread-self/ns/net", O_RDONLY)
        } catch {
            throw NamespaceError(error)
        }
        guard let worker = unsafe cl_worker_start() else {
            throw NamespaceError(SystemError("pthread_create", .current))
        }
        unsafe self.worker = worker
    }

    deinit { unsafe cl_worker_stop(worker) }

    /// Runs `body` in a network namespace, and returns what it returns.
    ///
    /// Takes two `setns` and two thread wake-ups: 4 µs and some 20 µs more.
    /// - Throws: what `body` throws; `NamespaceError` if the namespace cannot be entered.
    public func inside<R: ~Copyable>(_ namespace: borrowing Descriptor, _ body: () throws -> R) throws -> R {
        let number = namespace.rawValue
        return try excursion(
            { () throws(NamespaceError) in
                do throws(SystemError) {
                    try system("setns", "network namespace") { cl_setns(number, Int32(CL_NEWNET)) }
                } catch {
                    throw NamespaceError(error)
                }
            }, body)
    }

    /// Makes a network namespace, runs `body` in it, and hands back the namespace. It dies with its last
    /// holder.
    public func makeNamespace() throws -> NetworkNamespace {
        try excursion(
            { () throws(NamespaceError) in
                do throws(SystemError) {
                    try system("unshare", "network namespace") { cl_unshare(Int32(CL_NEWNET)) }
                } catch {
                    throw NamespaceError(error)
                }
            }, { try NetworkNamespace.current() })
    }

    private func excursion<R: ~Copyable>(
        _ enter: () throws(NamespaceError) -> Void, _ body: () throws -> R
    ) throws -> R {
        var outcome: Result<R, any Error>?
        let number = home.rawValue
        onThread {
            do {
                try enter()
                defer {
                    // A thread that cannot come back must not be used again: everything after would happen in
                    // the wrong network. With a descriptor in hand and the power to have left, the kernel has
                    // no reason to refuse.
                    if cl_setns(number, Int32(CL_NEWNET)) != 0 { CLinux.abort() }
                }
                outcome = .success(try body())
            } catch {
                outcome = .failure(error)
            }
        }
        switch consume outcome {
        case .success(let value): return value
        case .failure(let error): throw error
        case nil: throw NamespaceError(.child, "the namespace thread did not run")
        }
    }

    private func onThread(_ body: () -> Void) {
        // The worker is done with the closure before `cl_worker_run` returns.
        withoutActuallyEscaping(body) { body in
            let job = Job(body)
            withExtendedLifetime(job) {
                unsafe cl_worker_run(
                    worker,
                    { context in
                        guard let context = unsafe context else { return }
                        unsafe Unmanaged<Job>.fromOpaque(context).takeUnretainedValue().body()
                    },
                    Unmanaged.passUnretained(job).toOpaque())
            }
        }
    }

    /// A closure as something that has an address.
    private final class Job {
        let body: () -> Void
        init(_ body: @escaping () -> Void) { self.body = body }
    }
}
