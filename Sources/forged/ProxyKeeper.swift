internal import Namespaces
internal import Sys

/// Keeps a proxy running for as long as a manager needs one, whichever manager that is: the lines to it
/// outlive managers.
final class ProxyKeeper {
    private var proxy: ProxyProcess?
    private var restarts = RestartPolicy()
    /// Why the last one could not be started.
    private var failure: Errno?
    private(set) var nextStart: ContinuousClock.Instant?
    private let namespaces: (user: Int32, network: Int32, mount: Int32)

    /// - Parameters: the fabric's namespaces, which outlive this.
    init(user: Int32, network: Int32, mount: Int32) { namespaces = (user, network, mount) }

    /// Starts it, unless it runs.
    func start() {
        nextStart = nil
        guard proxy == nil else { return }
        do {
            proxy = try ProxyProcess.start(in: namespaces, life: nil)
            failure = nil
        } catch {
            complain("the proxy cannot be started: \(error)")
            failure = (error as? SystemError)?.errno ?? (error as? NamespaceError)?.cause?.errno ?? .noMemory
            nextStart = .now + restarts.ended(after: .zero) + .milliseconds(100)
        }
    }

    /// Ends it, at once: what it holds is of no use to anybody then.
    func stop() {
        nextStart = nil
        // Dropping it ends it.
        proxy = nil
    }

    /// Sees to it that one which has ended is started again.
    func reap() {
        guard proxy != nil, let status = try? proxy?.child.poll() else { return }
        let life = (proxy?.started ?? .now).duration(to: .now)
        let how = status.signal == 0 ? "with code \(status.code)" : "by signal \(status.signal)"
        complain("the proxy ended \(how); it is started again")
        proxy = nil
        nextStart = .now + restarts.ended(after: life)
    }

    /// Gives a manager its ends of the lines, or says why there are none.
    func introduce(to manager: borrowing ControlSocket) throws(SystemError) {
        switch proxy {
        case .some(let proxy):
            try manager.send(
                .proxy(pid: proxy.child.pid, errno: 0), with: proxy.names.rawValue, proxy.ports.rawValue)
        case .none:
            try manager.send(.proxy(pid: 0, errno: (failure ?? .noProcess).rawValue))
        }
    }
}
