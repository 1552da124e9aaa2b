package import CLinux
package import Sys

/// Which system calls a thread may make: a program for seccomp(2), inert until it is installed.
package struct SystemCallFilter: Hashable, Sendable {
    package enum Action: Hashable, Sendable {
        case allow
        /// The call fails, and nothing else happens.
        case refuse(Errno)
        /// The whole process ends by SIGSYS.
        case kill

        /// SECCOMP_RET_*, with the error in the lower half.
        fileprivate var code: UInt32 {
            switch self {
            case .allow: UInt32(SECCOMP_RET_ALLOW)
            case .refuse(let errno): UInt32(SECCOMP_RET_ERRNO) | UInt32(errno.rawValue)
            case .kill: UInt32(SECCOMP_RET_KILL_PROCESS)
            }
        }
    }

    /// What an argument must be, in those bits of its lower half that the mask has.
    ///
    /// The kernel reads no more of an `int`. What a pointer leads to cannot be looked at.
    package struct Argument: Hashable, Sendable {
        let index: Int
        let mask: UInt32
        let value: UInt32

        package init(_ index: Int, mask: UInt32 = .max, is value: UInt32) {
            self.index = index
            self.mask = mask
            self.value = value
        }
    }

    struct Rule: Hashable, Sendable {
        let call: Int32
        let arguments: [Argument]
        let action: Action
    }

    private(set) var rules: [Rule] = []
    private let otherwise: Action

    /// - Parameter otherwise: of calls that no rule is about.
    package init(otherwise: Action) { self.otherwise = otherwise }

    /// The first rule that applies decides. One about arguments applies where all of them are as it says.
    package mutating func add(_ action: Action, _ calls: [Int32], where arguments: [Argument] = []) {
        rules += calls.map { Rule(call: $0, arguments: arguments, action: action) }
    }

    /// Filters the calling thread's calls, for good.
    /// - Throws: `SystemError`; ENOSYS or EINVAL where the kernel has no filters.
    package func install() throws(SystemError) {
        let program = program
        try system("seccomp") {
            unsafe program.withUnsafeBufferPointer {
                unsafe cl_filter_calls($0.baseAddress, Int32($0.count))
            }
        }
    }

    // MARK: The program

    /// seccomp(2): a classic BPF program (linux/filter.h) that reads `struct seccomp_data`.
    package var program: [sock_filter] {
        // Numbers mean what they mean on one machine alone.
        var program = [
            Self.load(Self.machine), Self.jump(BPF_JEQ, cl_audit_arch(), matched: 1, otherwise: 0),
            Self.end(.kill), Self.load(Self.number),
        ]
        #if arch(x86_64)
            // __X32_SYSCALL_BIT of asm/unistd.h: the same calls by other numbers.
            program += [Self.jump(BPF_JGE, 0x4000_0000, matched: 0, otherwise: 1), Self.end(.kill)]
        #endif
        for rule in rules {
            let block = Self.block(rule)
            program.append(
                Self.jump(BPF_JEQ, UInt32(rule.call), matched: 0, otherwise: UInt8(block.count)))
            program += block
        }
        return program + [Self.end(otherwise)]
    }

    /// What is done at a call of the rule's number; goes on behind it where the arguments are others.
    private static func block(_ rule: Rule) -> [sock_filter] {
        guard !rule.arguments.isEmpty else { return [end(rule.action)] }
        // Each argument takes three: load, mask, compare. Behind them the end, and the call's number once more.
        let length = rule.arguments.count * 3 + 2
        var block: [sock_filter] = []
        for argument in rule.arguments {
            block += [
                load(arguments + UInt32(argument.index) * 8),
                sock_filter(code: UInt16(BPF_ALU | BPF_AND | BPF_K), jt: 0, jf: 0, k: argument.mask),
            ]
            block.append(
                jump(BPF_JEQ, argument.value, matched: 0, otherwise: UInt8(length - block.count - 2)))
        }
        return block + [end(rule.action), load(number)]
    }

    // Offsets in struct seccomp_data of linux/seccomp.h; of an argument the lower half comes first on both machines.
    private static let number: UInt32 = 0
    private static let machine: UInt32 = 4
    private static let arguments: UInt32 = 16

    private static func load(_ offset: UInt32) -> sock_filter {
        sock_filter(code: UInt16(BPF_LD | BPF_W | BPF_ABS), jt: 0, jf: 0, k: offset)
    }

    /// So many instructions further than the next one.
    private static func jump(_ test: Int32, _ value: UInt32, matched: UInt8, otherwise: UInt8) -> sock_filter
    {
        sock_filter(code: UInt16(BPF_JMP | test | BPF_K), jt: matched, jf: otherwise, k: value)
    }

    private static func end(_ action: Action) -> sock_filter {
        sock_filter(code: UInt16(BPF_RET | BPF_K), jt: 0, jf: 0, k: action.code)
    }
}
