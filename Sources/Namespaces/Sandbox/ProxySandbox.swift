internal import CLinux
package import Sys

/// What the proxy, which reads what containers and strangers send, keeps of the system: I/O on sockets that it was
/// given, memory and time.
///
/// ```
/// closeFiles()  ──> threads are started, each with enterThread() first ──> closeProcess(), of the main thread
/// ```
package enum ProxySandbox {
    /// Opens no file from now on, as far as the kernel has Landlock. Before any thread is started.
    /// - Throws: `SystemError` where the kernel has it and does not do it.
    package static func closeFiles() throws(SystemError) {
        try system("landlock") { cl_forbid_files() }
    }

    /// Makes no system call from now on but the proxy's. Of the calling thread, before it does anything else.
    package static func enterThread() throws(SystemError) { try filter.install() }

    /// No core, no process or thread more, no file that grows beyond bounds; then as `enterThread`.
    package static func closeProcess() throws(SystemError) {
        for (limit, most) in [
            (CL_LIMIT_CORE, 0), (CL_LIMIT_PROCESSES, 0),
            // The log, which the anchor empties when it has 8 MiB and a manager is started.
            (CL_LIMIT_FILE_SIZE, 64 << 20),
        ] {
            try system("setrlimit") { cl_lower_limit(Int32(limit.rawValue), UInt64(most)) }
        }
        try enterThread()
    }

    /// What no program does by accident ends the process: whoever tries has taken it over, and gets no second try.
    /// What else it does not need fails: another C library may ask for something that this one does not.
    package static let filter: SystemCallFilter = {
        var filter = SystemCallFilter(otherwise: .refuse(.notPermitted))
        filter.add(.allow, bytes + waiting + sockets + memory + time + ending)
        filter.addSocketOptions()
        for command in [F_GETFL, F_SETFL, Int32(CL_SET_PIPE_SIZE)] {
            filter.add(.allow, [Int32(SYS_fcntl)], where: [.init(1, is: UInt32(command))])
        }
        // Memory that is written to is never run.
        let mapping = [SYS_mmap, SYS_mprotect].map { Int32($0) }
        filter.add(.kill, mapping, where: [.init(2, mask: UInt32(PROT_EXEC), is: UInt32(PROT_EXEC))])
        filter.add(.allow, mapping)
        filter.addOpening()
        filter.add(.kill, running + placing + powers + peeking)
        return filter
    }()

    // MARK: What it does. The most frequent come first; the kernel remembers from 5.11 on what is always allowed.

    private static let bytes = numbers(
        SYS_recvmmsg, SYS_sendmmsg, SYS_splice, SYS_read, SYS_write, SYS_recvfrom, SYS_sendto, SYS_recvmsg,
        SYS_sendmsg, SYS_writev)

    private static let waiting: [Int32] = {
        var calls = numbers(SYS_epoll_pwait, SYS_epoll_ctl, SYS_epoll_create1, SYS_futex, SYS_ppoll)
        #if arch(x86_64)
            calls += numbers(SYS_epoll_wait, SYS_poll, SYS_pause)
        #endif
        return calls
    }()

    /// Sockets come by the lines from manager and anchor: none is made.
    private static let sockets = numbers(
        SYS_accept4, SYS_connect, SYS_bind, SYS_shutdown, SYS_close, SYS_getsockname, SYS_pipe2)

    private static let memory = numbers(SYS_brk, SYS_munmap, SYS_mremap, SYS_madvise)

    private static let time = numbers(
        SYS_clock_gettime, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday, SYS_restart_syscall)

    /// What the C library and Swift's runtime ask on the way, or at the end.
    private static let ending = numbers(
        SYS_getrandom, SYS_getpid, SYS_gettid, SYS_sched_yield, SYS_sched_getaffinity, SYS_rt_sigprocmask,
        SYS_rt_sigreturn, SYS_exit, SYS_exit_group)

    // MARK: What ends it

    private static let running: [Int32] = {
        var calls = numbers(SYS_execve, SYS_execveat, SYS_clone, SYS_kill, SYS_tkill) + [clone3]
        #if arch(x86_64)
            calls += numbers(SYS_fork, SYS_vfork)
        #endif
        return calls
    }()

    /// Other namespaces, mounts, roots.
    private static let placing =
        numbers(SYS_unshare, SYS_setns, SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot)
        // open_tree, move_mount, fsopen, fsconfig, fsmount, fspick; mount_setattr
        + Array(428...433) + [442]

    /// Sockets of its own, and all that programs are put into the kernel by.
    private static let powers =
        numbers(
            SYS_socket, SYS_socketpair, SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_keyctl,
            SYS_add_key, SYS_request_key, SYS_init_module, SYS_finit_module, SYS_delete_module,
            SYS_memfd_create)
        // io_uring_setup, io_uring_enter, io_uring_register: calls that no filter sees. openat2, whose flags none does.
        + [425, 426, 427, 437]

    /// Other processes.
    private static let peeking =
        numbers(SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev)
        // pidfd_send_signal, pidfd_open, pidfd_getfd, process_madvise
        + [424, 434, 438, 440]

    // asm-generic/unistd.h: from 424 on numbers are the same on every machine. Headers may be older.
    private static let clone3: Int32 = 435

    private static func numbers(_ calls: Int32...) -> [Int32] { calls }
}

extension SystemCallFilter {
    /// Opening a file for writing, or making one, ends the process; opening one to read fails.
    fileprivate mutating func addOpening() {
        var calls: [(number: Int32, flags: Int)] = [(Int32(SYS_openat), 2)]
        #if arch(x86_64)
            calls.append((Int32(SYS_open), 1))
            add(.kill, [Int32(SYS_creat)])
        #endif
        for (number, flags) in calls {
            for (mask, value) in [
                (O_ACCMODE, O_WRONLY), (O_ACCMODE, O_RDWR), (O_CREAT, O_CREAT), (O_TRUNC, O_TRUNC),
            ] {
                add(.kill, [number], where: [.init(flags, mask: UInt32(mask), is: UInt32(value))])
            }
        }
    }

    /// What is set and asked of sockets, as `Publication`, `Forwarder` and `ResolverLoop` do, and nothing else: there
    /// are hundreds of options, and programs for the kernel among them.
    fileprivate mutating func addSocketOptions() {
        let set: [(Int32, Int32)] = [
            (SOL_SOCKET, SO_KEEPALIVE), (SOL_SOCKET, SO_LINGER), (SOL_SOCKET, SO_RCVBUF),
            (SOL_TCP, TCP_NODELAY), (SOL_TCP, TCP_KEEPIDLE), (SOL_TCP, TCP_KEEPINTVL), (SOL_TCP, TCP_KEEPCNT),
            (SOL_UDP, UDP_GRO), (SOL_IP, IP_PKTINFO), (SOL_IPV6, IPV6_RECVPKTINFO),
        ]
        let asked: [(Int32, Int32)] = [
            (SOL_SOCKET, SO_ERROR), (SOL_SOCKET, SO_TYPE), (SOL_SOCKET, SO_DOMAIN), (SOL_SOCKET, SO_PROTOCOL),
            (SOL_SOCKET, SO_ACCEPTCONN), (SOL_IP, IP_TRANSPARENT), (SOL_IPV6, IPV6_TRANSPARENT),
            (SOL_IP, Int32(CL_ORIGINAL_DESTINATION)),
            (SOL_IPV6, Int32(CL_ORIGINAL_DESTINATION)),
        ]
        for (call, options) in [(SYS_setsockopt, set), (SYS_getsockopt, asked)] {
            for (level, name) in options {
                add(
                    .allow, [Int32(call)], where: [.init(1, is: UInt32(level)), .init(2, is: UInt32(name))])
            }
        }
    }
}
