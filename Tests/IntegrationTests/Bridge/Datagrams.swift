import Glibc
import Sys
import Wire

/// A UDP socket that waits at most a quarter of a second, made in the calling thread's network namespace.
final class DatagramSocket {
    private let family: IPFamily
    private let descriptor: Descriptor

    /// Bound to a port on all addresses, so it can be there before the first of them.
    init(_ family: IPFamily, port: UInt16 = 0) throws {
        self.family = family
        let domain = family == .v4 ? AF_INET : AF_INET6
        descriptor = Descriptor(
            owning: try system("socket") {
                socket(domain, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
            })
        try prepare(port)
    }

    private func prepare(_ port: UInt16) throws {
        let number = descriptor.rawValue
        var patience = timeval(tv_sec: 0, tv_usec: 250_000)
        try system("setsockopt") {
            unsafe setsockopt(
                number, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        }
        let any = Self.name(IPAddress(family, bits: 0), port)
        try system("bind") { unsafe Self.with(any) { unsafe bind(number, $0, $1) } }
    }

    func send(_ bytes: [UInt8], to address: IPAddress, port: UInt16) throws {
        let number = descriptor.rawValue
        let name = Self.name(address, port)
        try system("sendto", "\(address)") {
            unsafe Self.with(name) { destination, length in
                unsafe bytes.withUnsafeBytes {
                    unsafe sendto(number, $0.baseAddress, $0.count, 0, destination, length)
                }
            }
        }
    }

    /// The next datagram; nil if none came in time.
    func receive() -> [UInt8]? {
        let number = descriptor.rawValue
        var buffer = [UInt8](repeating: 0, count: 2048)
        let got = unsafe buffer.withUnsafeMutableBytes { unsafe recv(number, $0.baseAddress, $0.count, 0) }
        return got < 0 ? nil : Array(buffer.prefix(got))
    }

    /// `struct sockaddr_in` or `sockaddr_in6`.
    private static func name(_ address: IPAddress, _ port: UInt16) -> [UInt8] {
        var name = ByteWriter()
        name.integer(UInt16(address.family == .v4 ? AF_INET : AF_INET6))
        name.integerBE(port)
        if address.family == .v6 { name.zeros(4) }
        name.append(address.bytes)
        name.zeros(address.family == .v4 ? 8 : 4)
        return name.bytes
    }

    private static func with<R>(_ name: [UInt8], _ body: (UnsafePointer<sockaddr>?, socklen_t) -> R) -> R {
        // The calls take any bytes and look at the family first; alignment is no matter on their way to the
        // kernel.
        unsafe name.withUnsafeBytes {
            unsafe body($0.baseAddress?.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count))
        }
    }
}

/// Microseconds on the monotonic clock.
func microseconds() -> Double {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) * 1e6 + Double(time.tv_nsec) / 1e3
}
