internal import API
internal import ArgumentParser
internal import Protos

/// `forge dns stats`
struct NameStats: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stats",
        abstract: "Show what endpoints asked the resolver, and what it did not tell them.",
        discussion: """
            ENTROPY is how random the names outside look that an endpoint has lately asked for, in bits a character: \
            words have some 2.5 to 3.2, data in disguise 4.5 and more. CARRIED is how many bytes those names had.
            """)

    @Argument(
        help: "Endpoints: names, network/name, container ids, ids or unambiguous id prefixes. None is all.")
    var names: [String] = []

    @OptionGroup var listing: ListingOptions

    func run() async throws {
        try await Connection.with { client in
            let rows = try await client.allStatistics(names).filter(\.hasNames).sorted {
                ($0.vnet, $0.endpoint) < ($1.vnet, $1.endpoint)
            }
            try listing.show(rows, Self.columns, quietly: { short($0.endpointID) })
        }
    }

    private static var columns: [Column<Forge_Network_V1_EndpointStatistics>] {
        [
            Column("NAME") { $0.endpoint }, Column("NETWORK") { $0.vnet },
            Column("QUERIES") { "\($0.names.queries)" }, Column("LOCAL") { "\($0.names.local)" },
            Column("CACHED") { "\($0.names.cached)" }, Column("OUTSIDE") { "\($0.names.outside)" },
            Column("ENTROPY") { row in
                let tenths = Int((row.names.entropy * 10).rounded())
                return "\(tenths / 10).\(tenths % 10)"
            },
            Column("CARRIED") { Stats.size($0.names.labelBytes) },
            Column("REFUSED") { row in
                row.names.refused.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(
                    separator: ", ")
            },
        ]
    }
}
