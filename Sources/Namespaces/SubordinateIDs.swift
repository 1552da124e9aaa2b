internal import CLinux
internal import Sys

/// A run of ids that a user may map into namespaces besides the own one.
public struct IDRange: Hashable, Sendable {
    public let start: UInt32
    public let count: UInt32

    public init(start: UInt32, count: UInt32) {
        self.start = start
        self.count = count
    }
}

/// What subuid(5) and subgid(5) grant to one user.
public struct SubordinateIDs: Hashable, Sendable {
    public var uids: [IDRange]
    public var gids: [IDRange]

    public static let none = SubordinateIDs(uids: [], gids: [])

    /// Both are needed: a namespace with users but no groups of its own is of no use to a runtime.
    public var isUsable: Bool { !uids.isEmpty && !gids.isEmpty }

    package init(uids: [IDRange], gids: [IDRange]) {
        self.uids = uids
        self.gids = gids
    }

    /// Reads `/etc/subuid` and `/etc/subgid`; files that are not there grant nothing.
    package static func of(uid: UInt32) -> SubordinateIDs {
        let name = accountName(uid: uid)
        func ranges(_ path: String) -> [IDRange] {
            parse((try? readFile(path, limit: 1 << 20)) ?? "", name: name, uid: uid)
        }
        return SubordinateIDs(uids: ranges("/etc/subuid"), gids: ranges("/etc/subgid"))
    }

    /// The ranges of one user, by name or number, at most 16; lines that make no sense are passed over, as
    /// shadow does.
    package static func parse(_ text: String, name: String?, uid: UInt32) -> [IDRange] {
        var found: [IDRange] = []
        for line in text.split(separator: "\n") where found.count < 16 {
            // subuid(5): login name or uid, first id, how many.
            let fields = line.split(separator: ":", omittingEmptySubsequences: false)
            guard fields.count == 3, fields[0] == name ?? "" || fields[0] == "\(uid)",
                let start = UInt32(fields[1]), let count = UInt32(fields[2]),
                count > 0, start > 0, !start.addingReportingOverflow(count).overflow
            else { continue }
            found.append(IDRange(start: start, count: count))
        }
        return found
    }
}

/// The login name of a user id, if it has one.
package func accountName(uid: UInt32) -> String? {
    var room = [CChar](repeating: 0, count: 256)
    let found = unsafe room.withUnsafeMutableBufferPointer {
        unsafe cl_user_name(uid, $0.baseAddress, $0.count)
    }
    guard found == 0 else { return nil }
    return String(decoding: room.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
}

/// User and group id of an account, if there is one.
package func accountIDs(name: String) -> (uid: UInt32, gid: UInt32)? {
    var uid: UInt32 = 0
    var gid: UInt32 = 0
    return unsafe cl_user_ids(name, &uid, &gid) == 0 ? (uid, gid) : nil
}
