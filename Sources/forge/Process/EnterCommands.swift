internal import API
internal import ArgumentParser
internal import CLinux
internal import Namespaces
internal import Protos
internal import SwiftProtobuf
internal import Sys

/// `forge exec`: a program where an endpoint is.
struct ExecCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "exec", abstract: "Run a command in an endpoint's namespaces.",
        discussion: """
            The same policy applies to it as to everything in there. It sees the files of the process that was \
            attached, where that has mounts of its own; else the caller's, with an /etc/hosts and /etc/resolv.conf of \
            the endpoint's. Exit codes are those of forge run.
            """)

    @Argument(help: "The endpoint: name, network/name, container id or id prefix.")
    var name: String

    @Argument(parsing: .captureForPassthrough, help: "The command and its arguments.")
    var command: [String] = []

    func run() throws {
        let paths = FabricPaths()
        let files = CommandFiles(in: paths, id: CommandFiles.makeID())
        defer { files.remove() }
        try EnteredCommand.run(command) { command in
            let record = try FabricAccess.record(paths)
            try Connection.checkUp(paths)
            let name = name
            let endpoint = try waiting {
                let client = try ForgeClient(socketPath: paths.socket)
                let endpoint = try await client.getEndpoint(.with { $0.name = name }).endpoint
                await client.close()
                return endpoint
            }
            try files.write(endpoint)
            return try EntryPlan.endpoint(
                command, path: endpoint.namespace.path,
                identity: FileIdentity(device: endpoint.namespace.device, inode: endpoint.namespace.inode),
                record: record, files: files.mounted)
        }
    }
}

/// `forge unshare`: a program where namespaces that it makes can be attached.
struct UnshareCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "unshare", abstract: "Run a command in the fabric's user and mount namespaces.",
        discussion: """
            The command is root there, and keeps the host's network. Network namespaces that it makes, such as those of \
            a container runtime, can be attached with forge attach.
            """)

    @Argument(parsing: .captureForPassthrough, help: "The command and its arguments.")
    var command: [String] = []

    func run() throws {
        try EnteredCommand.run(command) { command in
            let paths = FabricPaths()
            try FabricLauncher.ensureRunning(paths)
            // As root in there, forge and what embeds it would look for root's fabric.
            for (name, path) in [
                ("FORGE_RUNTIME_DIR", paths.runtimeDirectory), ("FORGE_STATE_DIR", paths.stateDirectory),
            ] {
                _ = unsafe setenv(name, path, 1)
            }
            return try EntryPlan.fabric(command, record: try FabricAccess.record(paths))
        }
    }
}

/// What `exec` and `unshare` have in common.
private enum EnteredCommand {
    static func run(_ command: [String], _ plan: ([String]) throws -> EntryPlan) throws {
        let command = command.first == "--" ? Array(command.dropFirst()) : command
        guard !command.isEmpty else { throw ValidationError("Missing the command to run.") }
        CommandSupervisor.holdSignals()
        let code: Int32
        do {
            var child = try plan(command).start()
            code = CommandSupervisor.launch(&child, command) ?? CommandSupervisor.supervise(&child)
        } catch let interruption as Interruption {
            code = 128 + interruption.signal
        } catch {
            Console.complain(Failure(error).message)
            code = Failure.ours
        }
        throw ExitCode(code)
    }
}
