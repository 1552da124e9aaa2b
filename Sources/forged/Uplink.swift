internal import CLinux
internal import Namespaces
internal import Sys

/// The way out of a rootless fabric's network namespace, for networks that may be left: pasta, else
/// slirp4netns, run by the anchor.
///
/// ```
/// endpoint ─ bridge ─ policy ─ masquerade ─ tap "uplink" ─ pasta ─ sockets of the owner's, on the host
/// ```
///
/// The program stays in the host's network and moves what comes out of the tap to ordinary sockets of the
/// fabric's owner, who needs no right for that. It is told to open no port and to lead nobody to the host's
/// loopback. It ends with the anchor, not with a manager.
final class Uplink {
    private static let interface = "uplink"

    private let user: Int32
    private let network: Int32
    private var isWanted = false
    private var running: Running?
    private var restarts = RestartPolicy()
    private var restartCount: UInt32 = 0
    private var trouble = ""
    /// When to start it again; nil where nothing is waited for.
    private(set) var nextStart: ContinuousClock.Instant?

    /// - Parameters: descriptors of the fabric's namespaces, open for as long as this is used.
    init(user: Int32, network: Int32) {
        self.user = user
        self.network = network
    }

    /// A process of its own: dropping it ends it.
    private final class Child {
        var process: ChildProcess
        init(_ process: consuming ChildProcess) { self.process = process }
    }

    private final class Running {
        let program: UplinkProgram
        let child: Child
        /// Waits in the fabric's namespaces, by whose `/proc` entry the program finds them, and takes the tap
        /// away in the end.
        let holder: Child
        /// What the program says.
        let output: Descriptor
        /// slirp4netns ends when this is closed.
        let lifeline: Descriptor
        let started = ContinuousClock.now
        var isSilent = false
        var said: [UInt8] = []

        init(
            _ program: UplinkProgram, _ child: Child, _ holder: Child, _ output: consuming Descriptor,
            _ lifeline: consuming Descriptor
        ) {
            self.program = program
            self.child = child
            self.holder = holder
            self.output = output
            self.lifeline = lifeline
        }

        /// The last lines that say something, as one that is fit to be shown.
        var lastWords: String {
            let lines = said.split(separator: UInt8(ascii: "\n")).map { line in
                String(decoding: line.filter { (0x20...0x7e).contains($0) }.prefix(200), as: UTF8.self)
            }
            // pasta mourns the system log where there is none.
            return lines.filter { !$0.isEmpty && !$0.hasSuffix("to syslog") }.suffix(3).joined(
                separator: "; ")
        }
    }

    // MARK: What the anchor calls

    /// Starts or ends it. Where nothing could be started because no program is installed, tries again.
    func want(_ wanted: Bool) {
        isWanted = wanted
        if !wanted { stop() } else if running == nil, nextStart == nil { start() }
    }

    /// Readable when the program says something; -1 where there is nothing to wait for.
    var output: Int32 { running.map { $0.isSilent ? -1 : $0.output.rawValue } ?? -1 }

    /// Takes what it said: a full pipe would hold it up.
    func listen() {
        guard let running else { return }
        let part = (try? running.output.read(upTo: 4096)) ?? []
        if part.isEmpty { running.isSilent = true }
        running.said = Array((running.said + part).suffix(4096))
    }

    /// Starts it if it is time.
    func startIfDue() {
        if let time = nextStart, time <= .now { start() }
    }

    /// Looks whether it has ended, and sees to the next one.
    func reap() {
        guard let ended = running, let status = try? ended.child.process.poll() else { return }
        while !ended.isSilent { listen() }
        running = nil
        Self.takeAway(ended.holder)
        let how = status.signal == 0 ? "with code \(status.code)" : "by signal \(status.signal)"
        let words = ended.lastWords
        report("\(ended.program) ended \(how)" + (words.isEmpty ? "" : ": \(words)"))
        restartCount += 1
        nextStart = .now + restarts.ended(after: ended.started.duration(to: .now))
    }

    /// Ends it, and takes the tap away.
    func stop() {
        nextStart = nil
        trouble = ""
        guard let ended = running else { return }
        running = nil
        // It has nothing to put in order.
        ended.child.process.kill(SIGKILL)
        _ = try? ended.child.process.wait()
        Self.takeAway(ended.holder)
    }

    /// How it is now. Where no program was there, one may be by now.
    func state() -> UplinkState {
        if isWanted, running == nil, nextStart == nil { start() }
        guard let running else { return UplinkState(restarts: restartCount, trouble: trouble) }
        let lives = running.started.duration(to: .now) >= RestartPolicy.goodLife
        return UplinkState(
            program: running.program, pid: running.child.process.pid, restarts: restartCount,
            trouble: lives ? "" : trouble)
    }

    // MARK: Starting

    private func start() {
        nextStart = nil
        do throws(NamespaceError) {
            let holder = try makeHolder()
            do throws(NamespaceError) {
                for program in UplinkProgram.allCases {
                    guard let started = try launch(program, holder) else { continue }
                    running = started
                    return
                }
            } catch {
                Self.takeAway(holder)
                throw error
            }
            Self.takeAway(holder)
            report("neither pasta nor slirp4netns is installed (Debian, Ubuntu: apt-get install passt)")
        } catch {
            report("\(error)")
            nextStart = .now + max(restarts.ended(after: .zero), .seconds(1))
        }
    }

    /// Makes the tap, which the program then finds and sets up. Made beforehand since interfaces of the
    /// fabric are born without IPv6 and the program would not ask for it.
    private func makeHolder() throws(NamespaceError) -> Child {
        var plan = ProcessPlan()
        plan.add(.join(user, .user))
        plan.add(.join(network, .network))
        plan.add(.tap(Self.interface, isPresent: true))
        plan.add(.write("0", to: "/proc/sys/net/ipv6/conf/\(Self.interface)/disable_ipv6"), optional: true)
        // Last, since a change of credentials clears it: prctl(2).
        plan.add(.deathSignal(SIGKILL))
        // Among what the anchor has open is who waits for it to be closed.
        plan.add(.closeOthers)
        plan.add(.pause)
        plan.add(.tap(Self.interface, isPresent: false))
        let holder = Child(try plan.start())
        try holder.process.waitUntilPaused()
        return holder
    }

    private static func takeAway(_ holder: Child) {
        // It may have been ended by somebody; the next one begins by taking away what is left.
        try? holder.process.resume()
        _ = try? holder.process.wait()
    }

    /// - Returns: nil where the program is not installed.
    private func launch(_ program: UplinkProgram, _ holder: Child) throws(NamespaceError) -> Running? {
        let output = try opened { () throws(SystemError) in try Pipe() }
        let lifeline = try opened { () throws(SystemError) in try Pipe() }
        let nothing = try opened { () throws(SystemError) in try Descriptor.open("/dev/null", O_RDONLY) }
        var plan = ProcessPlan(Self.command(program, holder: holder.process.pid))
        plan.descriptors = [
            nothing.rawValue, output.writer.rawValue, output.writer.rawValue, lifeline.reader.rawValue,
        ]
        plan.add(.noNewPrivileges)
        plan.add(.deathSignal(SIGKILL))
        let child = Child(try plan.start())
        do throws(NamespaceError) { try child.process.waitUntilRunning() } catch {
            if let cause = error.cause, cause.call == "exec", cause.errno == .noEntry { return nil }
            throw error
        }
        return Running(program, child, holder, output.keepReader(), lifeline.keepWriter())
    }

    private func opened<R: ~Copyable>(_ body: () throws(SystemError) -> R) throws(NamespaceError) -> R {
        do throws(SystemError) { return try body() } catch { throw NamespaceError(error) }
    }

    /// In each program's words: no port opened, no way to the host's loopback, no DHCP, no name server of
    /// its own, and addresses that no network of the fabric can have (RFC 3927, and a prefix of RFC 4193).
    private static func command(_ program: UplinkProgram, holder: Int32) -> [String] {
        let (user, network) = ("/proc/\(holder)/ns/user", "/proc/\(holder)/ns/net")
        switch program {
        case .pasta:
            // Root would become nobody, who cannot enter.
            let owner = geteuid() == 0 ? ["--runas", "0"] : []
            return ["pasta", "--foreground", "--quiet"] + owner + [
                "--config-net", "-I", interface, "-t", "none", "-u", "none", "-T", "none", "-U", "none",
                "--no-map-gw", "--no-dhcp", "--no-dhcpv6", "--no-ra", "--no-netns-quit",
                "-a", "169.254.254.2", "-n", "30", "-g", "169.254.254.1",
                "-a", "fd66:6f72:6765::2", "-g", "fd66:6f72:6765::1",
                "--userns", user, "--netns", network,
            ]
        case .slirp4netns:
            // Its IPv6 needs router advertisements, which a namespace that forwards does not take.
            return [
                "slirp4netns", "--configure", "--mtu=65520", "--cidr=169.254.254.0/24",
                "--disable-host-loopback", "--disable-dns", "--enable-seccomp", "--exit-fd=3",
                "--userns-path=\(user)",
                "--netns-type=path", network, interface,
            ]
        }
    }

    /// Remembers what is wrong, and writes it down once.
    private func report(_ text: String) {
        if text != trouble { complain("no uplink: \(text)") }
        trouble = text
    }
}
