/// Values are coded as their text form, so that stored and exchanged documents are readable.
extension MACAddress: Codable {
    public init(from decoder: any Decoder) throws {
        self = try MACAddress(decoder.singleValueContainer().decode(String.self))
    }
    public func encode(to encoder: any Encoder) throws { try encodeText(description, to: encoder) }
}

extension IPAddress: Codable {
    public init(from decoder: any Decoder) throws {
        self = try IPAddress(decoder.singleValueContainer().decode(String.self))
    }
    public func encode(to encoder: any Encoder) throws { try encodeText(description, to: encoder) }
}

extension CIDR: Codable {
    public init(from decoder: any Decoder) throws {
        self = try CIDR(decoder.singleValueContainer().decode(String.self))
    }
    public func encode(to encoder: any Encoder) throws { try encodeText(description, to: encoder) }
}

private func encodeText(_ text: String, to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(text)
}
