internal import CLinux
internal import Sys

/// How a command gets namespaces of its own within the fabric, and none of the fabric's power.
///
/// ```
/// caller's user namespace            fabric's user namespace            the command's user namespace
///   fork ---- setns(user) ------------> all capabilities --- unshare ---> owns the command's network
///   namespace own id as outside, exec drops the rest
/// ```
/// The network namespace is owned by a child of the fabric's user namespace, so the manager has power over
/// it; the command sits in that child and has none over the fabric.
package struct CommandPlan: ~Copyable {
    private let plan: ProcessPlan
    /// Root keeps all its ids, which only somebody outside can map.
    private let needsIdentityMaps: Bool
    // Held open until the child has entered them.
    private let namespaces: FabricNamespaces?

    /// What exec may ever give to a command that runs as root: what container runtimes commonly grant, by
    /// number of linux/capability.h. Among what is missing: CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_SYS_PTRACE.
    private static let rootCapabilities: UInt64 = [
        0, 1, 3, 4, 5, 6, 7,  // chown, dac_override, fowner, fsetid, kill, setgid, setuid
        8, 10, 13, 18,  // setpcap, net_bind_service, net_raw, sys_chroot
        27, 29, 31,  // mknod, audit_write, setfcap
    ].reduce(0) { $0 | 1 << $1 }

    /// - Parameters:
    ///   - record: of the running fabric.
    ///   - hidden: directories that appear empty to the command: whoever reaches the API may change policy.
    /// - Throws: `.gone` if the fabric is not there any more.
    package init(
        _ command: [String], record: FabricRecord, files: MountedFiles, hidden: [String]
    ) throws(NamespaceError) {
        var plan = ProcessPlan(command)
        let isRoot = geteuid() == 0
        needsIdentityMaps = isRoot && record.mode == .host
        switch record.mode {
        case .rootless:
            let fabric = try record.openNamespaces()
            plan.add(.join(fabric.user.rawValue, .user))
            namespaces = consume fabric
        case .host: namespaces = nil
        }
        // The mounts are a copy of the caller's: a command sees the files that its caller sees.
        plan.add(.unshare([.user, .network, .mount]))
        plan.add(needsIdentityMaps ? .pause : .mapOwn(uid: geteuid(), gid: getegid()))
        // So that servers on port 80 and ping need no capability. The group range must be one that is mapped.
        plan.add(.write("0", to: "/proc/sys/net/ipv4/ip_unprivileged_port_start"), optional: true)
        let groups = needsIdentityMaps ? "0 \(Self.lastMappedGroup)" : "\(getegid()) \(getegid())"
        plan.add(.write(groups, to: "/proc/sys/net/ipv4/ping_group_range"), optional: true)
        plan.add(.pause)

        // Only now, since the files are written when the addresses are known.
        files.mount(in: &plan)
        for path in hidden where unsafe access(path, F_OK) == 0 {
            plan.add(
                .mount(
                    source: "tmpfs", target: path, type: "tmpfs",
                    flags: UInt(MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC),
                    data: "size=4k,nr_inodes=1,mode=755"))
        }
        if isRoot && record.mode == .host {
            plan.add(.boundCapabilities(Self.rootCapabilities))
        } else {
            // Else a file capability of the host's would hold here, over this network namespace:
            // capabilities(7).
            plan.add(.noNewPrivileges)
        }
        // Last, since a change of credentials clears it.
        plan.add(.deathSignal(SIGKILL))
        self.plan = plan
    }

    /// Starts the child, which stops when its namespaces are there and before anything else.
    package consuming func start() throws(NamespaceError) -> ChildProcess {
        var child = try plan.start()
        if needsIdentityMaps {
            try child.waitUntilPaused()
            try IDMaps.writeIdentity(pid: child.pid)
            try child.resume()
        }
        try child.waitUntilPaused()
        return child
    }

    /// The kernel takes half of what a group id can be: net/ipv4/ping.h.
    private static var lastMappedGroup: UInt64 {
        let first = ((try? readFile("/proc/self/gid_map")) ?? "").split(separator: "\n").first?.split(
            separator: " ")
        let count = first.flatMap { $0.count == 3 ? UInt64($0[2]) : nil } ?? 1
        return min(count, 1 << 31) - 1
    }
}
