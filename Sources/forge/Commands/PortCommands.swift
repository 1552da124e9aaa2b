internal import API
internal import ArgumentParser
internal import Protos
internal import SwiftProtobuf

/// `-p [ADDRESS:]HOST:PORT[/PROTOCOL]`, as often as needed.
struct PublishOptions: ParsableArguments {
    @Option(
        name: [.customShort("p"), .customLong("publish")],
        help: ArgumentHelp(
            "A port of the host that leads to one of the endpoint's, such as 8080:80, 127.0.0.1:5353:53/udp or "
                + "8000-8010.", valueName: "host:port"))
    var texts: [String] = []
}

struct PortCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "port", abstract: "Publish ports of the host, and list them.",
        subcommands: [PortAdd.self, PortRemove.self, PortList.self])
}

struct PortAdd: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add", abstract: "Lead ports of the host to an endpoint: all that are given, or none.",
        discussion: """
            Who may come in by them is for policy to say, which sees the client's own address. A port ends with its \
            endpoint.
            """)

    @Argument(help: "The endpoint: name, network/name, container id, id or unambiguous id prefix.")
    var name: String

    @Argument(
        help: ArgumentHelp("[ADDRESS:]HOST:PORT[/udp], ports perhaps ranges.", valueName: "host:port"))
    var ports: [String]

    func run() async throws {
        let endpoint = try await Connection.with { client in
            try await client.publishPorts(
                .with {
                    $0.name = name
                    $0.ports = ports
                }
            ).endpoint
        }
        for port in endpoint.published {
            Console.line(PublishedRow(endpoint.name, endpoint.vnet, port).hostText)
        }
    }
}

struct PortRemove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rm",
        abstract: "End the forwarding of ports, with the connections that came in by them.",
        aliases: ["remove"])

    @Argument(help: "The endpoint.")
    var name: String

    @Argument(help: ArgumentHelp("Ports as they were published.", valueName: "host:port"))
    var ports: [String]

    func run() async throws {
        _ = try await Connection.with { client in
            try await client.unpublishPorts(
                .with {
                    $0.name = name
                    $0.ports = ports
                })
        }
        for port in ports { Console.line(port) }
    }
}

struct PortList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ls", abstract: "List published ports, and what has come by each.",
        discussion: """
            Connections, or clients of UDP, are those that were let in since the port was published; failed are those \
            that the endpoint did not take or policy kept from it. With --host the kernel counts connections alone.
            """,
        aliases: ["list"])

    @Argument(help: "Only this endpoint's.")
    var name: String?

    @Option(help: "table or json.")
    var format = Format.table

    @Flag(name: .shortAndLong, help: "Only the host's side, one a line.")
    var quiet = false

    /// No counter is asked for where none is shown.
    private func listSides(_ name: String) async throws {
        let endpoints = try await Connection.with { client in
            if name.isEmpty { return try await client.allEndpoints() }
            return [try await client.getEndpoint(.with { $0.name = name }).endpoint]
        }
        for endpoint in endpoints.sorted(by: { ($0.vnet, $0.name) < ($1.vnet, $1.name) }) {
            for port in endpoint.published {
                Console.line(PublishedRow(endpoint.name, endpoint.vnet, port).hostText)
            }
        }
    }

    func run() async throws {
        let name = try given(name, "endpoint")
        if quiet { return try await listSides(name) }
        let statistics = try await Connection.with { client in
            try await client.allStatistics(name.isEmpty ? [] : [name])
        }
        let rows = statistics.sorted { ($0.vnet, $0.endpoint) < ($1.vnet, $1.endpoint) }.flatMap { endpoint in
            endpoint.published.map { PublishedRow(endpoint.endpoint, endpoint.vnet, $0) }
        }
        if format == .json {
            Console.line(JSON.indented("[" + (try rows.map { try $0.json }).joined(separator: ",") + "]"))
        } else {
            Console.show(
                Table.render(
                    rows,
                    [
                        Column("ENDPOINT") { $0.endpoint }, Column("NETWORK") { $0.network },
                        Column("HOST") { $0.hostText },
                        Column("PORT") { "\($0.port.endpointPort)/\($0.transport)" },
                        Column("CONNECTIONS") { $0.count(\.hasConnections, \.connections) },
                        Column("ACTIVE") { $0.count(\.hasActive, \.active) },
                        Column("FAILED") { $0.count(\.hasFailed, \.failed) },
                        Column("RX BYTES") { $0.count(\.hasRxBytes, \.rxBytes, Stats.size) },
                        Column("TX BYTES") { $0.count(\.hasTxBytes, \.txBytes, Stats.size) },
                    ]))
        }
    }
}

/// A published port, and whose it is.
private struct PublishedRow {
    let endpoint: String
    let network: String
    let port: Forge_Network_V1_PublishedPort

    init(_ endpoint: String, _ network: String, _ port: Forge_Network_V1_PublishedPort) {
        self.endpoint = endpoint
        self.network = network
        self.port = port
    }

    var transport: String { port.protocol == .udp ? "udp" : "tcp" }

    /// `192.0.2.1:8080/tcp`; `*` for every address.
    var hostText: String {
        let address = port.address.contains(":") ? "[\(port.address)]" : port.address
        return "\(address.isEmpty ? "*" : address):\(port.hostPort)/\(transport)"
    }

    /// `-` where nobody can tell.
    func count(
        _ isKnown: (Forge_Network_V1_PortTraffic) -> Bool, _ value: (Forge_Network_V1_PortTraffic) -> UInt64,
        _ text: (UInt64) -> String = { "\($0)" }
    ) -> String {
        isKnown(port.traffic) ? text(value(port.traffic)) : "-"
    }

    /// The API's fields, beside the endpoint's and its network's names.
    var json: String {
        get throws {
            let owner = Forge_Network_V1_Endpoint.with {
                $0.name = endpoint
                $0.vnet = network
                $0.published = [port]
            }
            return try JSON.compact(owner)
        }
    }
}
