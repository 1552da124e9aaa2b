internal import CLinux
package import Namespaces
package import Sys
package import Testing

/// The real `forged` and `forge` of this build, on directories and in a network namespace of their own.
///
/// Ends with the value: `forged` is stopped, the directories are removed.
package final class FabricFixture {
    /// Whose fabric it is.
    package enum Owner: Hashable, Sendable, CaseIterable, CustomStringConvertible {
        /// Root, with `--host`, in a fresh network namespace.
        case rootOnHost
        /// An ordinary user to whom subordinate ids are granted: `forge-lab`, made by set-up.
        case userWithSubordinates
        /// An ordinary user with nothing but the own id: `forge-plain`, made by set-up.
        case userAlone

        package var description: String {
            switch self {
            case .rootOnHost: "root with --host"
            case .userWithSubordinates: "a user with subordinate ids"
            case .userAlone: "a user without subordinate ids"
            }
        }

        fileprivate var account: String? {
            switch self {
            case .rootOnHost: nil
            case .userWithSubordinates: Lab.environment("FORGE_LAB_USER") ?? "forge-lab"
            case .userAlone: Lab.environment("FORGE_PLAIN_USER") ?? "forge-plain"
            }
        }
    }

    package let owner: Owner
    package let paths: FabricPaths
    /// Holds everything else of the fixture; the owner's.
    private let temporary: TemporaryDirectory
    package let directory: String
    /// Where the programs are, readable by the owner.
    package let programs: String
    /// The network namespace that stands for the host's.
    package let host: LabNamespace

    private let ids: (uid: UInt32, gid: UInt32)?

    /// - Throws: `Unavailable` if the machine lacks what this owner needs; see `available`.
    package init(_ owner: Owner) throws {
        if let reason = Self.missing(owner) { throw Unavailable(reason: reason) }
        self.owner = owner
        ids = owner.account.flatMap { accountIDs(name: $0) }
        host = try LabNamespace()
        temporary = try TemporaryDirectory()
        directory = temporary.path
        paths = FabricPaths(runtimeDirectory: directory + "/run", stateDirectory: directory + "/state")
        programs = directory + "/bin"
        if let ids {
            try system("chown", directory) { [directory] in unsafe chown(directory, ids.uid, ids.gid) }
        }
        // The build may lie where only root can look; here anybody can. The mount is the lab's alone.
        try system("mkdir", programs) { [programs] in unsafe mkdir(programs, 0o755) }
        let build = try Self.buildDirectory()
        try system("mount", programs) { [programs] in unsafe mount(build, programs, nil, UInt(MS_BIND), nil) }
    }

    deinit {
        if let holder = try? FabricLock.holderHandle(paths) {
            try? holder.signal(SIGTERM)
            if (try? holder.waitForEnd(milliseconds: 8000)) != true { try? holder.signal(SIGKILL) }
        }
        _ = unsafe umount2(programs, Int32(MNT_DETACH))
    }

    /// Whether tests with this owner can run here. Where they cannot: a failure in CI, else said loudly.
    package static func available(_ owner: Owner, sourceLocation: SourceLocation = #_sourceLocation) -> Bool {
        guard let reason = missing(owner) else { return true }
        Lab.missing(reason, sourceLocation: sourceLocation)
        return false
    }

    /// The owners that tests can run with here.
    package static var availableOwners: [Owner] { Owner.allCases.filter { missing($0) == nil } }

    /// What keeps an owner's fabric from being tested, nil if nothing does.
    package static func missing(_ owner: Owner) -> String? {
        if let reason = Lab.unavailable { return "the lab cannot be entered: \(reason)" }
        guard let account = owner.account else { return nil }
        // newuidmap is of no use within a user namespace, where its owner, root, is nobody.
        guard Lab.isRoot else { return "a fabric of \(account)'s is tested by root only" }
        guard let ids = accountIDs(name: account) else {
            return "there is no user \(account): run scripts/setup --for test"
        }
        let granted = SubordinateIDs.of(uid: ids.uid).isUsable
        guard granted == (owner == .userWithSubordinates) else {
            return "user \(account) has \(granted ? "" : "no ")subordinate ids"
        }
        return nil
    }

    /// The machine lacks something.
    package struct Unavailable: Error, CustomStringConvertible {
        let reason: String
        package var description: String { reason }
    }

    /// A program as the fabric's owner would start it, on the host's network.
    package func plan(_ arguments: [String], environment extra: [String] = []) -> ProcessPlan {
        var plan = host.plan(arguments)
        // The first of equal names counts.
        plan.environment =
            extra + [
                "PATH=\(programs):/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME=\(directory)", "LANG=C.UTF-8",
                "FORGE_RUNTIME_DIR=\(paths.runtimeDirectory)", "FORGE_STATE_DIR=\(paths.stateDirectory)",
            ]
        for name in ["LD_LIBRARY_PATH", "FORGE_LOG"] {
            if let value = Lab.environment(name) { plan.environment?.append("\(name)=\(value)") }
        }
        if let ids { plan.add(.user(uid: ids.uid, gid: ids.gid)) }
        plan.add(.changeDirectory(directory))
        return plan
    }

    /// Runs a program as the owner, to its end.
    package func run(_ arguments: [String], timeoutSeconds: Double = 30) throws -> ProgramResult {
        try plan(arguments).run(timeoutSeconds: timeoutSeconds)
    }

    /// Runs `forge` as the owner, to its end.
    package func forge(_ arguments: String..., timeoutSeconds: Double = 30) throws -> ProgramResult {
        try run(["\(programs)/forge"] + arguments, timeoutSeconds: timeoutSeconds)
    }

    /// Starts the fabric and waits until it answers.
    package func up() throws {
        var arguments = ["\(programs)/forge", "up"]
        if owner == .rootOnHost { arguments.append("--host") }
        let result = try run(arguments)
        guard result.status.code == 0 else { throw Unavailable(reason: "forge up: \(result.errors)\(log)") }
    }

    /// What `forged` has written so far.
    package var log: String { (try? readFile(paths.log)) ?? "" }

    /// The process that serves the fabric, and the manager's.
    package var processes: (anchor: Int32, manager: Int32)? {
        guard let holder = try? FabricLock.holder(paths) else { return nil }
        if owner == .rootOnHost { return (holder, holder) }
        let children = (try? readFile("/proc/\(holder)/task/\(holder)/children")) ?? ""
        let manager = children.split(separator: " ").compactMap { Int32($0) }.last { child in
            ((try? readFile("/proc/\(child)/cmdline")) ?? "").hasPrefix("forged\0manager\0")
        }
        return manager.map { (holder, $0) }
    }

    /// Where this test program was built, and the others with it.
    private static func buildDirectory() throws -> String {
        if let given = Lab.environment("FORGE_BIN") { return given }
        var room = [CChar](repeating: 0, count: Int(PATH_MAX))
        try system("readlink", "/proc/self/exe") {
            unsafe room.withUnsafeMutableBufferPointer { room in
                unsafe room.baseAddress.map { unsafe readlink("/proc/self/exe", $0, room.count - 1) } ?? -1
            }
        }
        let path = String(decoding: room.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        let directory = path.split(separator: "/").dropLast().joined(separator: "/")
        return "/" + directory
    }
}
