package import Wire

/// Flags of an address (linux/if_addr.h, `IFA_F_*`).
package struct AddressFlags: OptionSet, Hashable, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Usable at once: no duplicate address detection.
    package static let noDuplicateDetection = AddressFlags(rawValue: 0x02)
    package static let duplicateDetectionFailed = AddressFlags(rawValue: 0x08)
    /// Duplicate address detection has not ended; the address cannot be used yet.
    package static let tentative = AddressFlags(rawValue: 0x40)
    package static let permanent = AddressFlags(rawValue: 0x80)
    /// The address does not bring the route of its subnet.
    package static let noPrefixRoute = AddressFlags(rawValue: 0x200)
}

/// An address on a link.
package struct InterfaceAddress: Hashable, Sendable {
    package var link: UInt32
    package var address: IPAddress
    package var prefixLength: UInt8
    package var flags: AddressFlags

    package init(link: UInt32, address: IPAddress, prefixLength: UInt8, flags: AddressFlags = []) {
        self.link = link
        self.address = address
        self.prefixLength = prefixLength
        self.flags = flags
    }

    /// Reads an RTM_NEWADDR or RTM_DELADDR; nil for families other than IPv4 and IPv6.
    package init?(_ message: Message) throws(DecodeError) {
        var reader = ByteReader(message.payload)
        // struct ifaddrmsg
        let family = AddressFamily(rawValue: try reader.integer("ifa_family"))
        guard family == .ipv4 || family == .ipv6 else { return nil }
        prefixLength = try reader.integer("ifa_prefixlen")
        let shortFlags: UInt8 = try reader.integer("ifa_flags")
        try reader.skip(1, "ifa_scope")
        link = try reader.integer("ifa_index")
        let attributes = try Attribute.parse(reader.rest)
        // IFA_LOCAL is the address; on a point-to-point link IFA_ADDRESS is the other side's.
        guard let own = attributes[type: AddressAttribute.local] ?? attributes[type: AddressAttribute.address]
        else {
            throw DecodeError("IFA_ADDRESS", at: reader.offset, "is missing")
        }
        address = try own.address()
        flags = AddressFlags(
            rawValue: try attributes[type: AddressAttribute.flags]?.integer() ?? UInt32(shortFlags))
    }
}

extension Request {
    package static func addAddress(_ address: InterfaceAddress) -> Request {
        address.request(.newAddress, [.create, .exclusive], "add address")
    }

    package static func deleteAddress(_ address: InterfaceAddress) -> Request {
        address.request(.deleteAddress, [], "delete address")
    }

    /// Reads the addresses of one link or of all, for `NetlinkSocket.dump`.
    package static func listAddresses(link: UInt32 = 0) -> Request {
        Request(.getAddress, [], subject: "list addresses") { $0.addressHeader(.unspecified, 0, [], link) }
    }
}

extension InterfaceAddress {
    fileprivate func request(_ type: MessageType, _ flags: MessageFlags, _ verb: String) -> Request {
        Request(type, flags, subject: "\(verb) \(address)/\(prefixLength)") { message in
            message.addressHeader(AddressFamily(address.family), prefixLength, self.flags, link)
            message.attribute(AddressAttribute.local, address)
            message.attribute(AddressAttribute.address, address)
            // ifa_flags has eight bits; the rest fits only here.
            if self.flags.rawValue > UInt8.max {
                message.attribute(AddressAttribute.flags, self.flags.rawValue)
            }
        }
    }
}

extension PayloadWriter {
    fileprivate mutating func addressHeader(
        _ family: AddressFamily, _ prefixLength: UInt8, _ flags: AddressFlags, _ link: UInt32
    ) {
        header { header in
            // struct ifaddrmsg: family, prefixlen, flags, scope, index.
            header.integer(family.rawValue)
            header.integer(prefixLength)
            header.integer(UInt8(truncatingIfNeeded: flags.rawValue))
            header.integer(UInt8(0))
            header.integer(link)
        }
    }
}
