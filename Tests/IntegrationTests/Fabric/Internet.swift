import LabSupport
import Namespaces
import Sys
import Testing

/// A namespace that stands for the internet, behind the uplink of the one that stands for the host: a web
/// server at an address of each family, and at others that policies leave out.
final class Internet {
    static let allowed = ["203.0.113.7", "2001:db8::9"]
    static let others = ["198.51.100.9", "2001:db8:ff::1"]

    private let namespace: LabNamespace
    private var server: ChildProcess

    /// - Parameter directory: what the server serves.
    init(behind host: borrowing LabNamespace, directory: String) throws {
        namespace = try LabNamespace()
        try Self.ip(host, "link add up0 type veth peer name eth0 netns \(namespace.path)")
        try Self.ip(host, "addr add 192.0.2.1/24 dev up0")
        try Self.ip(host, "addr add 2001:db8:fe::1/64 dev up0 nodad")
        try Self.ip(host, "link set up0 up")
        try Self.ip(namespace, "addr add 192.0.2.2/24 dev eth0")
        try Self.ip(namespace, "addr add 2001:db8:fe::2/64 dev eth0 nodad")
        for address in Self.allowed + Self.others {
            let isIPv6 = address.contains(":")
            try Self.ip(
                namespace, "addr add \(address)/\(isIPv6 ? 128 : 32) dev eth0\(isIPv6 ? " nodad" : "")")
        }
        try Self.ip(namespace, "link set eth0 up")
        try Self.ip(host, "route add default via 192.0.2.2")
        try Self.ip(host, "route add default via 2001:db8:fe::2")
        server = try Self.serve(namespace, "::", 80, directory)
        try Self.wait(for: "http://203.0.113.7/", from: host)
    }

    /// Starts a program there; it ends with the value.
    func start(_ arguments: [String]) throws -> ChildProcess {
        var child = try namespace.plan(arguments).start()
        try child.waitUntilRunning()
        return child
    }

    /// A web server in a namespace; it ends with the value.
    static func serve(
        _ namespace: borrowing LabNamespace, _ address: String, _ port: Int, _ directory: String
    ) throws -> ChildProcess {
        var plan = namespace.plan([
            "python3", "-m", "http.server", "--bind", address, "--directory", directory, "\(port)",
        ])
        let silence = try Descriptor.open("/dev/null", 2)
        plan.descriptors = [silence.rawValue, silence.rawValue, silence.rawValue]
        var child = try plan.start()
        try child.waitUntilRunning()
        return child
    }

    static func wait(for url: String, from namespace: borrowing LabNamespace) throws {
        let result = try namespace.run(
            "curl", "-s", "-o", "/dev/null", "--retry", "50", "--retry-delay", "1", "--retry-all-errors",
            "--retry-max-time", "30", url, timeoutSeconds: 40)
        guard result.status.code == 0 else { throw SystemError("serve", .again, url) }
    }

    private static func ip(_ namespace: borrowing LabNamespace, _ line: String) throws {
        let words = ["ip"] + line.split(separator: " ").map(String.init)
        let result = try namespace.plan(words).run(timeoutSeconds: 10)
        guard result.status.code == 0 else {
            throw SystemError("ip", .invalid, "\(line): \(result.errors)")
        }
    }
}
