import CLab
import CLinux
import Namespaces
import Sys
import Testing

/// What a proxy that has been taken over can do still. Each deed is tried by a child of its own.
@Suite struct ProxySandboxTests {
    /// Ends whoever tries.
    private static let ending: [clab_deed] = [
        CLAB_WRITE_FILE, CLAB_MAKE_FILE, CLAB_RUN_PROGRAM, CLAB_FORK, CLAB_THREAD, CLAB_UNIX_SOCKET,
        CLAB_INTERNET_SOCKET, CLAB_NETLINK_SOCKET, CLAB_TRACE, CLAB_READ_PARENT, CLAB_SIGNAL_PARENT,
        CLAB_USER_NAMESPACE, CLAB_MOUNT, CLAB_IO_URING, CLAB_KERNEL_PROGRAM, CLAB_RUN_MEMORY,
        CLAB_MAKE_RUNNABLE,
    ]
    /// Fails.
    private static let failing: [clab_deed] = [
        CLAB_READ_FILE, CLAB_LIST_DIRECTORY, CLAB_SOCKET_FILTER, CLAB_CONTROL_DEVICE, CLAB_DUMPABLE,
    ]
    /// Of these, what nobody may do everywhere.
    private static let uncertain: Set<UInt32> = Set(
        [CLAB_THREAD, CLAB_READ_PARENT, CLAB_USER_NAMESPACE, CLAB_MOUNT, CLAB_IO_URING, CLAB_KERNEL_PROGRAM]
            .map(\.rawValue))

    private func attempt(_ deed: clab_deed, isFiltered: Bool, withoutFiles: Bool = false) -> Int32 {
        let program = isFiltered ? ProxySandbox.filter.program : []
        return unsafe program.withUnsafeBufferPointer {
            unsafe clab_do(
                Int32(deed.rawValue), $0.baseAddress, Int32($0.count), withoutFiles ? 1 : 0)
        }
    }

    @Test func `it makes no file, no process and no socket, and reaches nobody else's`() {
        for deed in Self.ending {
            #expect(attempt(deed, isFiltered: true) == -SIGSYS, "\(deed.rawValue)")
            let free = attempt(deed, isFiltered: false)
            #expect(
                free == 0 || Self.uncertain.contains(deed.rawValue) && free > 0, "\(deed.rawValue): \(free)")
        }
    }

    @Test func `it reads no file and sets nothing that it does not need`() {
        for deed in Self.failing {
            #expect(attempt(deed, isFiltered: true) == EPERM, "\(deed.rawValue)")
            #expect(attempt(deed, isFiltered: false) == 0, "\(deed.rawValue)")
        }
    }

    #if arch(x86_64)
        @Test func `other numbers for the same calls end it`() {
            #expect(attempt(CLAB_OTHER_NUMBERS, isFiltered: true) == -SIGSYS)
            #expect(attempt(CLAB_OTHER_NUMBERS, isFiltered: false) >= 0)
        }
    #endif

    @Test func `it goes on with what it has`() {
        for deed in [CLAB_ALLOCATE, CLAB_SPLICE, CLAB_ACCEPT] {
            #expect(attempt(deed, isFiltered: true, withoutFiles: true) == 0, "\(deed.rawValue)")
        }
    }

    @Test(.enabled(if: hasLandlock(), "the kernel has no Landlock"))
    func `without a filter files are out of its reach all the same`() {
        for deed in [CLAB_READ_FILE, CLAB_WRITE_FILE, CLAB_MAKE_FILE, CLAB_LIST_DIRECTORY, CLAB_RUN_PROGRAM] {
            #expect(attempt(deed, isFiltered: false, withoutFiles: true) == EACCES, "\(deed.rawValue)")
        }
        #expect(attempt(CLAB_INTERNET_SOCKET, isFiltered: false, withoutFiles: true) == 0)
    }

    @Test func `a filter's rules apply in their order, and those about arguments to these alone`() {
        var filter = SystemCallFilter(otherwise: .allow)
        let call = [Int32(SYS_socket)]
        filter.add(
            .refuse(.access), call, where: [.init(0, is: UInt32(AF_UNIX)), .init(1, mask: 0xf, is: 1)])
        filter.add(.refuse(.noEntry), call, where: [.init(0, is: UInt32(AF_INET))])
        filter.add(.kill, call)
        func attempt(_ deed: clab_deed) -> Int32 {
            let program = filter.program
            return unsafe program.withUnsafeBufferPointer {
                unsafe clab_do(Int32(deed.rawValue), $0.baseAddress, Int32($0.count), 0)
            }
        }
        // What the child has sockets for comes before its filter.
        #expect(attempt(CLAB_UNIX_SOCKET) == EACCES)
        #expect(attempt(CLAB_INTERNET_SOCKET) == ENOENT)
        #expect(attempt(CLAB_NETLINK_SOCKET) == -SIGSYS)
        #expect(attempt(CLAB_READ_FILE) == 0)
    }
}

/// landlock(7): in the list of what guards the system.
private func hasLandlock() -> Bool {
    // Asked of a child, since there is no way back.
    clab_do(Int32(CLAB_LIST_DIRECTORY.rawValue), nil, 0, 1) != 0
}
