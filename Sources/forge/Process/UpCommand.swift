internal import ArgumentParser
internal import Sys

/// `forge up`: the fabric is there when it returns.
struct UpCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "up", abstract: "Start this user's fabric; nothing happens if it is running.")

    @Flag(help: "Work in the network namespace that this command is in; needs CAP_NET_ADMIN.")
    var host = false

    @Flag(help: "Map the own id alone, even where subordinate ids are granted.")
    var noSubids = false

    func run() throws {
        let options = FabricLauncher.StartOptions(host: host, useSubordinateIDs: !noSubids)
        do {
            switch try FabricLauncher.ensureRunning(FabricPaths(), options: options) {
            case .started: print("fabric started")
            case .alreadyRunning: print("fabric is running")
            }
        } catch {
            Console.complain(Failure(error).message)
            throw ExitCode(Failure.ours)
        }
    }
}

/// `forge down`: nothing of the fabric is there when it returns, except what it would start with again.
struct DownCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "down", abstract: "Stop this user's fabric; containers in it lose their network.",
        discussion: "Networks and policies are kept for the next start.")

    func run() throws {
        do {
            print(try FabricLauncher.stop(FabricPaths()) ? "fabric stopped" : "no fabric is running")
        } catch {
            Console.complain(Failure(error).message)
            throw ExitCode(Failure.ours)
        }
    }
}
