package import Model
internal import Sys
internal import Wire

/// One value under /proc/sys.
package struct Setting: Hashable, Sendable, CustomStringConvertible {
    /// Below /proc/sys.
    package let path: String
    package let value: Int

    package var description: String { "\(path) = \(value)" }

    /// Makes it so. A value that is right already is not written: /proc/sys may be read-only, and writing has
    /// effects.
    func apply() throws(BridgeError) {
        let file = "/proc/sys/" + path
        do throws(SystemError) {
            let now = try readFile(file, limit: 32)
            if Int(now.prefix { $0 != "\n" }) != value { try writeFile(file, "\(value)\n") }
        } catch {
            throw BridgeError(.setting, "cannot set \(self)", cause: error)
        }
    }

    /// Everything that a bridge of a network needs before it comes up. They are set once a bridge, never for an
    /// endpoint.
    package static func all(for network: Network, bridge: String, hasIPv6: Bool) -> [Setting] {
        func ipv4(_ name: String, _ value: Int, _ link: String? = nil) -> Setting {
            Setting(path: "net/ipv4/conf/\(link ?? bridge)/\(name)", value: value)
        }
        func ipv6(_ name: String, _ value: Int, _ link: String? = nil) -> Setting {
            Setting(path: "net/ipv6/conf/\(link ?? bridge)/\(name)", value: value)
        }
        var settings = [
            // Traffic between two ports of one bridge is routed, too. "all" also sets the default of links to
            // come.
            ipv4("forwarding", 1, "all"),
            ipv4("forwarding", 1),
            // Endpoints send all through the gateway and never ask for a peer's MAC. A workload that does is
            // answered for peers on the same bridge (RFC 3069) and on others.
            ipv4("proxy_arp_pvlan", 1),
            ipv4("proxy_arp", 1),
            Setting(path: "net/ipv4/neigh/\(bridge)/proxy_delay", value: 0),
            // The shorter way that a redirect would name does not exist. The kernel asks whether either is
            // set.
            ipv4("send_redirects", 0, "all"),
            ipv4("send_redirects", 0),
            ipv4("accept_redirects", 0),
            // A source address from elsewhere is dropped, should the firewall's own pinning be gone.
            ipv4("rp_filter", 1),
        ]
        guard hasIPv6 else { return settings }
        guard network.has(.v6) else { return settings + [ipv6("disable_ipv6", 1)] }
        settings += [
            ipv6("forwarding", 1, "all"),
            ipv6("disable_ipv6", 0),
            ipv6("forwarding", 1),
            ipv6("accept_ra", 0),
            ipv6("accept_redirects", 0),
            // We give the addresses out, so none is a duplicate.
            ipv6("accept_dad", 0),
        ]
        return settings
    }
}
