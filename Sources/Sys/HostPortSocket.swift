internal import CLinux

extension Descriptor {
    /// A socket bound to a port of the calling thread's network namespace; it does not block. A stream listens.
    ///
    /// - Parameter family: 4 or 6, or 0 for every address of both.
    package static func hostPort(
        family: UInt8, high: UInt64, low: UInt64, port: UInt16, stream: Bool
    ) throws(SystemError) -> Descriptor {
        Descriptor(
            owning: try system("bind", "port \(port)") {
                cl_host_port(Int32(family), high, low, port, stream ? 1 : 0)
            })
    }
}
