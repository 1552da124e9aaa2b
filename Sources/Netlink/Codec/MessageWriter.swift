package import Wire

/// Builds one request's payload: a fixed header, then attributes. Lengths and padding are computed here and
/// nowhere else.
package struct PayloadWriter: Sendable {
    package private(set) var buffer: ByteWriter

    package init(capacity: Int = 256) { buffer = ByteWriter(capacity: capacity) }
    init(buffer: ByteWriter) { self.buffer = buffer }

    /// Adds attributes that are written already.
    mutating func append(_ written: ArraySlice<UInt8>) { buffer.append(written) }

    /// The fixed header that a family puts before its attributes.
    package mutating func header(_ build: (inout ByteWriter) -> Void) {
        build(&buffer)
        buffer.pad(to: 4)
    }

    package mutating func attribute(_ type: UInt16, bytes: some Collection<UInt8>) {
        buffer.integer(UInt16(truncatingIfNeeded: 4 + bytes.count))
        buffer.integer(type)
        buffer.append(bytes)
        buffer.pad(to: 4)
    }

    /// In host order.
    package mutating func attribute<T: FixedWidthInteger>(_ type: UInt16, _ value: T) {
        buffer.integer(UInt16(4 + T.bitWidth / 8))
        buffer.integer(type)
        buffer.integer(value)
        buffer.pad(to: 4)
    }

    /// In network order, as nf_tables and conntrack want their numbers.
    package mutating func attributeBE<T: FixedWidthInteger>(_ type: UInt16, _ value: T) {
        buffer.integer(UInt16(4 + T.bitWidth / 8))
        buffer.integer(type)
        buffer.integerBE(value)
        buffer.pad(to: 4)
    }

    /// Text with its terminating NUL.
    package mutating func attribute(_ type: UInt16, string: String) {
        attribute(type, bytes: Array(string.utf8) + [0])
    }

    /// An attribute whose presence is its meaning.
    package mutating func flag(_ type: UInt16) { attribute(type, bytes: []) }

    /// An attribute that holds what `build` writes. A nest longer than 65,535 bytes cannot be said in
    /// netlink; callers split before that.
    package mutating func nested(_ type: UInt16, _ build: (inout PayloadWriter) -> Void) {
        let start = buffer.count
        buffer.integer(UInt16(0))
        buffer.integer(type | 0x8000)
        build(&self)
        buffer.patch(UInt16(truncatingIfNeeded: buffer.count - start), at: start)
    }
}

/// A request before it has a sequence number: what it is, not yet where it goes.
package struct Request: Hashable, Sendable {
    package var type: MessageType
    package var flags: MessageFlags
    package var payload: [UInt8]
    /// What the request does, for error messages: "add link fv01".
    package var subject: String

    package init(
        _ type: MessageType, _ flags: MessageFlags, subject: String, capacity: Int = 256,
        _ build: (inout PayloadWriter) -> Void
    ) {
        var writer = PayloadWriter(capacity: capacity)
        build(&writer)
        self.type = type
        self.flags = flags
        self.subject = subject
        payload = writer.buffer.bytes
    }

    /// Bytes on the wire.
    package var encodedLength: Int { Message.headerLength + (payload.count + 3) / 4 * 4 }

    /// Appends the message with its header.
    package func encode(into buffer: inout ByteWriter, sequence: UInt32, port: UInt32) {
        buffer.integer(UInt32(Message.headerLength + payload.count))
        buffer.integer(type.rawValue)
        buffer.integer(flags.rawValue)
        buffer.integer(sequence)
        buffer.integer(port)
        buffer.append(payload)
        buffer.pad(to: 4)
    }
}
