internal import API
internal import ArgumentParser
internal import Model
internal import Protos
internal import SwiftProtobuf
internal import Sys
internal import Wire

struct PolicyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "policy", abstract: "Say who may talk to whom, and ask why.",
        subcommands: [
            PolicyApply.self, PolicyList.self, PolicyInspect.self, PolicyRemove.self, PolicyExplain.self,
        ])
}

struct PolicyApply: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apply", abstract: "Create or replace the policies of a YAML file: all of them or none.",
        discussion: "They are in force when the command returns, for established connections too.")

    @Option(name: .shortAndLong, help: "The file; - is standard input.")
    var file: String

    @Flag(help: "Change nothing; say who would gain or lose reach, and which connections would be cut.")
    var dryRun = false

    @Option(help: "table or json, of a dry run.")
    var format = Format.table

    func run() async throws {
        let name = file == "-" ? "stdin" : file
        let document = try read(name)
        let answer = try await Connection.with(starting: true) { client in
            try await client.applyFirewall(
                .with {
                    $0.document = document
                    $0.documentName = name
                    $0.dryRun = dryRun
                })
        }
        for warning in answer.warnings { Console.complain("warning: \(warning)") }
        if dryRun, format == .json {
            Console.line(try JSON.object(answer))
            return
        }
        let note = dryRun ? " (dry run)" : ""
        defer { if dryRun { DryRunReport.show(answer.effect) } }
        for policy in answer.applied {
            switch policy.change {
            case .created: Console.line("\(policy.name) created\(note)")
            case .updated: Console.line("\(policy.name) updated\(note)")
            default: Console.line("\(policy.name) unchanged\(note)")
            }
        }
    }

    private func read(_ name: String) throws -> String {
        let text: String
        do throws(SystemError) {
            text = try readFile(file == "-" ? "/dev/stdin" : file, limit: PolicyDocument.textLimit + 1)
        } catch {
            throw Failure("\(name): \(error.errno)")
        }
        guard text.utf8.count <= PolicyDocument.textLimit else {
            throw Failure("\(name): is larger than \(PolicyDocument.textLimit) bytes")
        }
        guard !text.isEmpty else { throw Failure("\(name): is empty") }
        return text
    }
}

struct PolicyList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ls", abstract: "List policies.", aliases: ["list"])

    @OptionGroup var listing: ListingOptions

    func run() async throws {
        let policies = try await Connection.with(starting: true) { try await $0.allPolicies() }
        try listing.show(
            policies,
            [
                Column("NAME") { $0.name },
                Column("SELECTS") { PolicyList.text($0.selector) },
                Column("DIRECTIONS") { policy in
                    policy.directions.map { $0 == .ingress ? "ingress" : "egress" }.joined(separator: ",")
                },
                Column("TIER") { $0.tier == "standard" ? $0.tier : "\($0.tier) \($0.priority)" },
                Column("RULES") { "\($0.rules)" },
                Column("MODE") { $0.mode == .audit ? "audit" : "enforce" },
                Column("LIMITS") { PolicyList.text($0.limits) },
            ],
            quietly: \.name)
    }

    /// `in 100 connections/s 20mbit, out 500 packets/s`.
    private static func text(_ limits: Forge_Network_V1_Limits) -> String {
        func text(_ side: String, _ limit: Forge_Network_V1_TrafficLimit) -> String? {
            var parts: [String] = []
            if limit.hasConnections { parts.append("\(limit.connections) connections/s") }
            if limit.hasPackets { parts.append("\(limit.packets) packets/s") }
            if limit.hasBandwidthKbit {
                parts.append(Bandwidth(kilobits: Int(limit.bandwidthKbit)).description)
            }
            return parts.isEmpty ? nil : ([side] + parts).joined(separator: " ")
        }
        return [text("in", limits.ingress), text("out", limits.egress)].compactMap(\.self)
            .joined(separator: ", ")
    }

    private static func text(_ selector: Forge_Network_V1_Selector) -> String {
        var parts: [String] = []
        if !selector.vnet.isEmpty { parts.append("network \(selector.vnet)") }
        if selector.hasEndpoints { parts.append(selector.endpoints.names.joined(separator: ",")) }
        if !selector.matchLabels.isEmpty { parts.append(forge.text(selector.matchLabels)) }
        return parts.isEmpty ? "all" : parts.joined(separator: " ")
    }
}

struct PolicyInspect: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect", abstract: "Show policies in full, as JSON.")

    @Argument(help: "Names.")
    var names: [String]

    func run() async throws {
        try await Connection.with(starting: true) { client in
            try await inspect(names) { name in try await client.getPolicy(.with { $0.name = name }).policy }
        }
    }
}

struct PolicyRemove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rm", abstract: "Remove policies.", aliases: ["remove"])

    @Argument(help: "Names.")
    var names: [String]

    func run() async throws {
        try await Connection.with(starting: true) { client in
            try await forEach(names) { name in
                _ = try await client.deletePolicy(.with { $0.name = name })
                Console.line(name)
            }
        }
    }
}

struct PolicyExplain: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract: "Say whether one may reach the other, and what decides, without a packet.",
        discussion: "FROM and TO are endpoints (name, network/name, id or container id) or IP addresses.")

    @Argument var from: String
    @Argument var to: String

    @Argument(help: "Such as 80/tcp, 53/udp or icmp; without it only rules for all ports count.")
    var port: String?

    @Option(help: "table or json.")
    var format = Format.table

    func run() async throws {
        var request = Forge_Network_V1_ExplainRequest()
        request.from = from
        request.to = to
        let range = try port.map { try read($0, &request) }
        let answer = try await Connection.with { try await $0.explain(request) }
        if format == .json {
            Console.line(try JSON.object(answer))
            return
        }
        let reasons = answer.reasons.map { reason in
            let side =
                answer.verdict == .allow && reason.direction != .unspecified
                ? "\(name(reason.direction)) by " : ""
            return side + reason.text
        }
        Console.line("\(answer.verdict == .allow ? "allowed" : "denied"): \(reasons.joined(separator: ", "))")
        if answer.hasAudit { Console.line("  audit would deny it: \(answer.audit.text)") }
        Console.line("  from  \(text(answer.from))")
        Console.line("  to    \(text(answer.to))")
        if let range { Console.line("  port  \(range)") }
    }

    private func read(_ port: String, _ request: inout Forge_Network_V1_ExplainRequest) throws -> PortRange {
        let range: PortRange
        do throws(ParseError) { range = try PortRange(port) } catch { throw Failure(error) }
        guard range.transport == .icmp || range.ports.count == 1 else {
            throw Failure("port \"\(port)\": expected one port such as 80/tcp")
        }
        switch range.transport {
        case .tcp: request.protocol = .tcp
        case .udp: request.protocol = .udp
        case .sctp: request.protocol = .sctp
        case .icmp: request.protocol = .icmp
        }
        if range.transport != .icmp { request.port = UInt32(range.ports.lowerBound) }
        return range
    }

    private func name(_ direction: Forge_Network_V1_Direction) -> String {
        direction == .ingress ? "ingress" : "egress"
    }

    private func text(_ party: Forge_Network_V1_ExplainResponse.Party) -> String {
        party.endpoint.isEmpty
            ? "\(party.address) (outside the fabric)" : "\(party.endpoint) \(party.address)"
    }
}
