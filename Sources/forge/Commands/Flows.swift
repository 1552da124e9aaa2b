internal import API
internal import ArgumentParser
internal import Glibc
internal import Protos
internal import SwiftProtobuf

struct Flows: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show packets that were denied, each with its reason, and connections that were allowed.",
        discussion: """
            Without --follow the last ones are shown; connections are remembered only while somebody watches. \
            Equal ones of about a second are one line, with their number at its end.
            """)

    @Option(
        name: .customLong("endpoint"),
        help: ArgumentHelp(
            "Only flows that this endpoint has a part in: name, network/name, container id, id or unambiguous id prefix. May be given again.",
            valueName: "endpoint"))
    var endpoints: [String] = []

    @Flag(help: "No connections that were allowed.")
    var denied = false

    @Flag(name: .shortAndLong, help: "Go on with what happens from now on.")
    var follow = false

    @Option(help: "table or json, one object a line; the fields of json are the API's.")
    var format = Format.table

    func run() async throws {
        let request = Forge_Network_V1_WatchFlowsRequest.with {
            $0.endpoints = endpoints
            $0.deniedOnly = denied
            $0.follow = follow
            $0.includeRecent = true
        }
        for name in endpoints { _ = try given(name, "--endpoint") }
        let format = format
        try await Connection.with { client in
            do {
                try await client.watchFlows(request) { event in
                    Console.line(format == .json ? try JSON.compact(event) : FlowLine.text(event))
                }
            } catch let error as ForgeError where error.code == .unavailable {
                throw Failure("the fabric went away")
            }
        }
    }
}

/// A flow as a person reads it:
///
///     12:00:01.123 DENY  egress  web (10.1.0.5) -> db (10.1.0.6):5432/tcp  default deny (egress of web)  x12
enum FlowLine {
    static func text(_ event: Forge_Network_V1_FlowEvent) -> String {
        let start = clock(event.time) + " "
        switch event.verdict {
        case .lost:
            let whose = event.endpoint.isEmpty ? "" : " of \(event.endpoint)"
            let number = event.hasCount ? "\(event.count)" : "some"
            let reason = event.hasReason ? "  \(event.reason.text)" : ""
            return start + "LOST  \(number) " + what(event.lostBecause, whose) + reason
        case .missed:
            return start + "MISSED \(event.count) events came faster than they were read"
        default:
            break
        }
        let verdict =
            switch event.verdict {
            case .deny: "DENY  "
            case .audit: "AUDIT "
            default: "ALLOW "
            }
        let direction = event.direction == .ingress ? "ingress " : "egress  "
        let isSender = event.direction != .ingress
        // The sender's port says nothing to a person.
        let from = party(isSender ? event.endpoint : event.peer, event.sourceAddress, nil)
        let to = party(
            isSender ? event.peer : event.endpoint, event.destinationAddress,
            event.destinationPort == 0 ? nil : event.destinationPort)
        var line = "\(start)\(verdict)\(direction)\(from) -> \(to)/\(event.protocol)"
        if event.hasReason { line += "  \(event.reason.text)" }
        if event.count > 1 { line += "  x\(event.count)" }
        return line
    }

    private static func what(_ cause: String, _ whose: String) -> String {
        switch cause {
        case "share": "denials\(whose) are more than are described of one endpoint"
        case "earlier": "denials\(whose) were before this manager began"
        case "bandwidth": "packets\(whose) were more than its bandwidth"
        case "connections": "connections began faster than they could be read"
        default: "denials\(whose) came faster than they could be read"
        }
    }

    /// `db (10.1.0.6):5432`, or the address alone where nobody has a name for it.
    private static func party(_ name: String, _ address: String, _ port: UInt32?) -> String {
        let port = port.map { ":\($0)" } ?? ""
        if address.isEmpty { return (name.isEmpty ? "?" : name) + port }
        if !name.isEmpty { return "\(name) (\(address))\(port)" }
        return (address.contains(":") && !port.isEmpty ? "[\(address)]" : address) + port
    }

    /// The time of day here, to the millisecond.
    private static func clock(_ time: Google_Protobuf_Timestamp) -> String {
        var seconds = time_t(time.seconds)
        // It has a pointer to the zone's name, which is not looked at.
        var parts = unsafe tm()
        _ = unsafe localtime_r(&seconds, &parts)
        func digits(_ number: Int32, _ count: Int) -> String {
            let text = String(number)
            return String(repeating: "0", count: max(0, count - text.count)) + text
        }
        let (hour, minute, second) = unsafe (parts.tm_hour, parts.tm_min, parts.tm_sec)
        return digits(hour, 2) + ":" + digits(minute, 2) + ":" + digits(second, 2) + "."
            + digits(time.nanos / 1_000_000, 3)
    }
}
