internal import CLinux
internal import Sys

/// How ids of a new user namespace stand for ids outside it: user_namespaces(7).
package enum IDMaps {
    /// Maps 0 to the user's own id and everything above to the subordinate ranges, by `newuidmap` and
    /// `newgidmap`.
    package static func writeSubordinate(
        pid: Int32, uid: UInt32, gid: UInt32, _ ids: SubordinateIDs
    ) throws(NamespaceError) {
        try run("newuidmap", pid, own: uid, ids.uids)
        try run("newgidmap", pid, own: gid, ids.gids)
    }

    /// Gives a user namespace made by a child the very ids that we have ourselves. Needs CAP_SETUID and
    /// CAP_SETGID.
    package static func writeIdentity(pid: Int32) throws(NamespaceError) {
        for name in ["uid_map", "gid_map"] {
            do throws(SystemError) {
                let extents = try readFile("/proc/self/\(name)").split(separator: "\n").map {
                    // Each line: first id inside, first id outside, how many.
                    let fields = $0.split(separator: " ")
                    return fields.count == 3 ? "\(fields[0]) \(fields[0]) \(fields[2])\n" : ""
                }
                // The kernel wants the whole map in one write, at most 340 lines of it.
                try writeFile("/proc/\(pid)/\(name)", extents.prefix(340).joined())
            } catch {
                throw NamespaceError(
                    .mapping, "cannot write the id map of process \(pid): \(error)", cause: error)
            }
        }
    }

    /// Whether a process with CAP_SETUID and CAP_SETGID can become this user and group alone: its user namespace
    /// knows both, and lets groups be given up (user_namespaces(7)).
    package static func canBecome(uid: UInt32, gid: UInt32) -> Bool {
        guard let uids = try? readFile("/proc/self/uid_map"), let gids = try? readFile("/proc/self/gid_map"),
            let groups = try? readFile("/proc/self/setgroups", limit: 16)
        else { return false }
        return maps(uids, uid) && maps(gids, gid) && groups.hasPrefix("allow")
    }

    /// Whether an id is among those inside, in the text of a map: in each line the first id inside, the first
    /// outside, and how many.
    package static func maps(_ text: String, _ id: UInt32) -> Bool {
        text.split(separator: "\n").contains { line in
            let fields = line.split(separator: " ").compactMap { UInt32($0) }
            return fields.count == 3 && id >= fields[0] && id - fields[0] < fields[2]
        }
    }

    /// The arguments of newuidmap(1): pid, then inside, outside, count of each run.
    package static func arguments(_ tool: String, pid: Int32, own: UInt32, _ ranges: [IDRange]) -> [String] {
        var arguments = [tool, "\(pid)", "0", "\(own)", "1"]
        var inside: UInt32 = 1
        for range in ranges {
            let (next, overflow) = inside.addingReportingOverflow(range.count)
            if overflow { break }
            arguments += ["\(inside)", "\(range.start)", "\(range.count)"]
            inside = next
        }
        return arguments
    }

    private static func run(_ tool: String, _ pid: Int32, own: UInt32, _ ranges: [IDRange])
        throws(NamespaceError)
    {
        let result: ProgramResult
        do throws(NamespaceError) {
            result = try ProcessPlan(arguments(tool, pid: pid, own: own, ranges)).run(timeoutSeconds: 10)
        } catch {
            guard error.cause?.errno == .noEntry else { throw error }
            throw NamespaceError(
                .missingTool,
                "this account has subordinate ids, but \(tool) is not installed: install the package uidmap (Debian, "
                    + "Ubuntu) or shadow-utils (Fedora), or do without those ids with --no-subids",
                cause: error.cause)
        }
        guard result.status.code == 0 else {
            let words = result.errors.split(separator: "\n").joined(separator: "; ")
            throw NamespaceError(
                .mapping,
                "\(tool) refused the subordinate ids (\(words.isEmpty ? "exit \(result.status.code)" : words)); "
                    + "--no-subids does without them")
        }
    }
}
