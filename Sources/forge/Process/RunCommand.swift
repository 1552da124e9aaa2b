internal import API
internal import ArgumentParser
internal import CLinux
internal import Namespaces
internal import Protos
internal import SwiftProtobuf
internal import Sys

/// `forge run`: a program in a network of its own.
struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Run a command in a network namespace of its own, attached to a network.",
        discussion: """
            The command starts when its policy is in force. It sees the caller's files, an /etc/hosts and \
            /etc/resolv.conf of its own, and has no capability over the fabric. It ends with forge run.

            Exit codes: the command's own, 128 and the signal that ended it, 126 and 127 if it cannot be run, 125 \
            for failures of forge itself.
            """)

    @Option(help: "The network, by name or id.")
    var network: String

    @Option(help: "The endpoint's name, a DNS label; chosen if not given.")
    var name: String?

    @OptionGroup var labels: LabelOptions

    @OptionGroup var ports: NamedPortOptions

    @OptionGroup var aliases: AliasOptions

    @OptionGroup var published: PublishOptions

    @Option(name: .customLong("ip"), help: "A static address, one of each family at most.")
    var addresses: [String] = []

    @Argument(parsing: .captureForPassthrough, help: "The command and its arguments.")
    var command: [String] = []

    func run() throws {
        let command = command.first == "--" ? Array(command.dropFirst()) : command
        guard !command.isEmpty else { throw ValidationError("Missing the command to run.") }
        CommandSupervisor.holdSignals()
        let code: Int32
        do {
            code = try runCommand(command)
        } catch let interruption as Interruption {
            code = 128 + interruption.signal
        } catch {
            Console.complain(Failure(error).message)
            code = Failure.ours
        }
        throw ExitCode(code)
    }

    private func runCommand(_ command: [String]) throws -> Int32 {
        let paths = FabricPaths()
        try FabricLauncher.ensureRunning(paths)
        let record = try FabricAccess.record(paths)
        let containerID = CommandFiles.makeID()
        let files = CommandFiles(in: paths, id: containerID)
        defer { files.remove() }

        // A command in the fabric that could speak to the fabric would set its own policy.
        var child = try CommandPlan(
            command, record: record, files: files.mounted,
            hidden: [paths.runtimeDirectory, paths.stateDirectory]
        ).start()
        let request = try request(containerID: containerID, pid: child.pid)

        let client = try ForgeClient(socketPath: paths.socket)
        let endpoint = try waiting { try await client.assignEndpoint(request).endpoint }
        defer {
            // Should this fail: the manager sees by itself that the namespace is gone.
            _ = try? waiting {
                _ = try await client.releaseEndpoint(.with { $0.containerID = containerID })
                await client.close()
            }
        }
        try files.write(endpoint)
        try child.resume()
        if let code = CommandSupervisor.launch(&child, command) { return code }
        return CommandSupervisor.supervise(&child)
    }

    private func request(containerID: String, pid: Int32) throws -> Forge_Network_V1_AssignEndpointRequest {
        var request = Forge_Network_V1_AssignEndpointRequest()
        request.vnet = network
        request.containerID = containerID
        request.pid = pid
        request.name = try given(name, "name")
        request.addresses = addresses
        request.labels = try labels.read()
        request.ports = try ports.read()
        request.aliases = aliases.names
        request.publish = published.texts
        return request
    }
}
