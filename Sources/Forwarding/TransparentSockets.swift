internal import CLinux
package import Sys
package import Wire

/// Sockets of the fabric that may have any address: what the forwarder reaches endpoints with.
///
/// Making one takes CAP_NET_ADMIN over the network namespace; to use it takes nothing, so that a process without
/// any capability can be given it. Only a socket that is made here can speak with a client's address.
package enum TransparentSockets {
    /// Makes sockets in the calling thread's network namespace, each the caller's to close.
    /// - Parameter count: at most `ForwardLink.passengerLimit` are made.
    package static func make(_ family: IPFamily, _ transport: ForwardTransport, count: Int)
        throws(SystemError)
        -> [Int32]
    {
        var sockets: [Int32] = []
        do throws(SystemError) {
            for _ in 0..<min(max(count, 0), ForwardLink.passengerLimit) {
                sockets.append(
                    try system("socket", "transparent, \(family)") {
                        cl_transparent_socket(Int32(family.rawValue), transport == .tcp ? 1 : 0)
                    })
            }
        } catch {
            close(sockets)
            throw error
        }
        return sockets
    }

    /// Answers a forwarder's `wantSockets`, in as many messages as it takes.
    package static func refill(
        _ link: borrowing ForwardLink, _ family: IPFamily, _ transport: ForwardTransport, count: Int
    ) throws(SystemError) {
        var left = min(count, SocketPool.limit)
        while left > 0 {
            let sockets = try make(family, transport, count: left)
            defer { close(sockets) }
            try link.send(.refill(family, transport), with: sockets)
            left -= sockets.count
        }
    }

    private static func close(_ sockets: [Int32]) {
        for socket in sockets { _ = CLinux.close(socket) }
    }
}
