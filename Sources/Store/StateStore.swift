package import Model

/// Everything that is stored, as it was at one moment.
package struct StoredState: Sendable {
    /// By name.
    package var networks: [Network] = []
    /// By id.
    package var endpoints: [Endpoint] = []
    /// By name.
    package var policies: [FirewallPolicy] = []
    /// By endpoint id; of endpoints that are not there too.
    package var quarantines: [Quarantine] = []
    /// By endpoint, name and address.
    package var toldNames: [ToldName] = []
    /// Facts on the fabric itself.
    package var meta: [String: String] = [:]

    package init() {}
}

/// Keeps what the fabric should be, so that the next manager makes it so.
///
/// Each call is one transaction: it happens whole or not at all, and when it has returned, a process that is
/// killed has lost nothing. (A machine that loses power may lose the last moments, never consistency; the
/// kernel's side is gone then too.) Calls block for tens of microseconds and are meant to come from one
/// actor.
package protocol StateStore: Sendable {
    func loadAll() throws(StoreError) -> StoredState

    /// Writes a network, or writes it anew.
    func save(_ network: Network) throws(StoreError)
    /// Removes a network and these endpoints of its.
    /// - Throws: if other endpoints belong to it.
    func delete(networkID: String, endpointIDs: [String]) throws(StoreError)

    /// Writes an endpoint, or writes it anew. Its network must be stored.
    func save(_ endpoint: Endpoint) throws(StoreError)
    /// Begins, changes or (with nil) ends a quarantine.
    func save(quarantine: Quarantine?, of endpointID: String) throws(StoreError)

    /// Writes what endpoints were told, or writes it anew, and removes what is to be forgotten, until when it
    /// held or not.
    func save(told names: [ToldName], forgotten: [ToldName]) throws(StoreError)

    /// Removes what is stored of these.
    func delete(endpointIDs: [String]) throws(StoreError)

    /// Begins to write and remove policies in one transaction, which the caller ends.
    func prepare(policies: EncodedPolicies, remove: [String]) -> PolicySave

    func save(meta key: String, _ value: String) throws(StoreError)
}

/// Why state could not be read or written.
package struct StoreError: Error, Hashable, Sendable, CustomStringConvertible {
    package enum Code: String, Sendable {
        /// Written by a newer version of this program.
        case newer
        case full
        case readOnly
        case corrupt
        /// Another process has it open.
        case inUse
        /// A value refers to one that is not there, or is still referred to.
        case conflict
        case unavailable
    }

    package let code: Code
    /// The database's file.
    package let path: String
    /// What SQLite or the system says of it.
    package let detail: String

    package init(_ code: Code, path: String, _ detail: String) {
        self.code = code
        self.path = path
        self.detail = detail
    }

    /// One line for a person.
    package var description: String {
        let what =
            switch code {
            case .newer: "was written by a newer version; upgrade, or move it away to begin anew"
            case .full: "the disk is full"
            case .readOnly: "cannot be written"
            case .corrupt: "is damaged; move it away to begin anew"
            case .inUse: "is in use by another process"
            case .conflict: "the change contradicts what is stored"
            case .unavailable: "cannot be opened"
            }
        return "state database \"\(path)\": \(what) (\(detail))"
    }
}
