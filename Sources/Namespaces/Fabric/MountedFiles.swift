internal import CLinux

/// An `/etc/hosts` and `/etc/resolv.conf` of a command's own, instead of the system's.
package struct MountedFiles: Hashable, Sendable {
    /// Holds `hosts` and `resolv.conf` by the time that the command starts.
    package let directory: String
    package init(directory: String) { self.directory = directory }

    /// For a child in a mount namespace that nobody else is in.
    func mount(in plan: inout ProcessPlan) {
        plan.add(.mount(source: "none", target: "/", type: nil, flags: UInt(MS_SLAVE | MS_REC), data: nil))
        let names = ["hosts", "resolv.conf"]
        if names.allSatisfy({ unsafe access("/etc/\($0)", F_OK) == 0 }) {
            // mount(2) follows a symbolic link such as the one to systemd's stub: what it leads to is
            // covered.
            for name in names {
                plan.add(
                    .mount(
                        source: "\(directory)/\(name)", target: "/etc/\(name)", type: nil,
                        flags: UInt(MS_BIND), data: nil))
            }
            return
        }
        // There is nothing to cover, or a link that leads nowhere: our files are laid over the whole
        // directory. overlayfs separates layers by colons.
        let layer = directory.reduce(into: "") {
            $0 += $1 == ":" || $1 == "\\" || $1 == "," ? "\\\($1)" : "\($1)"
        }
        plan.add(
            .mount(
                source: "overlay", target: "/etc", type: "overlay", flags: 0, data: "lowerdir=\(layer):/etc"))
    }
}
