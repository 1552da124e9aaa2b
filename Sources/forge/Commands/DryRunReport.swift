internal import Protos

/// What a dry run found, for people.
enum DryRunReport {
    static func show(_ effect: Forge_Network_V1_PolicyEffect) {
        Console.line("")
        if effect.reach.isEmpty {
            Console.line("No pair gains or loses reach.")
        } else {
            Console.show(
                Table.render(
                    effect.reach,
                    [
                        Column("REACH") { $0.after == .allow ? "gain" : "lose" },
                        Column("FROM") { $0.from },
                        Column("TO") { $0.to },
                        Column("PORTS") { ports($0) },
                        Column("BEFORE") { $0.beforeReason.text },
                        Column("AFTER") { $0.afterReason.text },
                    ]))
        }
        if effect.reachOmitted > 0 { Console.line("... and \(effect.reachOmitted) more") }
        Console.line("")
        if effect.cuts.isEmpty {
            Console.line("No live connection would be cut.")
        } else {
            Console.show(
                Table.render(
                    effect.cuts,
                    [
                        Column("CUT FROM") { "\($0.from) \($0.fromAddress)" },
                        Column("TO") { "\($0.to) \($0.toAddress)" },
                        Column("PORT") { port($0) },
                        Column("REASON") { $0.reason.text },
                    ]))
        }
        if effect.cutsOmitted > 0 { Console.line("... and \(effect.cutsOmitted) more") }
    }

    private static func ports(_ reach: Forge_Network_V1_PolicyEffect.Reach) -> String {
        if reach.all { return "everything" }
        guard let name = name(reach.protocol) else { return "other protocols" }
        if reach.first == 0, reach.last == 0 { return name }
        return reach.first == reach.last ? "\(reach.first)/\(name)" : "\(reach.first)-\(reach.last)/\(name)"
    }

    private static func port(_ cut: Forge_Network_V1_PolicyEffect.Cut) -> String {
        guard let name = name(cut.protocol) else { return "proto-\(cut.protocolNumber)" }
        return cut.port == 0 ? name : "\(cut.port)/\(name)"
    }

    private static func name(_ message: Forge_Network_V1_Protocol) -> String? {
        switch message {
        case .tcp: "tcp"
        case .udp: "udp"
        case .sctp: "sctp"
        case .icmp: "icmp"
        case .unspecified, .UNRECOGNIZED: nil
        }
    }
}
