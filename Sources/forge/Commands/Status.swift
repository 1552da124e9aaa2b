internal import API
internal import ArgumentParser
internal import Protos

struct Status: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show how this user's fabric is doing.")

    @Option(help: "table or json.")
    var format = Format.table

    @Flag(name: .shortAndLong, help: "Print nothing: the exit code tells whether the fabric is up.")
    var quiet = false

    func run() async throws {
        let status = try await Connection.with { try await $0.getStatus(.init()) }
        if quiet { return }
        if format == .json {
            Console.line(try JSON.object(status))
            return
        }
        Console.line("forge \(status.version), \(status.mode == .host ? "host" : "rootless")")
        Console.line("")
        Console.show(
            Table.render(
                status.roles,
                [
                    Column("ROLE") { $0.name },
                    Column("PID") { "\($0.pid)" },
                    Column("UPTIME") { Self.duration($0.uptimeMilliseconds) },
                    Column("RESTARTS") { "\($0.restarts)" },
                ]))
        Console.line("")
        Console.line("networks   \(status.vnetCount)")
        Console.line("endpoints  \(status.endpointCount)")
        Console.line("policies   \(status.policyCount)")
        Console.line("socket     \(status.paths.socket)")
        Console.line("state      \(status.paths.stateDirectory)")
        if status.hasUplink {
            let uplink = status.uplink
            let way = uplink.program.isEmpty ? "none" : "\(uplink.program) (process \(uplink.pid))"
            Console.line("uplink     \(way)\(uplink.trouble.isEmpty ? "" : ": \(uplink.trouble)")")
        }
        if !status.missingFeatures.isEmpty {
            Console.line("")
            Console.line("missing:")
            for feature in status.missingFeatures {
                Console.line("  \(feature.name): \(feature.explanation)")
            }
        }
    }

    /// The two largest units: `3d4h`, `12m5s`, `850ms`.
    static func duration(_ milliseconds: UInt64) -> String {
        if milliseconds < 1_000 { return "\(milliseconds)ms" }
        let seconds = milliseconds / 1_000
        let units: [(String, UInt64)] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)]
        var rest = seconds
        var parts: [String] = []
        for (name, length) in units where parts.count < 2 {
            if rest >= length || !parts.isEmpty {
                if rest / length > 0 { parts.append("\(rest / length)\(name)") } else { break }
            }
            rest %= length
        }
        return parts.joined()
    }
}
