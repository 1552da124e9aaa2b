internal import Synchronization
package import Sys
package import Wire

/// A socket to upstreams that somebody opened in the host's network namespace: neither bound nor connected.
package struct UpstreamSocket: Sendable {
    package let transport: DNSTransport
    package let family: IPFamily
    /// Whoever is given this closes it.
    let descriptor: Int32

    package init(_ transport: DNSTransport, _ family: IPFamily, _ descriptor: consuming Descriptor) {
        self.transport = transport
        self.family = family
        self.descriptor = descriptor.release()
    }
}

/// The resolver with its sockets, on one thread.
///
/// Whatever it listens on and asks through it is given: it opens nothing, and needs no right. The manager at
/// the other end of the link may go and another one come (`adopt(link:)`); queries are answered meanwhile
/// from what is known.
package final class ResolverServer: Sendable {
    private struct Mailbox {
        var links: [Int32] = []
        var sockets: [UpstreamSocket] = []
        var isStopped = false
    }

    private let mailbox: Mutex<Mailbox>
    private let wakeUp: WakeUp
    private let settings: ResolverSettings

    /// - Parameter link: speaks `ResolverOrder` and `ResolverReport`, over `PacketLink`.
    /// - Parameter upstreamSockets: more may come over the link.
    package init(
        link: consuming Descriptor, upstreamSockets: [UpstreamSocket] = [],
        settings: ResolverSettings = ResolverSettings()
    ) throws(SystemError) {
        wakeUp = try WakeUp()
        self.settings = settings
        mailbox = Mutex(Mailbox(links: [link.release()], sockets: upstreamSockets))
    }

    /// Serves until `stop`; the calling thread does nothing else. To be called once.
    package func run() throws(SystemError) {
        let loop = try ResolverLoop(settings: settings, wakeUp: wakeUp.rawValue)
        while true {
            let mail = mailbox.withLock { mailbox in
                defer {
                    mailbox.links = []
                    mailbox.sockets = []
                }
                return mailbox
            }
            for socket in mail.sockets { loop.adopt(socket) }
            for link in mail.links { loop.adopt(link: Descriptor(owning: link)) }
            if mail.isStopped { return }
            try loop.runUntilWoken()
            wakeUp.clear()
        }
    }

    /// Another manager is at the other end of this one.
    package func adopt(link: consuming Descriptor) {
        let number = link.release()
        mailbox.withLock { $0.links.append(number) }
        wakeUp.signal()
    }

    package func adopt(_ socket: UpstreamSocket) {
        mailbox.withLock { $0.sockets.append(socket) }
        wakeUp.signal()
    }

    package func stop() {
        mailbox.withLock { $0.isStopped = true }
        wakeUp.signal()
    }

    deinit {
        mailbox.withLock { mailbox in
            for link in mailbox.links { _ = Descriptor(owning: link) }
            for socket in mailbox.sockets { _ = Descriptor(owning: socket.descriptor) }
        }
    }
}
