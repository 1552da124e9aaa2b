internal import CLinux
internal import Namespaces
internal import NetworkManager
internal import Synchronization
internal import Sys

/// What the manager stands on, whoever started it.
struct ManagerContext: Sendable {
    let paths: FabricPaths
    /// Listening, and the service's to close.
    let listener: Int32
    let mode: FabricRecord.Mode
    let subordinateIDs: Bool
    let restarts: Int
    /// What starts the proxy.
    let proxyHost: any ProxyHost
    /// nil where the host's own routes lead outside.
    var uplink: UplinkLine?
    /// Whether the peer of a connection may give orders: the owner and the host's root.
    let isAllowed: @Sendable (_ connection: Int32) throws -> Bool
}

/// What the manager has to do with the way out, which the anchor runs.
struct UplinkLine: Sendable {
    let want: @Sendable (Bool) -> Bool
    let state: @Sendable () throws -> UplinkState
}

/// The role that holds everything that can be rebuilt: starts the service on threads of its own, and waits on
/// the main thread for a reason to end.
enum ManagerRole {
    /// In the fabric's namespaces, with a socket that the anchor listens on too.
    static func runUnderAnchor(_ options: ManagerOptions) -> Int32 {
        unsafe cl_set_name("forged")
        let link = AnchorLink(Descriptor(owning: options.control))
        link.start()
        let owner = options.owner
        let context = ManagerContext(
            paths: options.paths, listener: options.listener, mode: .rootless,
            subordinateIDs: options.subordinateIDs,
            restarts: Int(options.restarts), proxyHost: link,
            uplink: UplinkLine(want: { link.tellUplink(wanted: $0) }, state: { try link.uplink() }),
            isAllowed: { [owner, 0].contains(try link.peer(of: $0).uid) })
        // The namespaces end with the anchor, and everything in them too.
        return run(
            context, removeKernelState: false,
            onReady: { link.reportReady() }, onFailure: { link.reportFailure($0) })
    }

    /// In the namespaces that `forged` was started in.
    static func runOnHost(_ options: StartOptions) -> Int32 {
        let ready = Mutex(ReadyPipe(options.readyDescriptor))
        do {
            guard mayChangeNetworks else {
                throw Failure("--host needs CAP_NET_ADMIN: start forged as root, or without --host")
            }
            let ground = try Ground.take(options.paths)
            try FabricRecord(hostPID: getpid(), uid: geteuid()).write(to: options.paths.record)
            let owner = geteuid()
            let context = ManagerContext(
                paths: options.paths, listener: try ground.listener.duplicate().release(), mode: .host,
                subordinateIDs: false, restarts: 0, proxyHost: HostProxy(),
                isAllowed: { [owner, 0].contains(try Peer(of: $0).uid) })
            let code = run(
                context, removeKernelState: true,
                onReady: { ready.withLock { $0.ready() } },
                onFailure: { reason in ready.withLock { $0.failed(reason) } })
            ground.clear()
            return code
        } catch {
            complain("\(error)")
            ready.withLock { $0.failed("\(error)") }
            return ExitCode.failure
        }
    }

    private static func run(
        _ context: ManagerContext, removeKernelState: Bool, onReady: @escaping @Sendable () -> Void,
        onFailure: @escaping @Sendable (String) -> Void
    ) -> Int32 {
        do {
            // Blocked before the first thread exists, so in all of them; read here alone.
            let wanted = [SIGTERM, SIGINT, SIGHUP]
            let signals = Descriptor(
                owning: try system("signalfd") {
                    unsafe wanted.withUnsafeBufferPointer {
                        unsafe cl_signal_descriptor($0.baseAddress, Int32($0.count))
                    }
                })
            let ended = try Pipe()
            let endedWriter = ended.writer.rawValue
            let failure = Mutex<String?>(nil)

            let service = FabricService(context)
            Task.detached {
                do {
                    try await service.run(onReady: onReady)
                } catch {
                    let text = "\(error)"
                    onFailure(text)
                    failure.withLock { $0 = text }
                }
                tell(endedWriter)
            }
            let input = try waitReadable([signals.rawValue, ended.reader.rawValue], milliseconds: -1)
            if input[1] {
                let text = failure.withLock { $0 } ?? "the API ended by itself"
                // An anchor says it for both.
                if context.mode == .host { complain(text) }
                return ExitCode.failure
            }
            Task.detached {
                await service.stop(removeKernelState: removeKernelState)
                tell(endedWriter)
            }
            // A second signal, or too long a wait, ends it as it is: the next start adopts what is left.
            while cl_read_signal(signals.rawValue) > 0 {}
            _ = try waitReadable([signals.rawValue, ended.reader.rawValue], milliseconds: 4000)
            return 0
        } catch {
            if context.mode == .host { complain("\(error)") }
            onFailure("\(error)")
            return ExitCode.failure
        }
    }

    private static func tell(_ pipe: Int32) {
        let byte: [UInt8] = [1]
        _ = unsafe byte.withUnsafeBytes { unsafe write(pipe, $0.baseAddress, 1) }
    }

    /// CAP_NET_ADMIN is number 12 in linux/capability.h.
    private static var mayChangeNetworks: Bool {
        let status = (try? readFile("/proc/self/status")) ?? ""
        let line = status.split(separator: "\n").first { $0.hasPrefix("CapEff:") }
        let mask = line?.split(whereSeparator: \.isWhitespace).last.flatMap { UInt64($0, radix: 16) } ?? 0
        return mask >> 12 & 1 == 1
    }
}
