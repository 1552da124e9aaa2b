internal import CLinux
package import Sys
internal import Wire

/// One end of the socket pair between manager and forwarder. Nothing here waits.
package struct ForwardLink: ~Copyable, Sendable {
    package let descriptor: Descriptor

    package init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }

    /// Two connected ends, each the caller's to close.
    package static func pair() throws(SystemError) -> (Int32, Int32) {
        var ends: [Int32] = [-1, -1]
        try system("socketpair") {
            unsafe ends.withUnsafeMutableBufferPointer { unsafe cl_seqpacket_pair($0.baseAddress) }
        }
        return (ends[0], ends[1])
    }

    /// Descriptors that one message can have along.
    package static var passengerLimit: Int { Int(CL_MAX_FDS) }

    /// Sends an order, and copies of descriptors along with it.
    /// - Throws: `Errno.again` where the forwarder has not read the ones before.
    package borrowing func send(_ order: ForwardOrder, with passengers: [Int32] = []) throws(SystemError) {
        try send(order.encoded, passengers)
    }

    borrowing func send(_ report: ForwardReport) throws(SystemError) { try send(report.encoded, []) }

    /// The next report.
    /// - Returns: nil when the other end is closed.
    /// - Throws: `Errno.again` when none is there; `Errno.invalid` for what makes no sense.
    package borrowing func receiveReport() throws(SystemError) -> ForwardReport? {
        guard let (bytes, _) = try receive() else { return nil }
        do throws(DecodeError) { return try ForwardReport(bytes) } catch {
            throw SystemError("receive", .invalid, "report: \(error)")
        }
    }

    /// As `receiveReport`, for orders.
    borrowing func receiveOrder() throws(SystemError) -> (ForwardOrder, Passengers)? {
        guard let (bytes, passengers) = try receive() else { return nil }
        do throws(DecodeError) { return (try ForwardOrder(bytes), passengers) } catch {
            throw SystemError("receive", .invalid, "order: \(error)")
        }
    }

    private borrowing func send(_ bytes: [UInt8], _ passengers: [Int32]) throws(SystemError) {
        let number = descriptor.rawValue
        try system("send", "forwarder's link") {
            unsafe bytes.withUnsafeBytes { bytes in
                unsafe passengers.withUnsafeBufferPointer {
                    unsafe cl_send_fds(
                        number, bytes.baseAddress, bytes.count, $0.baseAddress, Int32($0.count),
                        Int32(MSG_DONTWAIT))
                }
            }
        }
    }

    private borrowing func receive() throws(SystemError) -> (ArraySlice<UInt8>, Passengers)? {
        var buffer = [UInt8](repeating: 0, count: ForwardOrder.limit)
        var numbers = [Int32](repeating: -1, count: Self.passengerLimit)
        var count: Int32 = 0
        let number = descriptor.rawValue
        let got = try system("receive", "forwarder's link") {
            count = Int32(CL_MAX_FDS)
            return unsafe buffer.withUnsafeMutableBytes { bytes in
                unsafe numbers.withUnsafeMutableBufferPointer {
                    unsafe cl_recv_fds(
                        number, bytes.baseAddress, bytes.count, $0.baseAddress, &count, Int32(MSG_DONTWAIT))
                }
            }
        }
        let passengers = Passengers(Array(numbers.prefix(Int(count))))
        return got == 0 ? nil : (buffer[..<got], passengers)
    }
}

/// Descriptors that came with a message; closed unless they are taken.
final class Passengers {
    private var numbers: [Int32]

    init(_ numbers: [Int32]) { self.numbers = numbers }

    deinit { for number in numbers { _ = CLinux.close(number) } }

    var count: Int { numbers.count }

    /// The last one that is left, the caller's to close.
    func take() -> Descriptor? { numbers.popLast().map { Descriptor(owning: $0) } }
}
