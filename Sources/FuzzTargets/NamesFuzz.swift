internal import DNS

/// Messages of clients and upstreams, orders and reports.
///
/// The first byte says which of them the rest is.
func decodeNames(_ bytes: [UInt8]) -> String? {
    guard let choice = bytes.first else { return nil }
    let rest = Array(bytes.dropFirst())
    switch choice % 4 {
    case 0: return CodecCheck.query(rest)
    case 1: return CodecCheck.response(rest)
    case 2:
        guard let order = try? ResolverOrder(rest) else { return nil }
        // A subnet's host bits and the order of a few things are not kept: once written, all is.
        let written = order.encoded
        return (try? ResolverOrder(written)) == order ? nil : "an order is not what was written"
    default:
        guard let report = try? ResolverReport(rest) else { return nil }
        return (try? ResolverReport(report.encoded)) == report ? nil : "a report is not what was written"
    }
}
