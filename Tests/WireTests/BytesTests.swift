import Testing
import Wire

@Suite struct `Byte readers and writers` {
    @Test func `read what was written`() throws {
        var writer = ByteWriter()
        writer.integer(UInt16(0x1234))
        writer.integerBE(UInt32(0xdead_beef))
        writer.integer(UInt8(7))
        writer.pad(to: 4)
        writer.patch(UInt16(0x4321), at: 0)
        #expect(writer.bytes.count == 8)
        #expect(writer.bytes[2...5] == [0xde, 0xad, 0xbe, 0xef])
        var reader = ByteReader(writer.bytes)
        #expect(try reader.integer("a", as: UInt16.self) == 0x4321)
        #expect(try reader.integerBE("b", as: UInt32.self) == 0xdead_beef)
        #expect(try reader.integer("c", as: UInt8.self) == 7)
        #expect(reader.remaining == 1)
    }

    @Test func `name the field and the offset where bytes run out`() throws {
        var reader = ByteReader([1, 2, 3])
        try reader.skip(2, "head")
        let error = #expect(throws: DecodeError.self) { try reader.integer("length", as: UInt32.self) }
        #expect(error?.description == "length at byte 2: needs 4 bytes, 1 left")
        #expect(reader.remaining == 1)
        #expect(throws: DecodeError.self) { try reader.take(-1, "negative") }
    }
}

@Suite struct `SHA-256` {
    /// The examples of FIPS 180-4 and NIST's CAVP short messages.
    @Test(arguments: [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
        (
            "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
            "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"
        ),
    ])
    func `gives the published digests`(_ text: String, _ digest: String) {
        #expect(SHA256.hex(Array(text.utf8)) == digest)
    }

    @Test(arguments: [
        (55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318"),
        (56, "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a"),
        (64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb"),
        (1000, "41edece42d63e8d9bf515a9ba6932e1c20cbc9f5a5d134645adb5db1b9737ea3"),
    ])
    func `pads around the block's end`(_ count: Int, _ digest: String) {
        #expect(SHA256.hex([UInt8](repeating: UInt8(ascii: "a"), count: count)) == digest)
    }
}
