import LabSupport
import Model
import NetworkManager
import Sys
import Testing
import Wire

/// Runs with a manager in the lab's own network namespace, and takes everything down afterwards.
func withManager(_ body: (NetworkManager) async throws -> Void) async throws {
    let directory = try TemporaryDirectory()
    let manager = try await manager(directory)
    do { try await body(manager) } catch {
        try? await manager.tearDown()
        throw error
    }
    try await manager.tearDown()
}

func manager(_ directory: TemporaryDirectory) async throws -> NetworkManager {
    try await NetworkManager(.init(stateDirectory: directory.path, ownsNamespace: true))
}

/// A namespace to attach.
final class ManagedContainer {
    let namespace: LabNamespace
    init() throws { namespace = try LabNamespace() }
    var path: String { namespace.path }

    func reaches(_ address: IPAddress, port: UInt16, at server: ManagedContainer) throws -> Bool {
        (try? Connection(from: self, to: server, address, port: port)) != nil
    }
}

/// A TCP connection between two containers, both ends in hand.
final class Connection {
    private let client: Descriptor
    private let server: Descriptor

    init(from source: ManagedContainer, to destination: ManagedContainer, _ address: IPAddress, port: UInt16)
        throws
    {
        let listener = try destination.namespace.inside {
            try LabSockets.bind(.tcp, address.description, port: port)
        }
        client = try source.namespace.inside {
            try LabSockets.connect(.tcp, address.description, port: port, timeoutSeconds: 0.3)
        }
        server = try LabSockets.accept(listener)
    }

    /// Whether bytes get across within 300 ms.
    func carries(_ text: String) throws -> Bool {
        try LabSockets.send(client, text)
        return (try? LabSockets.receive(server, timeoutSeconds: 0.3)) == text
    }
}
