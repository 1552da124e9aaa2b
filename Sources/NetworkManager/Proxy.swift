internal import Logging
internal import Model

/// The proxy, which answers names and forwards ports: when there has to be one, and who is told that one came.
extension NetworkManager {
    func startProxy() {
        guard let host = configuration.proxyHost else { return }
        watch(
            Task { [weak self] in
                for await lines in host.proxies { await self?.proxyCame(lines) }
            })
        startNames()
        tellProxyHost()
    }

    /// Says whether a proxy is needed, where that is not known yet: while some network has names, while some port
    /// is published, and until it has closed the last one.
    /// - Parameter network: one that has names and is not in the directory yet.
    func tellProxyHost(named network: Network? = nil) {
        let isNeeded =
            network != nil || !networksWithNames.isEmpty || !ports.published.isEmpty || ports.isClosingPorts
        guard let host = configuration.proxyHost, isNeeded != toldProxyHost, host.needProxy(isNeeded) else {
            return
        }
        toldProxyHost = isNeeded
        guard !isNeeded else { return }
        names.line = nil
        names.proxy = nil
        forwarderWent()
    }

    private func proxyCame(_ lines: ProxyLines?) {
        if lines == nil {
            log.error("the proxy cannot be started: names are not answered, ports not forwarded")
        }
        resolverCame(lines)
        forwarderCame(lines)
        // One that was to close ports, and ended instead.
        tellProxyHost()
    }
}
