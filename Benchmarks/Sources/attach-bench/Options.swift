internal import BenchLab

/// What the command line asks for.
struct Options {
    enum Action: String {
        /// Times attaches.
        case attach
        /// Times attaches, and the first packet of each new endpoint to one that is there already.
        case firstPacket = "first-packet"
        /// Times calls that change nothing.
        case call
        /// Removes namespaces that `--keep` left.
        case forget
    }

    var action = Action.attach
    var network = "bench"
    var count = 10
    var labels: [String: String] = [:]
    var family: Int32 = 4
    /// Container ids begin with this.
    var prefix = "bench"
    /// Endpoints and namespaces stay.
    var keeps = false

    init(_ arguments: [String]) throws(Problem) {
        var rest = arguments[...]
        guard let action = rest.popFirst().flatMap(Action.init(rawValue:)) else {
            throw Problem(
                "usage: attach-bench attach|first-packet|call|forget [--network N] [--count K] [--label K=V] ..."
            )
        }
        self.action = action
        while let option = rest.popFirst() {
            if option == "--keep" {
                keeps = true
                continue
            }
            guard let value = rest.popFirst() else { throw Problem("\(option) needs a value") }
            switch option {
            case "--network": network = value
            case "--prefix": prefix = value
            case "--family": family = value == "v6" ? 6 : 4
            case "--count":
                guard let number = Int(value), (1...4000).contains(number) else {
                    throw Problem("--count must be from 1 to 4000, not '\(value)'")
                }
                count = number
            case "--label":
                let parts = value.split(separator: "=", maxSplits: 1)
                guard parts.count == 2 else { throw Problem("--label takes KEY=VALUE, not '\(value)'") }
                labels[String(parts[0])] = String(parts[1])
            default: throw Problem("unknown option '\(option)'")
            }
        }
    }
}
