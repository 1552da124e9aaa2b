internal import CLinux
package import Sys

/// How a command enters namespaces that are there already: an endpoint's, or the fabric's own.
package struct EntryPlan: ~Copyable {
    private var plan: ProcessPlan
    // Held open until the child has entered them.
    private var user: Descriptor?
    private var network: Descriptor?
    private var mount: Descriptor?

    /// In the fabric's user and mount namespaces, as root there: what a container runtime is started in.
    package static func fabric(_ command: [String], record: FabricRecord) throws(NamespaceError) -> EntryPlan
    {
        var entry = EntryPlan(plan: ProcessPlan(command))
        // With --host the fabric has none of its own, and every namespace can be attached as it is.
        if record.mode == .rootless {
            let namespaces = try record.openNamespaces()
            entry.plan.add(.join(namespaces.user.rawValue, .user))
            entry.plan.add(.join(namespaces.mount.rawValue, .mount))
            // setns(2) into a mount namespace leads to its root.
            entry.plan.add(.changeDirectory(currentDirectory), optional: true)
            entry.fabric = consume namespaces
        }
        entry.plan.add(.deathSignal(SIGKILL))
        return entry
    }

    private var fabric: FabricNamespaces?

    /// In an endpoint's network namespace, and if that is a process's, in its user and mount namespaces too.
    ///
    /// - Parameters:
    ///   - path: as the endpoint was attached with; `/proc/PID/ns/net` for commands of `forge run`.
    ///   - identity: of the namespace that was attached, so that a number given to another process is
    ///   noticed.
    /// - Throws: `.gone` if another namespace is there now.
    package static func endpoint(
        _ command: [String], path: String, identity: FileIdentity
    ) throws(NamespaceError) -> EntryPlan {
        let namespace = try NetworkNamespace.openUnowned(path: path)
        guard namespace.identity == identity else {
            throw NamespaceError(.gone, "the network namespace that was attached as \(path) is gone")
        }
        var entry = EntryPlan(plan: ProcessPlan(command))
        do throws(SystemError) {
            let network = try namespace.descriptor.duplicate()
            let number = network.rawValue
            let owner = Descriptor(owning: try system("NS_GET_USERNS", path) { cl_ns_owner(number) })
            let home = try FileIdentity(of: try .open("/proc/self/ns/user", O_RDONLY))
            let isElsewhere = try FileIdentity(of: owner) != home
            if isElsewhere { entry.plan.add(.join(owner.rawValue, .user)) }
            entry.plan.add(.join(number, .network))
            if isElsewhere, let process = processOf(path) {
                let mount = try Descriptor.open("\(process)/ns/mnt", O_RDONLY)
                entry.plan.add(.join(mount.rawValue, .mount))
                entry.plan.add(.changeDirectory(currentDirectory), optional: true)
                entry.mount = consume mount
            }
            if geteuid() != 0 { entry.plan.add(.noNewPrivileges) }
            entry.plan.add(.deathSignal(SIGKILL))
            entry.user = consume owner
            entry.network = consume network
        } catch {
            throw NamespaceError(.foreign, "cannot enter \(path): \(error)", cause: error)
        }
        return entry
    }

    private init(plan: ProcessPlan) {
        self.plan = plan
        user = nil
        network = nil
        mount = nil
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
