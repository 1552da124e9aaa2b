internal import CLinux
package import Sys

/// The three namespaces that are a rootless fabric, held open. They end with their last holder.
package struct FabricNamespaces: ~Copyable, Sendable {
    package let user: Descriptor
    package let network: Descriptor
    package let mount: Descriptor

    /// Makes them for the calling user, who becomes 0 inside.
    ///
    /// A short-lived child does the making, so that the caller stays in the namespaces of the host.
    /// - Parameter subordinates: mapped from 1 on; with none, the own id is alone.
    /// - Throws: `.notAllowed`, `.missingTool`, `.mapping`.
    package static func make(subordinates: SubordinateIDs) throws(NamespaceError) -> FabricNamespaces {
        var plan = ProcessPlan()
        plan.add(.deathSignal(SIGKILL))
        plan.add(.unshare([.user, .network, .mount]))
        if subordinates.isUsable {
            plan.add(.pause)
        } else {
            plan.add(.mapOwn(uid: 0, gid: 0))
        }
        // Mounts of the host appear here, ours do not appear there.
        plan.add(.mount(source: "none", target: "/", type: nil, flags: UInt(MS_SLAVE | MS_REC), data: nil))
        plan.add(.loopbackUp)
        plan.add(.pause)
        do throws(NamespaceError) {
            var child = try plan.start()
            if subordinates.isUsable {
                try child.waitUntilPaused()
                try IDMaps.writeSubordinate(pid: child.pid, uid: geteuid(), gid: getegid(), subordinates)
                try child.resume()
            }
            try child.waitUntilPaused()
            return try pin(pid: child.pid)
        } catch {
            guard error.code == .child, let cause = error.cause,
                let advice = UserNamespaceAdvice.sentence(
                    for: cause.errno, sysctl: UserNamespaceAdvice.systemSetting)
            else { throw error }
            throw NamespaceError(.notAllowed, advice, cause: cause)
        }
    }

    private static func pin(pid: Int32) throws(NamespaceError) -> FabricNamespaces {
        do throws(SystemError) {
            return FabricNamespaces(
                user: try .open("/proc/\(pid)/ns/user", O_RDONLY),
                network: try .open("/proc/\(pid)/ns/net", O_RDONLY),
                mount: try .open("/proc/\(pid)/ns/mnt", O_RDONLY))
        } catch {
            throw NamespaceError(error)
        }
    }
}
