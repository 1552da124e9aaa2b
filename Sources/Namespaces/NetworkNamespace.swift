internal import CLinux
public import Sys

/// A network namespace held open: it lives at least as long as this value.
public struct NetworkNamespace: ~Copyable, Sendable {
    public let descriptor: Descriptor
    /// Two descriptors are of the same namespace exactly when these are equal.
    public let identity: FileIdentity
    /// Where it was found: a path under `/run/netns` or `/proc`.
    public let path: String

    /// Takes over a descriptor that is known to be of a network namespace.
    package init(_ descriptor: consuming Descriptor, path: String) throws(SystemError) {
        identity = try FileIdentity(of: descriptor)
        self.descriptor = descriptor
        self.path = path
    }

    /// Opens the namespace at a path, and makes sure that it is one and that this process has power over it.
    ///
    /// - Parameter home: the namespace that is not to be had; nil for the one that this thread is in.
    /// - Throws: `.notANetworkNamespace`, `.foreign` if its user namespace is neither ours nor made within
    ///   ours, `.own` if it is home.
    public static func open(path: String, home: FileIdentity? = nil) throws(NamespaceError)
        -> NetworkNamespace
    {
        let namespace = try openUnowned(path: path)
        try namespace.requireOwnership()
        let own = if let home { home } else { try current().identity }
        if namespace.identity == own {
            throw NamespaceError(
                .own, "\(path) is the fabric's own network namespace, which cannot be attached to itself")
        }
        return namespace
    }

    /// Opens the namespace that a process is in.
    ///
    /// - Throws: as `open(path:)`, and `.gone` if there is no such process any more.
    public static func open(pid: Int32, home: FileIdentity? = nil) throws(NamespaceError) -> NetworkNamespace
    {
        guard pid > 0 else { throw NamespaceError(.gone, "pid \(pid) is not a process") }
        do throws(NamespaceError) {
            return try open(path: "/proc/\(pid)/ns/net", home: home)
        } catch {
            // The optimizer of Swift 6.3 crashes on "a || b" ahead of throwing the value that both read.
            let errno = error.cause?.errno
            guard errno == .noEntry || errno == .noProcess else { throw error }
            throw NamespaceError(.gone, "there is no process \(pid)", cause: error.cause)
        }
    }

    /// The namespace that the calling thread is in.
    package static func current() throws(NamespaceError) -> NetworkNamespace {
        try openUnowned(path: "/proc/thread-self/ns/net")
    }

    /// Opens and checks the kind, whoever the owner is.
    package static func openUnowned(path: String) throws(NamespaceError) -> NetworkNamespace {
        let namespace: NetworkNamespace?
        do throws(SystemError) {
            namespace = try openIfNetwork(path)
        } catch {
            switch error.errno {
            case .access, .notPermitted:
                throw NamespaceError(.foreign, "\(path) belongs to another user", cause: error)
            case .noEntry: throw NamespaceError(.notANetworkNamespace, "\(path) does not exist", cause: error)
            default: throw NamespaceError(.system, "network namespace \(path)", cause: error)
            }
        }
        if let namespace { return namespace }
        throw NamespaceError(.notANetworkNamespace, "\(path) is not a network namespace")
    }

    /// Nil if it is something else.
    private static func openIfNetwork(_ path: String) throws(SystemError) -> NetworkNamespace? {
        // First without opening what is there: a device could act on being opened, a pipe would block.
        let place = try Descriptor.open(path, Int32(CL_O_PATH))
        guard cl_filesystem_type(place.rawValue) == Int64(CL_NSFS_MAGIC) else { return nil }
        let descriptor = try Descriptor.open("/proc/self/fd/\(place.rawValue)", O_RDONLY)
        let number = descriptor.rawValue
        guard try system("NS_GET_NSTYPE", path, { cl_ns_type(number) }) == Int32(CL_NEWNET) else {
            return nil
        }
        return try NetworkNamespace(descriptor, path: path)
    }

    private borrowing func requireOwnership() throws(NamespaceError) {
        // ioctl_ns(2): EPERM when the owning user namespace is outside the caller's.
        let number = descriptor.rawValue
        do throws(SystemError) {
            _ = Descriptor(owning: try system("NS_GET_USERNS", path) { cl_ns_owner(number) })
        } catch {
            throw NamespaceError(
                .foreign,
                "\(path) belongs to another user or to the host; a runtime whose namespaces shall be attached is "
                    + "started with \"forge unshare\"", cause: error)
        }
    }
}
