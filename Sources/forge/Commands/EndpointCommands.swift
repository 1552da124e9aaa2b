internal import API
internal import ArgumentParser
internal import Protos
internal import SwiftProtobuf

struct Attach: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Attach a container's network namespace to a network.",
        discussion: "Prints the endpoint's addresses. Doing the same again changes nothing.")

    @Option(help: "The network: name, id or unambiguous id prefix.")
    var network: String

    @Option(help: ArgumentHelp("The runtime's name for the container.", valueName: "id"))
    var container: String

    @Option(help: ArgumentHelp("The namespace's file, such as /run/netns/x.", valueName: "path"))
    var netns: String?

    @Option(help: "A process in the namespace.")
    var pid: Int32?

    @Option(help: "A DNS label, unique in the network.")
    var name: String?

    @OptionGroup var labels: LabelOptions

    @OptionGroup var ports: NamedPortOptions

    @OptionGroup var aliases: AliasOptions

    @OptionGroup var published: PublishOptions

    @Option(help: ArgumentHelp("A static address, at most one of each family.", valueName: "address"))
    var ip: [String] = []

    @Option(help: ArgumentHelp("The interface's MAC address.", valueName: "address"))
    var mac: String?

    @Option(help: ArgumentHelp("The interface's name in the container, at most 15 bytes.", valueName: "name"))
    var ifname: String?

    @Option(help: "table or json.")
    var format = Format.table

    @Flag(name: .shortAndLong, help: "Print the endpoint's id only.")
    var quiet = false

    func validate() throws {
        if (netns == nil) == (pid == nil) { throw ValidationError("give either --netns or --pid") }
    }

    func run() async throws {
        let labels = try labels.read()
        let ports = try ports.read()
        let name = try given(name, "name")
        let mac = try given(mac, "mac")
        let ifname = try given(ifname, "ifname")
        let endpoint = try await Connection.with(starting: true) { client in
            try await client.assignEndpoint(
                .with {
                    $0.vnet = network
                    $0.containerID = container
                    if let netns { $0.netnsPath = netns }
                    if let pid { $0.pid = pid }
                    $0.name = name
                    $0.labels = labels
                    $0.addresses = ip
                    $0.mac = mac
                    $0.interfaceName = ifname
                    $0.ports = ports
                    $0.aliases = aliases.names
                    $0.publish = published.texts
                }
            ).endpoint
        }
        if quiet {
            Console.line(endpoint.id)
        } else if format == .json {
            Console.line(try JSON.object(endpoint))
        } else {
            for address in endpoint.addresses { Console.line(address.address) }
        }
    }
}

struct Detach: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Detach a container from one network, or from all.")

    @Option(help: ArgumentHelp("The runtime's name for the container.", valueName: "id"))
    var container: String

    @Option(help: "Only from this network.")
    var network: String?

    func run() async throws {
        let network = try given(network, "network")
        let released = try await Connection.with { client in
            try await client.releaseEndpoint(
                .with {
                    $0.containerID = container
                    $0.vnet = network
                }
            ).released
        }
        // For programs what is already gone is no error; a person has most likely mistyped.
        if released.isEmpty { throw Failure("container \"\(container)\": is not attached") }
        Console.line(container)
    }
}

struct EndpointCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "endpoint", abstract: "List, show and label endpoints.",
        subcommands: [EndpointList.self, EndpointInspect.self, EndpointLabel.self])
}

struct EndpointList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ls", abstract: "List endpoints.", aliases: ["list"])

    @Option(help: "Only this network's.")
    var network: String?

    @OptionGroup var listing: ListingOptions

    func run() async throws {
        let network = try given(network, "network")
        let endpoints = try await Connection.with { try await $0.allEndpoints(vnet: network) }
        try listing.show(
            endpoints.sorted { ($0.vnet, $0.name) < ($1.vnet, $1.name) },
            [
                Column("ENDPOINT ID") { short($0.id) },
                Column("NAME") { $0.name },
                Column("NETWORK") { $0.vnet },
                Column("CONTAINER ID") { short($0.containerID) },
                Column("ADDRESSES") { $0.addresses.map(\.address).joined(separator: ",") },
                Column("LABELS") { text($0.labels) },
                Column("STATUS") { endpoint in
                    guard endpoint.hasQuarantine else { return "attached" }
                    guard endpoint.quarantine.hasUntilUnixMilliseconds else { return "quarantined" }
                    return "quarantined \(Time.left(until: endpoint.quarantine.untilUnixMilliseconds))"
                },
            ],
            quietly: { short($0.id) })
    }
}

struct EndpointLabel: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "label", abstract: "Set and remove an endpoint's labels.",
        discussion: "What policy makes of them is in force when the command returns.")

    @Argument(help: "The endpoint.")
    var name: String

    @OptionGroup var labels: LabelChanges

    func run() async throws {
        let (set, remove) = try labels.read()
        let endpoint = try await Connection.with { client in
            try await client.relabelEndpoint(
                .with {
                    $0.name = name
                    $0.set = set
                    $0.remove = remove
                }
            ).endpoint
        }
        Console.line("\(endpoint.vnet)/\(endpoint.name) \(text(endpoint.labels))")
    }
}

struct EndpointInspect: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect", abstract: "Show endpoints in full, as JSON.")

    @Argument(help: "Names, network/name, container ids, ids or unambiguous id prefixes.")
    var names: [String]

    func run() async throws {
        try await Connection.with { client in
            try await inspect(names) { name in try await client.getEndpoint(.with { $0.name = name }).endpoint
            }
        }
    }
}
