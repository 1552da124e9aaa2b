internal import CLinux
internal import Namespaces
internal import Sys

/// Sockets through which the proxy asks upstream resolvers: opened where the host's network is, and neither
/// bound nor connected, so that the proxy needs no right and no way out of the fabric.
///
/// They are used again and again; each use gets a port of the kernel's choosing.
struct UpstreamSocketPlan: Hashable {
    struct Kind: Hashable {
        let isDatagram: Bool
        let isIPv6: Bool
        let count: Int
    }

    /// As many questions as may wait for an answer at a time.
    static let kinds = [
        Kind(isDatagram: true, isIPv6: false, count: 96), Kind(isDatagram: true, isIPv6: true, count: 48),
        Kind(isDatagram: false, isIPv6: false, count: 16), Kind(isDatagram: false, isIPv6: true, count: 16),
    ]

    static var total: Int { kinds.reduce(0) { $0 + $1.count } }

    /// Opens them in the calling thread's network namespace.
    /// - Returns: numbers, the caller's to close; -1 where the host has no IPv6.
    static func open() throws(SystemError) -> [Int32] {
        var sockets: [Int32] = []
        do throws(SystemError) {
            for kind in kinds {
                for _ in 0..<kind.count { sockets.append(try open(kind)) }
            }
        } catch {
            for socket in sockets where socket >= 0 { close(socket) }
            throw error
        }
        return sockets
    }

    private static func open(_ kind: Kind) throws(SystemError) -> Int32 {
        let type = kind.isDatagram ? SOCK_DGRAM.rawValue : SOCK_STREAM.rawValue
        let flags = Int32(type | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        do throws(SystemError) {
            return try system("socket", "upstream") { socket(kind.isIPv6 ? AF_INET6 : AF_INET, flags, 0) }
        } catch {
            guard kind.isIPv6, error.errno.rawValue == EAFNOSUPPORT else { throw error }
            return -1
        }
    }
}

/// A proxy that runs, and the manager's ends of the lines to it.
struct ProxyProcess: ~Copyable {
    var child: ChildProcess
    /// To its resolver and to its forwarder.
    let names: Descriptor
    let ports: Descriptor
    let started = ContinuousClock.now

    private static let nobody: UInt32 = 65534

    /// Starts one that holds no capability, in these namespaces.
    ///
    /// - Parameter namespaces: numbers of user, network and mount namespace; nil for those of the caller.
    /// - Parameter life: the proxy ends when the other end of this pipe is closed; nil where it ends with the
    ///   thread that starts it.
    static func start(
        in namespaces: (user: Int32, network: Int32, mount: Int32)?, life: Int32?
    ) throws -> ProxyProcess {
        let namePair = try ControlSocket.pair()
        let names = Descriptor(owning: namePair.0)
        let namesTheirs = Descriptor(owning: namePair.1)
        let portPair = try ControlSocket.pair()
        let ports = Descriptor(owning: portPair.0)
        let portsTheirs = Descriptor(owning: portPair.1)
        let sockets = try UpstreamSocketPlan.open()
        defer { for socket in sockets where socket >= 0 { close(socket) } }

        let nothing = try Descriptor.open("/dev/null", O_RDONLY)
        var plan = ProcessPlan(["forged", "proxy"] + (life == nil ? [] : [ProxyRole.lifeline]))
        // The very file that this process was started from, even if it has been replaced since.
        plan.program = "/proc/self/exe"
        // It has nothing to read there, and nothing to say but on standard error. In the place of what there is not,
        // something that is no socket.
        plan.descriptors =
            [nothing.rawValue, nothing.rawValue, 2]
            + [namesTheirs.rawValue, portsTheirs.rawValue, life ?? nothing.rawValue]
            + sockets.map { $0 >= 0 ? $0 : nothing.rawValue }
        if let namespaces {
            // The user namespace first: it brings the power to enter the others.
            plan.add(.join(namespaces.user, .user))
            plan.add(.join(namespaces.network, .network))
            plan.add(.join(namespaces.mount, .mount))
        }
        plan.add(.boundCapabilities(0))
        // Beside root's manager it is nobody: whoever owns files needs no capability to change them. A user
        // namespace that maps its maker alone has nobody.
        if namespaces == nil, geteuid() == 0, IDMaps.canBecome(uid: Self.nobody, gid: Self.nobody) {
            plan.add(.user(uid: Self.nobody, gid: Self.nobody))
        }
        plan.add(.noNewPrivileges)
        if life == nil { plan.add(.deathSignal(SIGKILL)) }
        var child = try plan.start()
        try child.waitUntilRunning()
        return ProxyProcess(child: child, names: names, ports: ports)
    }
}
