import LabSupport
import Namespaces
import Netlink
import Sys
import Testing

/// A network namespace for one test, with its loopback interface up. It goes when the value does.
final class PrivateNetwork {
    private let namespace: LabNamespace

    init() throws { namespace = try LabNamespace() }

    /// Whether tests that need one run. In CI they always do, and fail where they cannot.
    static var isAllowed: Bool { Lab.isCI || Lab.isAvailable() }

    func inside<R: ~Copyable>(_ body: () throws -> R) throws -> R { try namespace.inside(body) }

    func netfilterSocket() throws -> NetlinkSocket<NetfilterProtocol> {
        try inside { try NetlinkSocket<NetfilterProtocol>() }
    }

    /// Runs a program in the namespace.
    @discardableResult
    func run(_ command: String...) throws -> (status: Int32, output: String, errors: String) {
        let result = try namespace.plan(command).run(timeoutSeconds: 60)
        // Death by a signal is 128 and more, as in a shell.
        return (result.status.code, result.output, result.errors)
    }

    /// What nft prints of the whole ruleset. A crash of nft, which some rulesets cause, is a failure.
    func listing() throws -> String {
        let text = try run("nft", "list", "ruleset")
        try #require(text.status == 0, "nft: \(text.errors)")
        let json = try run("nft", "-j", "list", "ruleset")
        try #require(json.status == 0, "nft -j: \(json.errors)")
        return text.output
    }

    /// Whether a UDP datagram gets past the output hook.
    func sends(to address: String, port: UInt16) throws -> Bool {
        try run("bash", "-c", "echo -n x 2>/dev/null > /dev/udp/\(address)/\(port)").status == 0
    }
}
