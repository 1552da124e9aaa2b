package import Namespaces
package import Sys

/// The lines from a manager to a proxy: whoever is given them closes them.
package final class ProxyLines: Sendable {
    /// Of the proxy, as its host counts.
    package let pid: Int32
    /// To its resolver: `ResolverOrder` and `ResolverReport` of `DNS`.
    package let names: Descriptor
    /// To its forwarder: `ForwardOrder` and `ForwardReport` of `Forwarding`.
    package let ports: Descriptor

    package init(pid: Int32, names: consuming Descriptor, ports: consuming Descriptor) {
        self.pid = pid
        self.names = names
        self.ports = ports
    }
}

/// What starts a proxy for the manager, and starts it again when it ends.
package protocol ProxyHost: Sendable {
    /// The lines to each proxy that is started; nil says that one could not be. For one listener.
    var proxies: AsyncStream<ProxyLines?> { get }
    /// The manager needs a proxy from now on, or none any more.
    /// - Returns: false where that could not be passed on, and has to be said again.
    func needProxy(_ isNeeded: Bool) -> Bool
    /// Opens a port of the host's; a stream listens.
    /// - Throws: `SystemError` as bind(2) has it.
    func openPort(_ port: HostPort) throws -> Descriptor
}
