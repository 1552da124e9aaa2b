internal import DNS
internal import Sys
internal import Wire

/// The resolvers that the host asks (resolv.conf(5)).
enum HostResolvers {
    /// As many as the C library asks.
    private static let most = 3

    /// - Returns: none where the file cannot be read, as the C library would ask the host itself then: an
    ///   address of its loopback.
    static func read(_ path: String = "/etc/resolv.conf") -> [UpstreamAddress] {
        let text = (try? readFile(path, limit: 64 << 10)) ?? ""
        let found = text.split(whereSeparator: \.isNewline).compactMap { line -> UpstreamAddress? in
            let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
            guard words.count >= 2, words[0] == "nameserver" else { return nil }
            return (try? IPAddress(String(words[1]))).map { UpstreamAddress($0) }
        }.prefix(most)
        return found.isEmpty ? [UpstreamAddress(IPAddress(.v4, bits: 0x7f00_0001))] : Array(found)
    }
}
