internal import Logging
internal import Model
internal import Sys
internal import Wire

/// The files that containers are shown: `DIRECTORY/ENDPOINT/hosts` and `.../resolv.conf` for each endpoint of a
/// network with names. They are there when an attach returns, outlive the manager, and go with the endpoint.
extension NetworkManager {
    func writeFiles(of endpoint: Endpoint) throws {
        guard let parent = directory.filesDirectory,
            case let member = try directory.member(endpoint), let files = member.files
        else { return }
        do throws(SystemError) { try makeDirectory(files.directory) } catch {
            guard error.errno == .noEntry else { throw error }
            try makeDirectory(parent)
            try makeDirectory(files.directory)
        }
        // Read by whatever user a container's process is.
        for (path, text) in contents(of: member, files) {
            try replaceFile(path, Array(text.utf8), mode: 0o644)
        }
    }

    func removeFiles(of endpoint: Endpoint) {
        guard let files = try? directory.member(endpoint).files else { return }
        removeDirectory(files.directory)
    }

    /// Sets right what is missing or says something else, and removes what is of nobody.
    func mendFiles() {
        guard let parent = directory.filesDirectory else { return }
        var known: Set<String> = []
        for endpoint in networksWithNames.flatMap({ directory.members(of: $0.id) }) {
            known.insert(endpoint.id)
            guard let member = try? directory.member(endpoint), let files = member.files else { continue }
            do {
                let isRight = contents(of: member, files).allSatisfy { path, text in
                    (try? readFile(path)) == text
                }
                if !isRight { try writeFiles(of: endpoint) }
            } catch {
                log.error(
                    "an endpoint's files cannot be written",
                    metadata: ["endpoint": "\(endpoint.name)", "error": "\(error)"])
            }
        }
        for name in entries(of: parent) where !known.contains(name) { removeDirectory("\(parent)/\(name)") }
    }

    /// By path.
    private func contents(of member: NetworkMember, _ files: EndpointFiles) -> [(path: String, text: String)]
    {
        [
            (
                files.hosts,
                EndpointFiles.hosts(
                    name: member.endpoint.name, network: member.network.name,
                    addresses: member.endpoint.addresses.map(\.description))
            ),
            (
                files.resolvConf,
                EndpointFiles.resolvConf(
                    nameServers: member.nameServers.map(\.description), searchDomains: member.searchDomains)
            ),
        ]
    }
}
