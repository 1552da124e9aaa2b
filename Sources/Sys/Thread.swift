internal import Glibc

/// Runs a closure on a thread of its own, which nobody waits for.
///
/// Without a pool: nothing else ever runs on it, and no other thread is made for it.
/// - Throws: `SystemError` where no thread can be made.
package func startThread(_ body: @escaping @Sendable () -> Void) throws(SystemError) {
    let box = unsafe Unmanaged.passRetained(ThreadBody(body))
    var thread = pthread_t()
    let code = unsafe pthread_create(
        &thread, nil,
        { argument in
            // The pointer is the box's, and this its only owner from here on.
            if let argument = unsafe argument {
                unsafe Unmanaged<ThreadBody>.fromOpaque(argument).takeRetainedValue().body()
            }
            return nil
        }, box.toOpaque())
    guard code == 0 else {
        unsafe box.release()
        throw SystemError("pthread_create", Errno(rawValue: code))
    }
    pthread_detach(thread)
}

private final class ThreadBody: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}
