internal import CLinux
internal import Namespaces
internal import Sys

/// The process in the host's namespaces: pins the fabric, starts the manager and the proxy in it again and
/// again, and answers what only a process outside can know; runs the uplink. One thread, no timers but the
/// restart delay of what keeps ending.
final class Anchor {
    private let options: StartOptions
    private let ground: Ground
    private let namespaces: FabricNamespaces
    private let signals: Descriptor
    private let subordinateIDs: Bool
    private let uplink: Uplink

    private var manager: Manager?
    private var restarts = RestartPolicy()
    private var restartCount = 0
    private var nextStart: ContinuousClock.Instant?
    private var ready: ReadyPipe
    private var wasReady = false
    private var stopping = false
    private let proxy: ProxyKeeper

    /// How long a manager may take to end when asked.
    private static let patience: Double = 5

    /// Runs the fabric until it is told to stop.
    /// - Returns: the exit code.
    static func run(_ options: StartOptions) -> Int32 {
        do throws(Failure) {
            return try make(options).loop()
        } catch {
            complain(error.description)
            var ready = ReadyPipe(options.readyDescriptor)
            ready.failed(error.description)
            return ExitCode.failure
        }
    }

    private init(
        _ options: StartOptions, _ ground: consuming Ground, _ namespaces: consuming FabricNamespaces,
        signals: consuming Descriptor, subordinateIDs: Bool
    ) {
        self.options = options
        self.ground = ground
        uplink = Uplink(user: namespaces.user.rawValue, network: namespaces.network.rawValue)
        self.namespaces = namespaces
        self.signals = signals
        proxy = ProxyKeeper(
            user: self.namespaces.user.rawValue, network: self.namespaces.network.rawValue,
            mount: self.namespaces.mount.rawValue)
        self.subordinateIDs = subordinateIDs
        ready = ReadyPipe(options.readyDescriptor)
    }

    /// Makes the fabric's namespaces and says where they are.
    private static func make(_ options: StartOptions) throws(Failure) -> Anchor {
        let ground = try Ground.take(options.paths)
        let subordinates = options.useSubordinateIDs ? SubordinateIDs.of(uid: geteuid()) : .none
        let namespaces: FabricNamespaces
        do throws(NamespaceError) {
            namespaces = try FabricNamespaces.make(subordinates: subordinates)
        } catch {
            ground.clear()
            throw Failure("\(error)")
        }
        do throws(SystemError) {
            try FabricRecord(pid: getpid(), uid: geteuid(), subordinateIDs: subordinates.isUsable, namespaces)
                .write(to: options.paths.record)
            let wanted = [SIGCHLD, SIGTERM, SIGINT, SIGHUP]
            let signals = Descriptor(
                owning: try system("signalfd") {
                    unsafe wanted.withUnsafeBufferPointer {
                        unsafe cl_signal_descriptor($0.baseAddress, Int32($0.count))
                    }
                })
            return Anchor(
                options, ground, namespaces, signals: signals, subordinateIDs: subordinates.isUsable)
        } catch {
            throw Failure("\(error)")
        }
    }

    /// A running manager.
    private final class Manager {
        var child: ChildProcess
        let control: ControlSocket
        let started: ContinuousClock.Instant
        /// Closed its end of the control socket, or talked nonsense: not listened to any more.
        var silent = false
        var lastWords: String?

        init(_ child: consuming ChildProcess, _ control: consuming ControlSocket) {
            self.child = child
            self.control = control
            started = .now
        }
    }

    private func loop() -> Int32 {
        do {
            try startManager()
            while true {
                let control = manager.map { $0.silent ? -1 : $0.control.descriptor.rawValue } ?? -1
                let input = try waitReadable(
                    [signals.rawValue, control, uplink.output], milliseconds: untilNextStart)
                if input[1], let manager { answer(manager) }
                if input[2] { uplink.listen() }
                if input[0] { try takeSignals() }
                if stopping {
                    try stopManager()
                    proxy.stop()
                    uplink.stop()
                    ground.clear()
                    return 0
                }
                if let time = nextStart, time <= .now { try startManager() }
                if let time = proxy.nextStart, time <= .now { startProxy() }
                uplink.startIfDue()
            }
        } catch {
            complain("\(error)")
            ready.failed("\(error)")
            ground.clear()
            return ExitCode.failure
        }
    }

    private var untilNextStart: Int32 {
        let times = [nextStart, proxy.nextStart, uplink.nextStart]
        guard let next = times.compactMap(\.self).min() else { return -1 }
        return Int32(clamping: max(0, Int(ContinuousClock.now.duration(to: next) / .milliseconds(1)) + 1))
    }

    private func takeSignals() throws {
        while true {
            switch cl_read_signal(signals.rawValue) {
            case SIGCHLD:
                try reapManager()
                proxy.reap()
                uplink.reap()
            case SIGTERM, SIGINT, SIGHUP: stopping = true
            default: return
            }
        }
    }

    private func startManager() throws {
        nextStart = nil
        keepLogSmall()
        let ends = try ControlSocket.pair()
        let ours = Descriptor(owning: ends.0)
        let theirs = Descriptor(owning: ends.1)
        let paths = options.paths
        var plan = ProcessPlan(
            [
                "forged", "manager", "--listen-fd", "3", "--control-fd", "4", "--owner", "\(geteuid())",
                "--runtime-dir",
                paths.runtimeDirectory, "--state-dir", paths.stateDirectory, "--restarts", "\(restartCount)",
            ]
                + (subordinateIDs ? ["--subids"] : []))
        // The very file that this process was started from, even if it has been replaced since.
        plan.program = "/proc/self/exe"
        plan.descriptors = [0, 1, 2, ground.listener.rawValue, theirs.rawValue]
        // The user namespace first: it brings the power to enter the others.
        plan.add(.join(namespaces.user.rawValue, .user))
        plan.add(.join(namespaces.network.rawValue, .network))
        plan.add(.join(namespaces.mount.rawValue, .mount))
        // Without its anchor a manager is no good, and would be in the way of the next fabric's.
        // Last, since a change of credentials clears it: prctl(2).
        plan.add(.deathSignal(SIGKILL))
        var child = try plan.start()
        try child.waitUntilRunning()
        manager = Manager(child, ControlSocket(ours))
    }

    /// Starts the proxy unless it runs, and hands the manager its ends of the lines to it.
    private func startProxy() {
        proxy.start()
        guard let manager, !manager.silent else { return }
        // As all that the anchor says: at once or not at all.
        try? proxy.introduce(to: manager.control)
    }

    private func reapManager() throws {
        guard let ended = manager, let status = try ended.child.poll() else { return }
        // Its last message may have come together with its end.
        while !ended.silent, answer(ended) {}
        manager = nil
        let words = ended.lastWords
        let life = ended.started.duration(to: .now)
        let how = status.signal == 0 ? "with code \(status.code)" : "by signal \(status.signal)"
        guard wasReady else {
            throw Failure(words ?? "the manager ended \(how) before it was ready")
        }
        if stopping { return }
        let delay = restarts.ended(after: life)
        restartCount += 1
        complain("the manager ended \(how)\(words.map { " (\($0))" } ?? ""); it is started again")
        nextStart = .now + delay
    }

    /// Takes one message.
    /// - Returns: whether there was one.
    @discardableResult
    private func answer(_ manager: Manager) -> Bool {
        do throws(SystemError) {
            guard let received = try manager.control.receive() else {
                manager.silent = true
                return false
            }
            switch received.message {
            case .whoIs(let id):
                // The reply is sent at once or not at all: a manager that does not read must not hold us up.
                try? manager.control.send(Self.describe(received.passenger.rawValue, id: id))
            case .ready:
                wasReady = true
                ready.ready()
            case .failed(let text): manager.lastWords = text
            case .needsProxy(true): startProxy()
            case .needsProxy(false): proxy.stop()
            case .openPort(let id, let port): Self.open(port, id, manager.control)
            case .uplink(let wanted): uplink.want(wanted)
            case .askUplink(let id): try? manager.control.send(.uplinkIs(id: id, uplink.state()))
            case .peer, .proxy, .opened, .uplinkIs, nil: break
            }
            return true
        } catch {
            if error.errno != .again { manager.silent = true }
            return false
        }
    }

    /// Opens a port of the host's, or says why not.
    private static func open(_ port: HostPort, _ id: UInt32, _ manager: borrowing ControlSocket) {
        do throws(SystemError) {
            let socket = try port.open()
            try manager.send(.opened(id: id, errno: 0), with: socket.rawValue)
        } catch { try? manager.send(.opened(id: id, errno: error.errno.rawValue)) }
    }

    private static func describe(_ connection: Int32, id: UInt32) -> ControlMessage {
        do throws(SystemError) {
            let peer = try Peer(of: connection)
            return .peer(id: id, errno: 0, uid: peer.uid, pid: peer.pid)
        } catch {
            return .peer(id: id, errno: error.errno.rawValue, uid: 0, pid: 0)
        }
    }

    private func stopManager() throws {
        guard let last = manager else { return }
        manager = nil
        last.child.kill(SIGTERM)
        let deadline = Deadline(seconds: Self.patience)
        while try last.child.poll() == nil {
            if deadline.hasPassed {
                last.child.kill(SIGKILL)
                _ = try last.child.wait()
                return
            }
            // SIGCHLD ends the wait; other signals are taken and change nothing any more.
            _ = try waitReadable([signals.rawValue], milliseconds: deadline.milliseconds)
            while cl_read_signal(signals.rawValue) > 0 {}
        }
    }

    /// A log of our own is emptied when it has grown: nobody rotates it.
    private func keepLogSmall() {
        guard options.isDetached else { return }
        var status = stat()
        if unsafe fstat(2, &status) == 0, status.st_mode & 0o170000 == 0o100000, status.st_size > 8 << 20 {
            _ = ftruncate(2, 0)
        }
    }
}
