internal import Dispatch
internal import Namespaces
internal import NetworkManager
internal import Synchronization
internal import Sys

/// Keeps a proxy where there is no anchor: beside the manager, in its namespaces, and for as long as it lives.
final class HostProxy: ProxyHost {
    private struct State {
        var isNeeded = false
        /// One thread starts proxies, at most.
        var isKeeping = false
        /// What the proxy ends by: closed when this process ends, however it does.
        var life: Life?
        var restarts = RestartPolicy()
    }

    private let state = Mutex(State())
    private let lines = AsyncStream<ProxyLines?>.makeStream()

    private final class Life: Sendable {
        let pipe: Pipe
        init() throws { pipe = try Pipe() }
    }

    var proxies: AsyncStream<ProxyLines?> { lines.stream }

    func needProxy(_ isNeeded: Bool) -> Bool {
        let isFirst = state.withLock { state in
            state.isNeeded = isNeeded
            if !isNeeded { state.life = nil }
            defer { state.isKeeping = state.isKeeping || isNeeded }
            return isNeeded && !state.isKeeping
        }
        if isFirst { DispatchQueue(label: "proxy").async { self.keep() } }
        return true
    }

    /// The host's network is the fabric's.
    func openPort(_ port: HostPort) throws -> Descriptor { try port.open() }

    /// Starts one after the other, and waits for the end of each.
    private func keep() {
        while isGoingOn() {
            let started = ContinuousClock.now
            do {
                guard var proxy = try start() else { continue }
                lines.continuation.yield(
                    ProxyLines(
                        pid: proxy.child.pid, names: try proxy.names.duplicate(),
                        ports: try proxy.ports.duplicate()))
                let status = try proxy.child.wait()
                // It was told to end.
                guard endsLife() else { continue }
                complain("the proxy ended with code \(status.code); it is started again")
            } catch {
                complain("the proxy cannot be started: \(error)")
                lines.continuation.yield(nil)
            }
            let delay = state.withLock { $0.restarts.ended(after: started.duration(to: .now)) }
            if delay > .zero {
                _ = DispatchSemaphore(value: 0).wait(
                    timeout: .now() + .milliseconds(Int(delay / .milliseconds(1))))
            }
        }
    }

    /// Whether one is needed; where not, whoever needs one again begins anew.
    private func isGoingOn() -> Bool {
        state.withLock { state in
            state.isKeeping = state.isNeeded
            return state.isNeeded
        }
    }

    /// - Returns: nil where none is needed any more.
    private func start() throws -> ProxyProcess? {
        let life = try Life()
        let proxy = try ProxyProcess.start(in: nil, life: life.pipe.reader.rawValue)
        let isNeeded = state.withLock { state in
            if state.isNeeded { state.life = life }
            return state.isNeeded
        }
        if isNeeded { return proxy }
        // Dropping it ends it.
        return nil
    }

    /// - Returns: false if that had been taken from it.
    private func endsLife() -> Bool {
        state.withLock { state in
            defer { state.life = nil }
            return state.life != nil
        }
    }
}
