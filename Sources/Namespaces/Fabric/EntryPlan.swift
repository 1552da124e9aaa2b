internal import CLinux
package import Sys

/// How a command enters namespaces that are there already: an endpoint's, or the fabric's own.
package struct EntryPlan: ~Copyable {
    private var plan: ProcessPlan
    // Held open until the child has entered them.
    private var user: Descriptor?
    private var network: Descriptor?
    private var mounts: Descriptor?
    private var fabric: FabricNamespaces?

    /// In the fabric's user and mount namespaces, as root there: what a container runtime is started in.
    package static func fabric(_ command: [String], record: FabricRecord) throws(NamespaceError) -> EntryPlan
    {
        var entry = EntryPlan(plan: ProcessPlan(command))
        // With --host the fabric has none of its own, and every namespace can be attached as it is.
        if record.mode == .rootless { try entry.enter(record) }
        entry.plan.add(.deathSignal(SIGKILL))
        return entry
    }

    /// In an endpoint's network namespace.
    ///
    /// Where that is a process's, the command is in its user namespace too, and in its mount namespace: it sees the
    /// files that a container sees. Where the process has no mounts of its own, or a path leads to the namespace,
    /// it sees the fabric's files, which are the caller's, with `files` in their place.
    /// - Parameters:
    ///   - path: as the endpoint was attached with; `/proc/PID/ns/net` for commands of `forge run`.
    ///   - identity: of the namespace that was attached, so that a number given to another process is
    ///   noticed.
    ///   - record: of the running fabric.
    /// - Throws: `.gone` if a process has another namespace now. For a path the child fails at its start instead:
    ///   what is there is known where the fabric sees it.
    package static func endpoint(
        _ command: [String], path: String, identity: FileIdentity, record: FabricRecord, files: MountedFiles
    ) throws(NamespaceError) -> EntryPlan {
        var entry = EntryPlan(plan: ProcessPlan(command))
        if let process = processOf(path) {
            try entry.enter(process, path: path, identity, record, files)
        } else {
            // Who bound the namespace to the path may have done so where the fabric sees it, and not the host.
            if record.mode == .rootless { try entry.enter(record) }
            entry.plan.add(.joinNetwork(path: path, identity))
            entry.mount(files)
        }
        if geteuid() != 0 { entry.plan.add(.noNewPrivileges) }
        entry.plan.add(.deathSignal(SIGKILL))
        return entry
    }

    private mutating func enter(
        _ process: String, path: String, _ identity: FileIdentity, _ record: FabricRecord,
        _ files: MountedFiles
    ) throws(NamespaceError) {
        let namespace = try NetworkNamespace.openUnowned(path: path)
        guard namespace.identity == identity else {
            throw NamespaceError(.gone, "the network namespace that was attached as \(path) is gone")
        }
        do throws(SystemError) {
            let network = try namespace.descriptor.duplicate()
            let number = network.rawValue
            let owner = Descriptor(owning: try system("NS_GET_USERNS", path) { cl_ns_owner(number) })
            if try FileIdentity(of: owner) != .ours("user") { plan.add(.join(owner.rawValue, .user)) }
            plan.add(.join(number, .network))
            let mounts = try Descriptor.open("\(process)/ns/mnt", O_RDONLY)
            let place = try FileIdentity(of: mounts)
            let isOurs = try place == .ours("mnt")
            if !isOurs { enterMounts(mounts.rawValue) }
            if isOurs || place == record.mount?.identity { mount(files) }
            self.mounts = consume mounts
            user = consume owner
            self.network = consume network
        } catch {
            throw NamespaceError(.foreign, "cannot enter \(path): \(error)", cause: error)
        }
    }

    /// The fabric's user and mount namespaces.
    private mutating func enter(_ record: FabricRecord) throws(NamespaceError) {
        let namespaces = try record.openNamespaces()
        plan.add(.join(namespaces.user.rawValue, .user))
        enterMounts(namespaces.mount.rawValue)
        fabric = consume namespaces
    }

    private mutating func mount(_ files: MountedFiles) {
        plan.add(.unshare(.mount))
        files.mount(in: &plan)
    }

    private mutating func enterMounts(_ namespace: Int32) {
        plan.add(.join(namespace, .mount))
        // setns(2) into a mount namespace leads to its root.
        plan.add(.changeDirectory(Self.currentDirectory), optional: true)
    }

    private init(plan: ProcessPlan) {
        self.plan = plan
        user = nil
        network = nil
        mounts = nil
        fabric = nil
    }

    package consuming func start() throws(NamespaceError) -> ChildProcess { try plan.start() }

    /// "/proc/12" of "/proc/12/ns/net".
    private static func processOf(_ path: String) -> String? {
        let parts = path.split(separator: "/")
        guard parts.count == 4, parts[0] == "proc", UInt32(parts[1]) != nil, parts[2...] == ["ns", "net"]
        else { return nil }
        return "/proc/\(parts[1])"
    }

    private static var currentDirectory: String {
        var room = [CChar](repeating: 0, count: Int(PATH_MAX))
        guard unsafe room.withUnsafeMutableBufferPointer({ unsafe getcwd($0.baseAddress, $0.count) }) != nil
        else {
            return "/"
        }
        return String(decoding: room.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}

extension FileIdentity {
    /// Of the calling process's namespace of this kind, as proc(5) has it.
    fileprivate static func ours(_ kind: String) throws(SystemError) -> FileIdentity {
        try FileIdentity(of: try .open("/proc/self/ns/\(kind)", O_RDONLY))
    }
}
