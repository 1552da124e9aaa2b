/// What must hold of the reader of hosts, whatever the bytes are.
package enum HostCheck {
    /// - Returns: the promise that these bytes break, nil if none.
    package static func violation(_ bytes: [UInt8]) -> String? {
        guard let request = (try? HostReader.read(bytes)).flatMap(\.self) else { return nil }
        guard HostReader.name(request.host.utf8) == request.host else { return "the host is no name" }
        guard let again = (try? HostReader.read(request.bytes)).flatMap(\.self), again.host == request.host
        else {
            return "what goes on asks for another host than what came"
        }
        // Nothing but its end was missing before.
        for length in 0..<min(bytes.count, 64) {
            do throws(HostRefusal) {
                if let early = try HostReader.read(Array(bytes.prefix(length))), early.host != request.host {
                    return "its beginning asks for another host"
                }
            } catch { return "its beginning is refused" }
        }
        return nil
    }
}
