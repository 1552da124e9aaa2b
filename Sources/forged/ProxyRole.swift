internal import CLinux
internal import DNS
internal import Forwarding
internal import Namespaces
internal import Synchronization
internal import Sys
internal import Wire

/// The role that carries bytes and answers names: a resolver and a forwarder, each on a thread of its own.
///
/// It holds no capability and opens nothing: lines to the manager, sockets to upstream resolvers and, over the
/// lines, whatever it listens on are handed to it. So it gives up everything else before it reads a byte.
enum ProxyRole {
    /// As `ProxyProcess` places them.
    private enum Place {
        static let names: Int32 = 3
        static let ports: Int32 = 4
        static let life: Int32 = 5
        static let sockets: Int32 = 6
    }

    /// The argument that says that it has a lifeline: a pipe, at whose end it ends.
    static let lifeline = "--lifeline"

    static func run(hasLifeline: Bool) -> Int32 {
        unsafe cl_set_name("forged-proxy")
        // Else any process of the same user could read its memory, a container's too.
        cl_undumpable()
        do {
            let resolver = try ResolverServer(
                link: Descriptor(owning: Place.names), upstreamSockets: upstreamSockets())
            let forwarder = try Forwarder(link: Descriptor(owning: Place.ports))
            let life = Descriptor(owning: Place.life)
            try ProxySandbox.closeFiles()
            let box = ForwarderBox(forwarder: forwarder)
            try starting.withLock { _ in
                try serve("resolver") { try resolver.run() }
                try serve("forwarder") { try box.forwarder.run() }
                try ProxySandbox.closeProcess()
            }
            // Without one this process ends together with the anchor.
            guard hasLifeline else { while true { pause() } }
            _ = try waitReadable([life.rawValue])
            return 0
        } catch {
            complain("proxy: \(error)")
            return ExitCode.failure
        }
    }

    /// A forwarder is used by the thread that runs it alone.
    private struct ForwarderBox: @unchecked Sendable { let forwarder: Forwarder }

    /// Held until every thread has given up what it does not need: what one of them read could reach the others.
    private static let starting = Mutex(())

    /// On a thread of its own, for as long as the process lives; the process ends with it.
    private static func serve(_ name: String, _ body: @escaping @Sendable () throws -> Void) throws {
        try startThread {
            do {
                try ProxySandbox.enterThread()
                starting.withLock { _ in }
                try body()
            } catch { complain("proxy: \(name): \(error)") }
            exit(ExitCode.failure)
        }
    }

    private static func upstreamSockets() -> [UpstreamSocket] {
        var number = Place.sockets
        var found: [UpstreamSocket] = []
        for kind in UpstreamSocketPlan.kinds {
            for _ in 0..<kind.count {
                let socket = Descriptor(owning: number)
                number += 1
                guard isSocket(socket.rawValue) else { continue }
                found.append(UpstreamSocket(kind.isDatagram ? .udp : .tcp, kind.isIPv6 ? .v6 : .v4, socket))
            }
        }
        return found
    }

    private static func isSocket(_ number: Int32) -> Bool {
        var status = stat()
        return unsafe fstat(number, &status) == 0 && status.st_mode & 0o170000 == 0o140000
    }
}
