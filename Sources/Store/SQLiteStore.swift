internal import Foundation
internal import GRDB
package import Model
internal import Wire

/// State in one SQLite file.
///
/// The write-ahead log takes each transaction with a write and no flush, so a commit costs microseconds; the
/// file is flushed when the log is folded into it. The connection holds the file's lock for as long as it is
/// open: a second manager is refused, and the index of the log needs no shared memory.
package final class SQLiteStore: StateStore {
    package let path: String
    private let database: DatabaseQueue

    /// Opens the file, makes it and its directory where they are missing (modes 0600 and 0700), and migrates
    /// it.
    package convenience init(path: String) throws(StoreError) {
        try self.init(path: path, pragmas: [])
    }

    /// - Parameter pragmas: settings for the connection beyond our own.
    init(path: String, pragmas: [String]) throws(StoreError) {
        self.path = path
        do {
            try SQLiteStore.prepareFile(path)
            var configuration = Configuration()
            configuration.label = "store"
            configuration.journalMode = .wal
            // A manager that was killed a moment ago may not be gone yet.
            configuration.busyMode = .timeout(0.5)
            configuration.prepareDatabase { db in
                for pragma in ["locking_mode = EXCLUSIVE"] + pragmas {
                    try db.execute(sql: "PRAGMA \(pragma)")
                }
            }
            database = try DatabaseQueue(path: path, configuration: configuration)
            // Asked of the connection that is there, since setting WAL mode sets this too.
            try database.inDatabase { try $0.execute(sql: "PRAGMA synchronous = NORMAL") }
            guard try !database.read(Schema.migrator.hasBeenSuperseded) else {
                throw StoreError(.newer, path: path, "it has changes that this version does not know")
            }
            try Schema.migrator.migrate(database)
        } catch {
            throw StoreError(error, path: path)
        }
    }

    package func loadAll() throws(StoreError) -> StoredState {
        try attempt { db in
            var state = StoredState()
            let decoder = JSONDecoder()
            func value<T: Decodable>(_ type: T.Type, _ row: Row) throws -> T {
                try decoder.decode(type, from: Data((row[1] as String).utf8))
            }
            func rows<T>(_ sql: String, _ what: String, _ read: (Row) throws -> T) throws -> [T] {
                try Row.fetchAll(db, sql: sql).map { row in
                    do { return try read(row) } catch {
                        let key = (row[0] as String).prefix(64)
                        throw StoreError(.corrupt, path: path, "\(what) \(key) cannot be read: \(error)")
                    }
                }
            }
            state.networks = try rows("SELECT name, value FROM networks ORDER BY name", "network") {
                try value(Network.self, $0)
            }
            state.endpoints = try rows(EndpointRow.select, "endpoint", EndpointRow.read)
            state.policies = try rows("SELECT name, value FROM policies ORDER BY name", "policy") {
                try value(FirewallPolicy.self, $0)
            }
            state.quarantines = try rows(
                "SELECT endpoint_id, value FROM quarantines ORDER BY endpoint_id", "quarantine"
            ) { try value(Quarantine.self, $0) }
            state.toldNames = try rows(
                "SELECT endpoint_id, name, address, until FROM told_names ORDER BY endpoint_id, name, address",
                "name told to"
            ) {
                ToldName(
                    endpointID: $0[0], name: $0[1], address: try IPAddress($0[2] as String), until: $0[3])
            }
            for row in try Row.fetchAll(db, sql: "SELECT key, value FROM meta") {
                state.meta[row["key"]] = row["value"]
            }
            return state
        }
    }

    package func save(_ network: Network) throws(StoreError) {
        try attempt { db in
            let sql = """
                INSERT INTO networks (id, name, value) VALUES (?, ?, ?)
                ON CONFLICT (id) DO UPDATE SET name = excluded.name, value = excluded.value
                """
            try run(db, sql, [network.id, network.name, try json(network)])
        }
    }

    package func delete(networkID: String, endpointIDs: [String]) throws(StoreError) {
        try attempt { db in
            try delete(db, endpointIDs)
            try run(db, "DELETE FROM networks WHERE id = ?", [networkID])
        }
    }

    package func save(_ endpoint: Endpoint) throws(StoreError) {
        // One statement is a transaction by itself.
        do {
            try database.writeWithoutTransaction {
                try run($0, EndpointRow.upsert, EndpointRow.arguments(endpoint))
            }
        } catch { throw StoreError(error, path: path) }
    }

    package func delete(endpointIDs: [String]) throws(StoreError) {
        try attempt { try delete($0, endpointIDs) }
    }

    private func delete(_ db: Database, _ endpointIDs: [String]) throws {
        for id in endpointIDs {
            try run(db, "DELETE FROM endpoints WHERE id = ?", [id])
            try run(db, "DELETE FROM told_names WHERE endpoint_id = ?", [id])
        }
    }

    package func prepare(policies: EncodedPolicies, remove: [String]) -> PolicySave {
        PolicySave(count: policies.count + remove.count) { [self] atEnd in
            do {
                try database.write { db in
                    for name in remove { try run(db, "DELETE FROM policies WHERE name = ?", [name]) }
                    let insert = try db.cachedStatement(
                        sql: "INSERT OR REPLACE INTO policies (name, value) VALUES (?, ?)")
                    for (name, value) in try policies.get() { try insert.execute(arguments: [name, value]) }
                    try atEnd()
                }
            } catch { throw StoreError(error, path: path) }
        }
    }

    package func save(quarantine: Quarantine?, of endpointID: String) throws(StoreError) {
        try attempt { db in
            guard let quarantine else {
                return try run(db, "DELETE FROM quarantines WHERE endpoint_id = ?", [endpointID])
            }
            let sql = "INSERT OR REPLACE INTO quarantines (endpoint_id, value) VALUES (?, ?)"
            try run(db, sql, [endpointID, try json(quarantine)])
        }
    }

    package func save(told names: [ToldName], forgotten: [ToldName]) throws(StoreError) {
        guard !names.isEmpty || !forgotten.isEmpty else { return }
        try attempt { db in
            let delete = "DELETE FROM told_names WHERE endpoint_id = ? AND name = ? AND address = ?"
            for one in forgotten {
                try run(db, delete, [one.endpointID, one.name, one.address.description])
            }
            let insert = """
                INSERT OR REPLACE INTO told_names (endpoint_id, name, address, until) VALUES (?, ?, ?, ?)
                """
            for one in names {
                try run(db, insert, [one.endpointID, one.name, one.address.description, one.until])
            }
        }
    }

    package func save(meta key: String, _ value: String) throws(StoreError) {
        try attempt { try run($0, "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", [key, value]) }
    }

    /// One transaction.
    private func attempt<T>(_ body: (Database) throws -> T) throws(StoreError) -> T {
        do { return try database.write(body) } catch { throw StoreError(error, path: path) }
    }

    /// Runs a statement as it stands.
    func execute(_ sql: String) throws(StoreError) { try attempt { try $0.execute(sql: sql) } }

    private func run(_ db: Database, _ sql: String, _ arguments: StatementArguments) throws {
        try db.cachedStatement(sql: sql).execute(arguments: arguments)
    }

    private func json(_ value: some Encodable) throws -> String {
        String(decoding: try JSONEncoder().encode(value), as: UTF8.self)
    }

    /// What is stored names every container and address of a person: it is for the owner alone.
    private static func prepareFile(_ path: String) throws {
        let files = FileManager.default
        let directory = (path as NSString).deletingLastPathComponent
        if !directory.isEmpty, !files.fileExists(atPath: directory) {
            try files.createDirectory(
                atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        }
        // SQLite gives its log the mode of the file.
        if !files.fileExists(atPath: path) {
            _ = files.createFile(atPath: path, contents: nil, attributes: [.posixPermissions: 0o600])
        }
    }
}

extension StoreError {
    fileprivate init(_ error: any Error, path: String) {
        switch error {
        case let error as StoreError: self = error
        case let error as DatabaseError:
            let code: Code =
                switch error.resultCode {
                case .SQLITE_FULL: .full
                case .SQLITE_READONLY, .SQLITE_PERM: .readOnly
                case .SQLITE_CORRUPT, .SQLITE_NOTADB: .corrupt
                case .SQLITE_BUSY, .SQLITE_LOCKED: .inUse
                case .SQLITE_CONSTRAINT: .conflict
                default: .unavailable
                }
            self.init(code, path: path, error.message ?? "SQLite error \(error.extendedResultCode.rawValue)")
        default:
            let error = error as NSError
            let full =
                error.domain == NSCocoaErrorDomain && error.code == CocoaError.fileWriteOutOfSpace.rawValue
            self.init(full ? .full : .unavailable, path: path, error.localizedDescription)
        }
    }
}
