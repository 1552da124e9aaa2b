internal import GRDB
internal import Model
internal import Wire

/// An endpoint as columns: one is written in every attach and all are read at start, and JSON takes ten times
/// as long.
enum EndpointRow {
    private static let columns = """
        id, network_id, container_id, name, labels, addresses, mac, segment, interface,
        ns_path, ns_device, ns_inode, ports, aliases, published
        """

    static let select = "SELECT \(columns) FROM endpoints ORDER BY id"

    static let upsert = """
        INSERT OR REPLACE INTO endpoints (\(columns)) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        """

    static func arguments(_ endpoint: Endpoint) -> StatementArguments {
        // Neither labels, addresses, ports nor aliases can contain what separates them here.
        let labels = endpoint.labels.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        return [
            endpoint.id, endpoint.networkID, endpoint.containerID, endpoint.name,
            labels.joined(separator: ","), endpoint.addresses.map(\.description).joined(separator: ","),
            endpoint.mac.description, endpoint.segment, endpoint.interfaceName, endpoint.namespace.path,
            // SQLite's numbers are signed.
            Int64(bitPattern: endpoint.namespace.device), Int64(bitPattern: endpoint.namespace.inode),
            endpoint.ports.map(\.description).joined(separator: ","),
            endpoint.aliases.joined(separator: ","),
            endpoint.published.map(\.description).joined(separator: ","),
        ]
    }

    static func read(_ row: Row) throws -> Endpoint {
        // By position: looking for a name takes longer than reading the value.
        let labels = try (row[4] as String).split(separator: ",").map { try LabelSyntax.parse(String($0)) }
        return Endpoint(
            id: row[0], containerID: row[2], networkID: row[1], name: row[3],
            labels: Dictionary(labels.map { ($0.key, $0.value) }) { $1 },
            addresses: try (row[5] as String).split(separator: ",").map { try IPAddress($0) },
            mac: try MACAddress(row[6] as String), segment: row[7], interfaceName: row[8],
            namespace: NamespaceReference(
                path: row[9], device: UInt64(bitPattern: row[10]), inode: UInt64(bitPattern: row[11])),
            ports: try (row[12] as String).split(separator: ",").map { try NamedPort($0) },
            aliases: (row[13] as String).split(separator: ",").map(String.init),
            published: try (row[14] as String).split(separator: ",").map { try Publication($0) })
    }
}
