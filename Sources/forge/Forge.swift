internal import ArgumentParser
internal import CLinux
internal import Sys

/// The command line of a fabric.
@main
struct Forge: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "forge",
        abstract:
            "Networks for containers and plain processes, without root, in which policy decides who may talk.",
        version: "forge \(FabricVersion.text)",
        groupedSubcommands: [
            CommandGroup(name: "Fabric", subcommands: [UpCommand.self, DownCommand.self, Status.self]),
            CommandGroup(
                name: "Networks", subcommands: [NetworkCommand.self, PolicyCommand.self, DNSCommand.self]),
            CommandGroup(
                name: "Endpoints",
                subcommands: [
                    RunCommand.self, ExecCommand.self, UnshareCommand.self, Attach.self, Detach.self,
                    EndpointCommand.self, PortCommand.self, Stats.self, Flows.self, QuarantineCommand.self,
                    ReleaseCommand.self,
                ]),
        ])

    /// Runs a command. What goes wrong is one line on stderr; the exit code is 125 where it is ours, as
    /// docker's is.
    ///
    /// On the main thread, which an asynchronous `main` would give up: commands that fork must stay on
    /// theirs.
    static func main() {
        do {
            try Descriptor.requireRoom(for: 16)
            var command = try parseAsRoot()
            if command is any AsyncParsableCommand {
                try waiting {
                    guard var command = try parseAsRoot() as? any AsyncParsableCommand else { return }
                    try await command.run()
                }
            } else {
                try command.run()
            }
        } catch let failure as Failure {
            Console.complain(failure.message)
            CLinux.exit(failure.exitCode)
        } catch let code as ExitCode {
            CLinux.exit(code.rawValue)
        } catch let interruption as Interruption {
            CLinux.exit(128 + interruption.signal)
        } catch {
            // Help and the version are no trouble.
            if exitCode(for: error).isSuccess { exit(withError: error) }
            Console.complain(message(for: error))
            CLinux.exit(Failure.ours)
        }
    }
}
