internal import API
internal import ArgumentParser
internal import Model
internal import Protos
internal import SwiftProtobuf

struct NetworkCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "network", abstract: "Make, list, label and remove networks.",
        subcommands: [
            NetworkCreate.self, NetworkList.self, NetworkInspect.self, NetworkLabel.self, NetworkRemove.self,
        ])
}

struct NetworkLabel: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "label", abstract: "Set and remove a network's labels.",
        discussion: "What policy makes of them is in force when the command returns.")

    @Argument(help: "The network.")
    var name: String

    @OptionGroup var labels: LabelChanges

    func run() async throws {
        let (set, remove) = try labels.read()
        let network = try await Connection.with { client in
            try await client.relabelVNet(
                .with {
                    $0.name = name
                    $0.set = set
                    $0.remove = remove
                }
            ).vnet
        }
        Console.line("\(network.name) \(text(network.labels))")
    }
}

enum Isolation: String, ExpressibleByArgument, CaseIterable {
    case full
    case peerOnly = "peer-only"
    case meshOnly = "mesh-only"
    case none

    var message: Forge_Network_V1_IsolationLevel {
        switch self {
        case .full: .full
        case .peerOnly: .peerOnly
        case .meshOnly: .meshOnly
        case .none: .none
        }
    }

    static func text(_ message: Forge_Network_V1_IsolationLevel) -> String {
        allCases.first { $0.message == message }?.rawValue ?? "\(message.rawValue)"
    }
}

enum Refusal: String, ExpressibleByArgument, CaseIterable {
    case nxdomain
    case refused
}

enum Verdict: String, ExpressibleByArgument, CaseIterable {
    case deny
    case allow
}

struct NetworkCreate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "create", abstract: "Make a network.")

    @Argument(help: "A DNS label, unique in the fabric.")
    var name: String

    @Option(
        help: ArgumentHelp(
            "A block of addresses; where a family is missing one is chosen.", valueName: "cidr"))
    var subnet: [String] = []

    @Option(
        help: "How far its endpoints may reach before policy is asked: full, peer-only, mesh-only or none.")
    var isolation = Isolation.peerOnly

    @Option(
        name: .customLong("default"), help: "What happens to traffic that no policy speaks of: deny or allow."
    )
    var verdict = Verdict.deny

    @Option(help: "Bytes of an IP packet.")
    var mtu: UInt32?

    @Flag(help: "Let endpoints leave the fabric, as far as policy allows, under the host's address.")
    var nat = false

    @Flag(help: "Answer names at the network's gateway.")
    var dns = false

    @Option(
        help: ArgumentHelp(
            "A resolver for names outside, such as 192.0.2.53 or [2001:db8::53]:5353; else the host's.",
            valueName: "ip[:port]"))
    var dnsUpstream: [String] = []

    @Option(help: "What is said of names that an endpoint may not know: nxdomain or refused.")
    var dnsRefusal: Refusal?

    @OptionGroup var labels: LabelOptions

    func validate() throws {
        if !dns, !dnsUpstream.isEmpty || dnsRefusal != nil {
            throw ValidationError("--dns-upstream and --dns-refusal go with --dns")
        }
    }

    func run() async throws {
        // In the API 0 is no choice at all.
        if mtu == 0 {
            throw Failure("mtu \"0\": IPv6 needs at least \(NetworkRequest.smallestIPv6MTU) bytes")
        }
        let labels = try labels.read()
        let vnet = try await Connection.with(starting: true) { client in
            try await client.createVNet(
                .with {
                    $0.name = name
                    $0.subnets = subnet
                    $0.isolation = isolation.message
                    $0.defaultVerdict = verdict == .deny ? .deny : .allow
                    $0.mtu = mtu ?? 0
                    $0.labels = labels
                    $0.nat = nat
                    if dns {
                        $0.dns = .with {
                            $0.upstreams = dnsUpstream
                            $0.refusal = dnsRefusal == .refused ? .refused : .nxdomain
                        }
                    }
                }
            ).vnet
        }
        Console.line(vnet.id)
    }
}

struct NetworkList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ls", abstract: "List networks.", aliases: ["list"])

    @OptionGroup var listing: ListingOptions

    func run() async throws {
        let vnets = try await Connection.with(starting: true) { try await $0.allVNets() }
        try listing.show(
            vnets.sorted { $0.name < $1.name },
            [
                Column("NETWORK ID") { short($0.id) },
                Column("NAME") { $0.name },
                Column("SUBNETS") { $0.subnets.joined(separator: ",") },
                Column("ISOLATION") { Isolation.text($0.isolation) },
                Column("DEFAULT") { $0.defaultVerdict == .allow ? "allow" : "deny" },
                Column("NAT") { $0.nat ? "yes" : "no" },
                Column("DNS") { $0.hasDns ? "yes" : "no" },
                Column("MTU") { "\($0.mtu)" },
                Column("LABELS") { text($0.labels) },
            ],
            quietly: { short($0.id) })
    }
}

struct NetworkInspect: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect", abstract: "Show networks in full, as JSON.")

    @Argument(help: "Names, ids or unambiguous id prefixes.")
    var names: [String]

    func run() async throws {
        try await Connection.with(starting: true) { client in
            try await inspect(names) { name in try await client.getVNet(.with { $0.name = name }).vnet }
        }
    }
}

struct NetworkRemove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rm", abstract: "Remove networks.", aliases: ["remove"])

    @Argument(help: "Names, ids or unambiguous id prefixes.")
    var names: [String]

    @Flag(name: .shortAndLong, help: "Release a network's endpoints too.")
    var force = false

    func run() async throws {
        try await Connection.with(starting: true) { client in
            try await forEach(names) { name in
                _ = try await client.deleteVNet(
                    .with {
                        $0.name = name
                        $0.force = force
                    })
                Console.line(name)
            }
        }
    }
}

/// Shows what was found as a JSON array; names that were not found are told.
func inspect<Row: Message>(_ names: [String], _ find: (String) async throws -> Row) async throws {
    var rows: [Row] = []
    var failure: (any Error)?
    do {
        try await forEach(names) { rows.append(try await find($0)) }
    } catch {
        failure = error
    }
    Console.line(try JSON.array(rows))
    if let failure { throw failure }
}
