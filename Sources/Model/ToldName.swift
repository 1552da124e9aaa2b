public import Wire

/// That an endpoint was told an address for a name, and until when that holds.
public struct ToldName: Hashable, Sendable {
    public let endpointID: String
    /// In lower case, without the dot of the root.
    public let name: String
    public let address: IPAddress
    /// Milliseconds since 1970.
    public let until: Int64

    public init(endpointID: String, name: String, address: IPAddress, until: Int64) {
        self.endpointID = endpointID
        self.name = name
        self.address = address
        self.until = until
    }
}
