internal import API
internal import ArgumentParser
internal import Protos
internal import SwiftProtobuf

struct QuarantineCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "quarantine", abstract: "Cut endpoints off at once, whatever policy says.",
        discussion: """
            Their established connections end before the command returns. A quarantine survives restarts, and \
            holds for the same container when it is attached again.
            """)

    @Argument(help: "Names, network/name, container ids, ids or unambiguous id prefixes.")
    var names: [String]

    @Option(
        name: .customLong("for"),
        help: ArgumentHelp("How long, such as 30s, 10m or 2h; without it until released.", valueName: "time"))
    var duration: String?

    @Option(
        help: ArgumentHelp(
            "A peer it may still talk with, as far as policy allows: an address, a block or an endpoint, with "
                + ":port/protocol if wanted.", valueName: "peer"))
    var allow: [String] = []

    func run() async throws {
        let milliseconds = try duration.map { try Time.milliseconds($0, "for") } ?? 0
        try await Connection.with { client in
            try await forEach(names) { name in
                let endpoint = try await client.quarantineEndpoint(
                    .with {
                        $0.name = name
                        $0.milliseconds = milliseconds
                        $0.allow = allow
                    }
                ).endpoint
                Console.line("\(endpoint.vnet)/\(endpoint.name) quarantined")
            }
        }
    }
}

struct ReleaseCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "release", abstract: "End the quarantine of endpoints.")

    @Argument(help: "Names, network/name, container ids, ids or unambiguous id prefixes.")
    var names: [String]

    func run() async throws {
        try await Connection.with { client in
            try await forEach(names) { name in
                _ = try await client.unquarantineEndpoint(.with { $0.name = name })
                Console.line("\(name) released")
            }
        }
    }
}
