internal import API
internal import ArgumentParser
internal import Protos

struct Stats: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show what endpoints received and sent, what was dropped, and what policy blocked and why.",
        discussion: "Received and sent are the container's view.")

    @Argument(
        help: "Endpoints: names, network/name, container ids, ids or unambiguous id prefixes. None is all.")
    var names: [String] = []

    @Flag(name: .shortAndLong, help: "Show them again and again.")
    var watch = false

    @Option(help: ArgumentHelp("Between two looks with --watch.", valueName: "seconds"))
    var interval = 1.0

    @OptionGroup var listing: ListingOptions

    func validate() throws {
        if !(0.1...3_600).contains(interval) {
            throw ValidationError("--interval \"\(interval)\": must be 0.1 to 3600")
        }
    }

    func run() async throws {
        try await Connection.with { client in
            repeat {
                let rows = try await client.allStatistics(names).sorted {
                    ($0.vnet, $0.endpoint) < ($1.vnet, $1.endpoint)
                }
                try show(rows)
                if watch { try await Task.sleep(for: .seconds(interval)) }
            } while watch
        }
    }

    private func show(_ rows: [Forge_Network_V1_EndpointStatistics]) throws {
        if watch, listing.format == .json {
            // One look a line, for programs that read along.
            Console.line(try JSON.compactArray(rows))
            return
        }
        // ECMA-48: cursor home, erase to the end.
        if watch, Console.isTerminal { Console.show("\u{1b}[H\u{1b}[2J") }
        try listing.show(rows, Self.columns, quietly: { short($0.endpointID) })
        if !listing.quiet, listing.format == .table { showBlocked(rows) }
        if watch, !Console.isTerminal { Console.line("") }
    }

    private static var columns: [Column<Forge_Network_V1_EndpointStatistics>] {
        [
            Column("NAME") { $0.endpoint },
            Column("NETWORK") { $0.vnet },
            Column("RX BYTES") { size($0.rxBytes) },
            Column("RX PACKETS") { "\($0.rxPackets)" },
            Column("TX BYTES") { size($0.txBytes) },
            Column("TX PACKETS") { "\($0.txPackets)" },
            Column("DROPPED") { "\($0.rxDropped + $0.txDropped)" },
            Column("BLOCKED") { "\($0.deniedPackets)" },
        ]
    }

    private func showBlocked(_ rows: [Forge_Network_V1_EndpointStatistics]) {
        for (title, list) in [
            ("BLOCKED", \Forge_Network_V1_EndpointStatistics.denials), ("AUDITED", \.audited),
        ] {
            let denials = rows.flatMap { row in row[keyPath: list].map { (name: row.endpoint, denial: $0) } }
                .filter { $0.denial.packets > 0 }
            guard !denials.isEmpty else { continue }
            Console.line("")
            Console.show(
                Table.render(
                    denials,
                    [
                        Column("NAME") { $0.name },
                        Column(title) { "\($0.denial.packets)" },
                        Column("REASON") { $0.denial.reason.text },
                    ]))
        }
    }

    /// `1.2kB`, as docker shows sizes.
    static func size(_ bytes: UInt64) -> String {
        var value = Double(bytes)
        for unit in ["B", "kB", "MB", "GB", "TB", "PB"] {
            if value < 999.5 || unit == "PB" {
                guard unit != "B" else { return "\(bytes)B" }
                let tenths = Int((value * 10).rounded())
                return value < 99.95
                    ? "\(tenths / 10).\(tenths % 10)\(unit)" : "\(Int(value.rounded()))\(unit)"
            }
            value /= 1_000
        }
        return "\(bytes)B"
    }
}
