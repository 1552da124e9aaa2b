internal import CLinux
package import Sys

/// Something a child does before it becomes its program.
package enum ChildStep: Hashable, Sendable {
    /// Enters a namespace; the descriptor stays open until the child is started.
    case join(Int32, NamespaceKinds)
    /// Enters the network namespace at a path that the child sees by then, if it is still this one.
    case joinNetwork(path: String, FileIdentity)
    case unshare(NamespaceKinds)
    /// Maps the id that the child had before `unshare` to this one, alone.
    case mapOwn(uid: UInt32, gid: UInt32)
    case write(String, to: String)
    case mount(source: String, target: String, type: String?, flags: UInt, data: String?)
    case changeDirectory(String)
    case newSession
    /// Sent to the child when the thread that started it ends.
    case deathSignal(Int32)
    case noNewPrivileges
    /// Limits what exec can ever give to these capabilities, bit by number.
    case boundCapabilities(UInt64)
    case loopbackUp
    /// A TAP interface of this name without a program behind it, made anew or removed.
    case tap(String, isPresent: Bool)
    /// Closes all but 0, 1 and 2: for a child that becomes no program and lives on.
    case closeOthers
    /// Waits for `ChildProcess.resume()`.
    case pause
    /// Becomes another user, without supplementary groups.
    case user(uid: UInt32, gid: UInt32)

    /// For errors: what was being done.
    var subject: String {
        switch self {
        case .join(_, let kinds): "enter the \(kinds)"
        case .joinNetwork(let path, _): "enter the network namespace \(path)"
        case .unshare(let kinds): "make a \(kinds)"
        case .mapOwn: "write the id maps"
        case .write(let text, let path): "write \"\(text)\" to \(path)"
        case .mount(let source, let target, let type, _, _): "mount \(type ?? source) on \(target)"
        case .changeDirectory(let path): "change directory to \(path)"
        case .newSession: "start a session"
        case .deathSignal: "ask for a signal at the parent's end"
        case .noNewPrivileges: "give up new privileges"
        case .boundCapabilities: "limit the capabilities"
        case .loopbackUp: "bring lo up"
        case .tap(let name, let isPresent):
            "\(isPresent ? "make" : "remove") the interface \(name) with /dev/net/tun"
        case .closeOthers: "close descriptors"
        case .pause: "wait"
        case .user(let uid, _): "become user \(uid)"
        }
    }
}

/// Kinds of namespaces: CLONE_NEW* of sched.h.
package struct NamespaceKinds: OptionSet, Hashable, Sendable, CustomStringConvertible {
    package let rawValue: Int32
    package init(rawValue: Int32) { self.rawValue = rawValue }

    package static let mount = NamespaceKinds(rawValue: Int32(CL_NEWNS))
    package static let user = NamespaceKinds(rawValue: Int32(CL_NEWUSER))
    package static let network = NamespaceKinds(rawValue: Int32(CL_NEWNET))

    package var description: String {
        var names: [String] = []
        if contains(.user) { names.append("user") }
        if contains(.network) { names.append("network") }
        if contains(.mount) { names.append("mount") }
        return names.joined(separator: ", ") + " namespace"
    }
}

/// A program to start, and what its process does first. Inert until `start()`.
package struct ProcessPlan: Hashable, Sendable {
    /// The program by name or path, then its arguments. Without any, the child ends after its steps.
    package var arguments: [String]
    /// The file to run, if it is not the first argument.
    package var program: String?
    /// "NAME=value"; nil hands down our own.
    package var environment: [String]?
    package var steps: [ChildStep] = []
    /// Steps that may fail: the child goes on, and `ChildProcess.skipped` tells.
    package var optional: Set<Int> = []
    /// Become the child's 0, 1, 2 and so on; no other descriptor reaches the program.
    package var descriptors: [Int32] = [0, 1, 2]

    package init(_ arguments: [String] = [], environment: [String]? = nil) {
        self.arguments = arguments
        self.environment = environment
    }

    package mutating func add(_ step: ChildStep, optional mayFail: Bool = false) {
        if mayFail { optional.insert(steps.count) }
        steps.append(step)
    }

    /// Forks. The steps run at once, up to the first pause.
    package func start() throws(NamespaceError) -> ChildProcess {
        guard let plan = unsafe cl_plan_new() else { throw NamespaceError(SystemError("calloc", .noMemory)) }
        defer { unsafe cl_plan_free(plan) }
        do throws(SystemError) {
            for argument in arguments {
                try system("fork", argument) { unsafe cl_plan_argument(plan, argument) }
            }
            if let program { try system("fork", program) { unsafe cl_plan_program(plan, program) } }
            if let environment {
                unsafe cl_plan_empty_environment(plan)
                for variable in environment {
                    try system("fork", variable) { unsafe cl_plan_variable(plan, variable) }
                }
            }
            for number in descriptors { try system("fork") { unsafe cl_plan_descriptor(plan, number) } }
            for (index, step) in steps.enumerated() {
                try system("fork") { unsafe step.append(to: plan, optional: optional.contains(index)) }
            }
            var reports: Int32 = -1
            var go: Int32 = -1
            let pid = try system("fork") { unsafe cl_plan_start(plan, &reports, &go) }
            return ChildProcess(
                pid: pid, plan: self, reports: Descriptor(owning: reports), go: Descriptor(owning: go))
        } catch {
            throw NamespaceError(.child, "cannot start \(arguments.first ?? "a process")", cause: error)
        }
    }
}

extension ChildStep {
    fileprivate func append(to plan: OpaquePointer, optional: Bool) -> Int32 {
        func step(
            _ kind: cl_step_kind, _ one: UInt64 = 0, _ two: UInt64 = 0, _ a: String? = nil,
            _ b: String? = nil,
            _ c: String? = nil, _ d: String? = nil
        ) -> Int32 {
            unsafe cl_plan_step(plan, Int32(kind.rawValue), optional ? 1 : 0, one, two, a, b, c, d)
        }
        switch self {
        case .join(let number, let kinds): return step(CL_STEP_JOIN, UInt64(number), UInt64(kinds.rawValue))
        case .joinNetwork(let path, let identity):
            return step(CL_STEP_JOIN_PATH, identity.device, identity.inode, path)
        case .unshare(let kinds): return step(CL_STEP_UNSHARE, UInt64(kinds.rawValue))
        case .mapOwn(let uid, let gid): return step(CL_STEP_MAP_OWN, UInt64(uid), UInt64(gid))
        case .write(let text, let path): return step(CL_STEP_WRITE, 0, 0, path, text)
        case .mount(let source, let target, let type, let flags, let data):
            return step(CL_STEP_MOUNT, UInt64(flags), 0, source, target, type, data)
        case .changeDirectory(let path): return step(CL_STEP_CHDIR, 0, 0, path)
        case .newSession: return step(CL_STEP_SESSION)
        case .deathSignal(let signal): return step(CL_STEP_DEATH_SIGNAL, UInt64(signal))
        case .noNewPrivileges: return step(CL_STEP_NO_PRIVILEGES)
        case .boundCapabilities(let mask): return step(CL_STEP_BOUND, mask)
        case .loopbackUp: return step(CL_STEP_LOOPBACK)
        case .tap(let name, let isPresent): return step(CL_STEP_TAP, isPresent ? 1 : 0, 0, name)
        case .closeOthers: return step(CL_STEP_CLOSE)
        case .pause: return step(CL_STEP_PAUSE)
        case .user(let uid, let gid): return step(CL_STEP_USER, UInt64(uid), UInt64(gid))
        }
    }
}
