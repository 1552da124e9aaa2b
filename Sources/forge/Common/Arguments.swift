internal import ArgumentParser
internal import Model
internal import Protos
internal import SwiftProtobuf
internal import Wire

/// `--label K=V`, as often as needed.
struct LabelOptions: ParsableArguments {
    @Option(
        name: .customLong("label"),
        help: ArgumentHelp("A label that policies can select by.", valueName: "k=v"))
    var texts: [String] = []

    func read() throws -> [String: String] {
        var labels: [String: String] = [:]
        for text in texts {
            do throws(ModelError) {
                let (key, value) = try LabelSyntax.parse(text)
                guard labels.updateValue(value, forKey: key) == nil else {
                    throw ModelError.invalid("label", text, "the key is given twice")
                }
            } catch {
                throw Failure(error)
            }
        }
        return labels
    }
}

/// Labels to set and to remove, as kubectl writes them: `app=web tier-`.
struct LabelChanges: ParsableArguments {
    @Argument(help: ArgumentHelp("Labels: KEY=VALUE sets one, KEY- removes one.", valueName: "label"))
    var texts: [String]

    func read() throws -> (set: [String: String], remove: [String]) {
        var set: [String: String] = [:]
        var remove: [String] = []
        for text in texts {
            if text.hasSuffix("-"), !text.contains("=") {
                remove.append(String(text.dropLast()))
                continue
            }
            do throws(ModelError) {
                let (key, value) = try LabelSyntax.parse(text)
                guard set.updateValue(value, forKey: key) == nil else {
                    throw ModelError.invalid("label", text, "the key is given twice")
                }
            } catch { throw Failure(error) }
        }
        return (set, remove)
    }
}

/// `--port NAME=PORT[/PROTOCOL]`, as often as needed.
struct NamedPortOptions: ParsableArguments {
    @Option(
        name: .customLong("port"),
        help: ArgumentHelp(
            "A port that policies may call by name, such as http=80/tcp.", valueName: "name=port"))
    var texts: [String] = []

    func read() throws -> [Forge_Network_V1_NamedPort] {
        try texts.map { text in
            do throws(ParseError) {
                let port = try NamedPort(text)
                return .with {
                    $0.name = port.name
                    $0.port = UInt32(port.number)
                    switch port.transport {
                    case .tcp: $0.protocol = .tcp
                    case .udp: $0.protocol = .udp
                    case .sctp: $0.protocol = .sctp
                    case .icmp: $0.protocol = .icmp
                    }
                }
            } catch {
                throw Failure(error)
            }
        }
    }
}

/// `--alias NAME`, as often as needed.
struct AliasOptions: ParsableArguments {
    @Option(
        name: .customLong("alias"),
        help: ArgumentHelp(
            "A further name for the network's resolver; endpoints may share one.", valueName: "name"))
    var names: [String] = []
}

/// What an option was given, empty if it was not. In the API empty means not given: an option that is given
/// and empty, such as an unset variable of a script, must not be taken for that.
func given(_ value: String?, _ field: String) throws -> String {
    if value == "" { throw Failure("\(field) \"\": is empty; leave the option out to mean none") }
    return value ?? ""
}

/// Does the same for each of several names; what fails is told, and does not keep the others from being done.
func forEach(_ names: [String], _ work: (String) async throws -> Void) async throws {
    var failed = false
    for name in names {
        do { try await work(name) } catch {
            Console.complain(Failure(error).message)
            failed = true
        }
    }
    if failed { throw ExitCode(Failure.ours) }
}
