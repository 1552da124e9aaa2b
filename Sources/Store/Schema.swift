internal import GRDB

/// The tables, and how each version comes from the one before. A migration that has been released is never
/// changed.
///
/// Networks and policies are a key and the value as JSON.
enum Schema {
    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("v1") { db in
            try db.execute(
                sql: """
                    CREATE TABLE networks (
                        id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL UNIQUE, value TEXT NOT NULL
                    ) STRICT, WITHOUT ROWID;
                    CREATE TABLE endpoints (
                        id TEXT NOT NULL PRIMARY KEY, network_id TEXT NOT NULL REFERENCES networks (id),
                        state TEXT NOT NULL CHECK (state IN ('intent', 'attached')),
                        container_id TEXT NOT NULL, name TEXT NOT NULL, labels TEXT NOT NULL,
                        addresses TEXT NOT NULL, mac TEXT NOT NULL,
                        interface TEXT NOT NULL, ns_path TEXT NOT NULL, ns_device INTEGER NOT NULL,
                        ns_inode INTEGER NOT NULL
                    ) STRICT, WITHOUT ROWID;
                    CREATE TABLE policies (
                        name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL
                    ) STRICT, WITHOUT ROWID;
                    CREATE TABLE meta (
                        key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL
                    ) STRICT, WITHOUT ROWID;
                    """)
        }
        // What is recorded is what shall be, begun or done: at start the kernel is compared with all of it.
        migrator.registerMigration("v2") { db in
            try db.execute(
                sql: """
                    ALTER TABLE endpoints ADD COLUMN segment INTEGER NOT NULL DEFAULT 0
                        CHECK (segment BETWEEN 0 AND 65535);
                    ALTER TABLE endpoints ADD COLUMN ports TEXT NOT NULL DEFAULT '';
                    ALTER TABLE endpoints DROP COLUMN state;
                    """)
        }
        migrator.registerMigration("v3") { db in
            try db.execute(
                sql: """
                    CREATE TABLE quarantines (
                        endpoint_id TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL
                    ) STRICT, WITHOUT ROWID;
                    """)
        }
        migrator.registerMigration("v4") { db in
            try db.execute(sql: "ALTER TABLE endpoints ADD COLUMN aliases TEXT NOT NULL DEFAULT ''")
        }
        migrator.registerMigration("v5") { db in
            try db.execute(
                sql: """
                    CREATE TABLE told_names (
                        endpoint_id TEXT NOT NULL, name TEXT NOT NULL, address TEXT NOT NULL,
                        until INTEGER NOT NULL, PRIMARY KEY (endpoint_id, name, address)
                    ) STRICT, WITHOUT ROWID;
                    CREATE INDEX told_names_by_end ON told_names (until);
                    """)
        }
        migrator.registerMigration("v6") { db in
            try db.execute(sql: "ALTER TABLE endpoints ADD COLUMN published TEXT NOT NULL DEFAULT ''")
        }
        return migrator
    }
}
