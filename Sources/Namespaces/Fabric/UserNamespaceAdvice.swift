package import Sys

/// Why this system let no user namespace be made, and what would change that.
package enum UserNamespaceAdvice {
    /// - Parameter sysctl: reads a file below `/proc/sys`; nil if there is none.
    package static func sentence(for errno: Errno, sysctl: (String) -> String?) -> String? {
        func value(_ path: String) -> String? {
            sysctl(path)?.split(whereSeparator: \.isWhitespace).first.map(String.init)
        }
        // Each of these answers EPERM or ENOSPC; which one it was, only the settings tell.
        if value("user/max_user_namespaces") == "0" {
            return "user namespaces are turned off here: sysctl user.max_user_namespaces is 0"
        }
        if value("user/max_net_namespaces") == "0" {
            return "network namespaces are turned off here: sysctl user.max_net_namespaces is 0"
        }
        if errno == .noSpace {
            return
                "too many namespaces are in use: sysctl user.max_user_namespaces or user.max_net_namespaces"
        }
        guard errno == .notPermitted || errno == .access else { return nil }
        // Debian's own setting.
        if value("kernel/unprivileged_userns_clone") == "0" {
            return "user namespaces are for root only here: sysctl kernel.unprivileged_userns_clone is 0"
        }
        // Ubuntu 23.10 and later.
        if value("kernel/apparmor_restrict_unprivileged_userns") == "1" {
            return
                "AppArmor restricts user namespaces here: set sysctl kernel.apparmor_restrict_unprivileged_userns to 0, "
                + "or give forged an AppArmor profile that allows userns"
        }
        return
            "user namespaces are not allowed here: a security module, a seccomp filter or a chroot forbids them"
    }

    package static func systemSetting(_ path: String) -> String? {
        try? readFile("/proc/sys/" + path, limit: 4096)
    }
}
