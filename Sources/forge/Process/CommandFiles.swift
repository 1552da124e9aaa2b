internal import CLinux
internal import Namespaces
internal import Protos
internal import Sys

/// A command's own `/etc/hosts` and `/etc/resolv.conf`.
struct CommandFiles {
    let directory: String

    /// Makes both, empty: the addresses are not known yet.
    static func make(in paths: FabricPaths, containerID: String) throws -> CommandFiles {
        let files = CommandFiles(directory: "\(paths.commandFiles)/\(containerID)")
        do throws(SystemError) {
            for path in [paths.commandFiles, files.directory] {
                do throws(SystemError) {
                    try system("mkdir", path) { unsafe mkdir(path, 0o700) }
                } catch {
                    guard error.errno == .exists else { throw error }
                }
            }
            // Read by whatever user the command becomes.
            for name in names {
                let file = try Descriptor.open(
                    "\(files.directory)/\(name)", O_WRONLY | O_CREAT | O_EXCL, mode: 0o644)
                let number = file.rawValue
                try system("fchmod", name) { fchmod(number, 0o644) }
            }
        } catch {
            files.remove()
            throw Failure("cannot write the command's /etc/hosts: \(error)")
        }
        return files
    }

    func write(_ endpoint: Forge_Network_V1_Endpoint) throws {
        let own = endpoint.addresses.map {
            "\($0.address)\t\(endpoint.name).\(endpoint.vnet) \(endpoint.name)\n"
        }
        let hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" + own.joined()
        // Without a server the resolver asks 127.0.0.1, where nobody is, and so fails at once instead of
        // after seconds.
        var resolver =
            endpoint.nameServers.isEmpty
            ? "# Written by forge run. This network has no name server.\n" : "# Written by forge run.\n"
        for server in endpoint.nameServers { resolver += "nameserver \(server)\n" }
        if !endpoint.searchDomains.isEmpty {
            resolver += "search \(endpoint.searchDomains.joined(separator: " "))\n"
        }
        do throws(SystemError) {
            try writeFile("\(directory)/hosts", hosts)
            try writeFile("\(directory)/resolv.conf", resolver)
        } catch {
            throw Failure("cannot write the command's /etc/hosts: \(error)")
        }
    }

    func remove() {
        for name in Self.names { _ = unsafe unlink("\(directory)/\(name)") }
        _ = unsafe rmdir(directory)
    }

    private static let names = ["hosts", "resolv.conf"]
}

/// The running fabric, as a command that enters it needs it.
enum FabricAccess {
    /// - Throws: `Failure` if there is none, or it is another user's.
    static func record(_ paths: FabricPaths) throws -> FabricRecord {
        let record: FabricRecord?
        do throws(SystemError) {
            record = try FabricRecord.read(paths.record)
        } catch {
            guard error.errno == .noEntry else { throw Failure("\(error)") }
            throw Failure("no fabric is up (nobody answers at \(paths.socket)); start one with: forge up")
        }
        guard let record else { throw Failure("\(paths.record) is not of this version of forge") }
        guard record.uid == geteuid() else {
            throw Failure("the fabric belongs to user id \(record.uid): run this as that user")
        }
        return record
    }
}
