internal import CLinux
public import Sys

/// The network namespace that this process works in, and the way into others and back.
///
/// `setns` acts on the calling thread. An excursion is one synchronous closure: nothing else can run on the
/// thread before it is back. Descriptors made inside stay what they are.
public final class HomeNamespace: Sendable {
    private let home: Descriptor
    public let identity: FileIdentity

    /// Home is where the calling thread is now.
    public init() throws(NamespaceError) {
        do throws(SystemError) {
            home = try Descriptor.open("/proc/thread-self/ns/net", O_RDONLY)
            identity = try FileIdentity(of: home)
        } catch {
            throw NamespaceError(error)
        }
    }

    /// Runs `body` in a network namespace, and returns what it returns. Takes two `setns`, some 2 µs.
    /// - Throws: what `body` throws; `NamespaceError` if the namespace cannot be entered.
    public func inside<R: ~Copyable>(
        _ namespace: borrowing Descriptor, _ body: () throws -> R
    ) throws -> R {
        let number = namespace.rawValue
        do throws(SystemError) {
            try system("setns", "network namespace") { cl_setns(number, Int32(CL_NEWNET)) }
        } catch {
            throw NamespaceError(error)
        }
        defer { comeBack() }
        return try body()
    }

    /// Makes a network namespace, and hands it over. It dies with its last holder.
    public func makeNamespace() throws -> NetworkNamespace {
        do throws(SystemError) {
            try system("unshare", "network namespace") { cl_unshare(Int32(CL_NEWNET)) }
        } catch {
            throw NamespaceError(error)
        }
        defer { comeBack() }
        return try NetworkNamespace.current()
    }

    /// With a descriptor in hand and the power to have left, the kernel has no reason to refuse. A thread that
    /// cannot come back must not go on: everything after would happen in the wrong network.
    private func comeBack() {
        if cl_setns(home.rawValue, Int32(CL_NEWNET)) != 0 { CLinux.abort() }
    }
}
