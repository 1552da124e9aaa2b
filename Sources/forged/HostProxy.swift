internal import Dispatch
internal import Namespaces
internal import NetworkManager
internal import Synchronization
internal import Sys

/// Keeps a proxy where there is no anchor: beside the manager, in its namespaces, and for as long as it lives.
final class HostProxy: ProxyHost {
    private struct State {
        var isNeeded = false
        var restarts = RestartPolicy()
    }

    private let state = Mutex(State())
    private let lines = AsyncStream<ProxyLines?>.makeStream()
    /// What a proxy ends by: closed when this process ends, however it does.
    private let life = Mutex<Life?>(nil)

    private final class Life: Sendable {
        let pipe: Pipe
        init() throws { pipe = try Pipe() }
    }

    var proxies: AsyncStream<ProxyLines?> { lines.stream }

    func needProxy(_ isNeeded: Bool) {
        let isNew = state.withLock { state in
            defer { state.isNeeded = isNeeded }
            return isNeeded && !state.isNeeded
        }
        if isNew { DispatchQueue(label: "proxy").async { self.keep() } }
        if !isNeeded { life.withLock { $0 = nil } }
    }

    /// The host's network is the fabric's.
    func openPort(_ port: HostPort) throws -> Descriptor { try port.open() }

    /// Starts one after the other, and waits for the end of each.
    private func keep() {
        while state.withLock({ $0.isNeeded }) {
            let started = ContinuousClock.now
            do {
                let ours = try Life()
                var proxy = try ProxyProcess.start(in: nil, life: ours.pipe.reader.rawValue)
                life.withLock { $0 = ours }
                lines.continuation.yield(
                    ProxyLines(
                        pid: proxy.child.pid, names: try proxy.names.duplicate(),
                        ports: try proxy.ports.duplicate()))
                let status = try proxy.child.wait()
                if state.withLock({ $0.isNeeded }) {
                    complain("the proxy ended with code \(status.code); it is started again")
                }
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
}
