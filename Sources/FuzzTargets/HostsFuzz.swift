internal import Forwarding

/// First bytes of connections, orders and reports.
///
/// The first byte says which of them the rest is.
func decodeHosts(_ bytes: [UInt8]) -> String? {
    guard let choice = bytes.first else { return nil }
    let rest = bytes.dropFirst()
    switch choice % 3 {
    case 0: return HostCheck.violation(Array(rest))
    case 1:
        guard let order = try? ForwardOrder(rest) else { return nil }
        // A subnet's host bits are not kept: once written, all is.
        return (try? ForwardOrder(order.encoded[...])) == order ? nil : "an order is not what was written"
    default:
        guard let report = try? ForwardReport(rest) else { return nil }
        return (try? ForwardReport(report.encoded[...])) == report ? nil : "a report is not what was written"
    }
}
