internal import CLinux
internal import DNS
internal import Dispatch
internal import Forwarding
internal import Sys
internal import Wire

/// The role that carries bytes and answers names: a resolver and a forwarder, each on a thread of its own.
///
/// It holds no capability and opens nothing: lines to the manager, sockets to upstream resolvers and, over the
/// lines, whatever it listens on are handed to it.
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
            serve("resolver") { try resolver.run() }
            let box = ForwarderBox(forwarder: forwarder)
            serve("forwarder") { try box.forwarder.run() }
            let life = Descriptor(owning: Place.life)
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

    /// On a thread of its own, for as long as the process lives; the process ends with it.
    private static func serve(_ name: String, _ body: @escaping @Sendable () throws -> Void) {
        DispatchQueue(label: name).async {
            do { try body() } catch { complain("proxy: \(name): \(error)") }
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
