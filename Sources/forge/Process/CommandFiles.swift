internal import CLinux
internal import Model
internal import Namespaces
internal import Protos
internal import Sys

/// A command's own `/etc/hosts` and `/etc/resolv.conf`, there for as long as it runs.
struct CommandFiles {
    private let paths: FabricPaths
    let directory: String

    /// - Parameter id: nobody else's; 64 hexadecimal digits.
    init(in paths: FabricPaths, id: String) {
        self.paths = paths
        directory = "\(paths.commandFiles)/\(id)"
    }

    var mounted: MountedFiles { MountedFiles(directory: directory) }

    /// Writes what an endpoint's say.
    func write(_ endpoint: Forge_Network_V1_Endpoint) throws {
        let hosts = EndpointFiles.hosts(
            name: endpoint.name, network: endpoint.vnet, addresses: endpoint.addresses.map(\.address))
        let resolver = EndpointFiles.resolvConf(
            nameServers: endpoint.nameServers, searchDomains: endpoint.searchDomains)
        do throws(SystemError) {
            try makeDirectory(paths.commandFiles)
            try makeDirectory(directory)
            // Read by whatever user the command becomes.
            try replaceFile("\(directory)/hosts", Array(hosts.utf8), mode: 0o644)
            try replaceFile("\(directory)/resolv.conf", Array(resolver.utf8), mode: 0o644)
        } catch {
            throw Failure("cannot write the command's /etc/hosts: \(error)")
        }
    }

    func remove() { removeDirectory(directory) }

    /// 64 hexadecimal digits, as container runtimes make them.
    static func makeID() -> String {
        var generator = SystemRandomNumberGenerator()
        return (0..<4).map { _ in
            let digits = String(generator.next(), radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }.joined()
    }
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
