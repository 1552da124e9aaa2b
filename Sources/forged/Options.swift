internal import Namespaces
internal import Sys

/// The command line, read by hand: the anchor must not touch anything that could start a thread.
enum Options {
    case anchor(StartOptions)
    case host(StartOptions)
    case manager(ManagerOptions)
    case proxy(hasLifeline: Bool)
    case help
    case version

    static let usage = """
        usage: forged [--host] [--no-subids]

        The fabric of the calling user: its networks, and the API that "forge" speaks. Runs until SIGTERM.

          --host        work in the network namespace that forged is started in; needs CAP_NET_ADMIN there
          --no-subids   map the own id alone, even where subordinate ids are granted
          --version     print the version

        Sockets are below $XDG_RUNTIME_DIR/forge, state below $XDG_STATE_HOME/forge (root: /run/forge and
        /var/lib/forge); FORGE_RUNTIME_DIR and FORGE_STATE_DIR name others.
        """

    /// - Throws: `Failure` naming the argument that makes no sense.
    static func parse(_ arguments: [String]) throws(Failure) -> Options {
        if arguments.first == "manager" { return .manager(try ManagerOptions(arguments.dropFirst())) }
        if arguments == ["proxy"] { return .proxy(hasLifeline: false) }
        if arguments == ["proxy", ProxyRole.lifeline] { return .proxy(hasLifeline: true) }
        var options = StartOptions()
        var host = false
        var rest = arguments[...]
        while let argument = rest.popFirst() {
            switch argument {
            case "--host": host = true
            case "--no-subids": options.useSubordinateIDs = false
            case "--detached": options.isDetached = true
            case "--ready-fd": options.readyDescriptor = try number(argument, rest.popFirst())
            case "--help", "-h": return .help
            case "--version": return .version
            default: throw Failure("unknown argument \"\(argument)\"; see forged --help")
            }
        }
        return host ? .host(options) : .anchor(options)
    }

    static func number(_ name: String, _ text: String?) throws(Failure) -> Int32 {
        guard let text, let number = Int32(text), number >= 0 else {
            throw Failure("\(name) needs a number, not \"\(text ?? "")\"")
        }
        return number
    }
}

/// How `forged` was started.
struct StartOptions {
    var useSubordinateIDs = true
    /// Standard error is a log file of our own, to be kept small.
    var isDetached = false
    /// Told once when the API answers, or why it never will.
    var readyDescriptor: Int32?
    var paths = FabricPaths()
}

/// What the anchor tells the manager.
struct ManagerOptions {
    /// Listening; bound by the anchor, so that callers wait in line while a manager is replaced.
    var listener: Int32 = -1
    /// To the anchor.
    var control: Int32 = -1
    /// The fabric's owner, as the host counts.
    var owner: UInt32 = 0
    var subordinateIDs = false
    /// How many managers the anchor had before this one.
    var restarts: Int32 = 0
    var paths: FabricPaths

    init(_ arguments: ArraySlice<String>) throws(Failure) {
        var rest = arguments
        var runtime = ""
        var state = ""
        while let argument = rest.popFirst() {
            switch argument {
            case "--listen-fd": listener = try Options.number(argument, rest.popFirst())
            case "--control-fd": control = try Options.number(argument, rest.popFirst())
            case "--owner":
                guard let owner = rest.popFirst().flatMap({ UInt32($0) }) else {
                    throw Failure("--owner needs a uid")
                }
                self.owner = owner
            case "--restarts": restarts = try Options.number(argument, rest.popFirst())
            case "--subids": subordinateIDs = true
            case "--runtime-dir": runtime = rest.popFirst() ?? ""
            case "--state-dir": state = rest.popFirst() ?? ""
            default: throw Failure("unknown argument \"\(argument)\" of the manager")
            }
        }
        guard listener >= 0, control >= 0, !runtime.isEmpty, !state.isEmpty else {
            throw Failure("the manager is started by forged, not by hand")
        }
        paths = FabricPaths(runtimeDirectory: runtime, stateDirectory: state)
    }
}
