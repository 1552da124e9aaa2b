internal import CLinux
internal import FoundationEssentials
package import Sys

/// What a running `forged` leaves for the CLI in `fabric.json`: who it is and where its namespaces are
/// pinned.
package struct FabricRecord: Hashable, Sendable, Codable {
    package enum Mode: String, Sendable, Codable {
        /// An anchor holds namespaces of the fabric's own.
        case rootless
        /// The fabric is the network namespace that `forged` was started in.
        case host
    }

    /// A namespace that the process of the record holds open.
    package struct Pin: Hashable, Sendable, Codable {
        package let descriptor: Int32
        package let device: UInt64
        package let inode: UInt64

        var identity: FileIdentity { FileIdentity(device: device, inode: inode) }
    }

    /// Of this file's format.
    package let version: Int
    package let mode: Mode
    /// The anchor; with `--host` the manager.
    package let pid: Int32
    package let uid: UInt32
    /// Whether ids besides the user's own are mapped.
    package let subordinateIDs: Bool
    package let user: Pin?
    package let network: Pin?
    package let mount: Pin?

    package static let currentVersion = 1

    /// The record of a fabric with namespaces of its own.
    package init(
        pid: Int32, uid: UInt32, subordinateIDs: Bool, _ namespaces: borrowing FabricNamespaces
    ) throws(SystemError) {
        version = Self.currentVersion
        mode = .rootless
        self.pid = pid
        self.uid = uid
        self.subordinateIDs = subordinateIDs
        user = try Pin(namespaces.user)
        network = try Pin(namespaces.network)
        mount = try Pin(namespaces.mount)
    }

    /// The record of a fabric in the namespaces that it was started in.
    package init(hostPID pid: Int32, uid: UInt32) {
        version = Self.currentVersion
        mode = .host
        self.pid = pid
        self.uid = uid
        subordinateIDs = false
        user = nil
        network = nil
        mount = nil
    }

    /// Replaces the file as a whole.
    package func write(to path: String) throws(SystemError) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
        guard let data = try? encoder.encode(self) else { throw SystemError("encode", .invalid, path) }
        try replaceFile(path, Array(data) + [0x0A], mode: 0o600)
    }

    /// Reads the file that a fabric left; nil if it makes no sense to this version.
    package static func read(_ path: String) throws(SystemError) -> FabricRecord? {
        let bytes = try Descriptor.open(path, O_RDONLY).readAll(limit: 64 << 10)
        guard let record = try? JSONDecoder().decode(FabricRecord.self, from: Data(bytes)),
            record.version == currentVersion
        else { return nil }
        return record
    }

    /// Opens the pinned namespaces of a fabric that may be another process's.
    /// - Throws: `.gone` if the process has ended, or its number now belongs to another.
    package func openNamespaces() throws(NamespaceError) -> FabricNamespaces {
        FabricNamespaces(user: try open(user), network: try open(network), mount: try open(mount))
    }

    private func open(_ pin: Pin?) throws(NamespaceError) -> Descriptor {
        guard let pin else { throw NamespaceError(.gone, "the fabric has no namespaces of its own") }
        do throws(SystemError) {
            let descriptor = try Descriptor.open("/proc/\(pid)/fd/\(pin.descriptor)", O_RDONLY | O_NONBLOCK)
            if try FileIdentity(of: descriptor) == pin.identity {
                return descriptor
            }
        } catch {
            throw NamespaceError(
                .gone, "the fabric of process \(pid) cannot be entered: \(error)", cause: error)
        }
        throw NamespaceError(.gone, "the fabric of process \(pid) is gone")
    }
}

extension FabricRecord.Pin {
    fileprivate init(_ descriptor: borrowing Descriptor) throws(SystemError) {
        let identity = try FileIdentity(of: descriptor)
        self.init(descriptor: descriptor.rawValue, device: identity.device, inode: identity.inode)
    }
}

extension FabricPaths {
    /// Where `forged` says who it is.
    package var record: String { runtimeDirectory + "/fabric.json" }
    /// Where commands of `forge run` find their own `/etc/hosts` and `/etc/resolv.conf`.
    package var commandFiles: String { runtimeDirectory + "/run" }
    /// Where the manager keeps each endpoint's, in a directory of the endpoint's id.
    package var endpointFiles: String { runtimeDirectory + "/endpoints" }
}
