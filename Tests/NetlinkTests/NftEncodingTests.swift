import Netlink
import Testing
import Wire

/// Bytes in groups of four, as attributes are aligned.
func hex(_ bytes: some Sequence<UInt8>) -> String {
    var words: [String] = []
    for (index, byte) in bytes.enumerated() {
        if index % 4 == 0 { words.append("") }
        words[words.count - 1] += (byte < 16 ? "0" : "") + String(byte, radix: 16)
    }
    return words.joined(separator: " ")
}

/// What the kernel reads, held against the numbers of linux/netfilter/nf_tables.h.
struct NftEncodingTests {
    private let table = NftTable(family: .inet, name: "t")

    private func payload(_ build: (inout NftBatch) -> Void) -> String {
        var batch = NftBatch()
        build(&batch)
        return batch.messages.map { hex($0.payload) }.joined(separator: "\n")
    }

    private func expression(_ expression: NftExpression) -> String {
        let all = payload { $0.add(NftRule(table: table, chain: "c", expressions: [expression])) }
        // Behind nfgenmsg, table and chain, the list's and the entry's headers and the name.
        let name = 4 + (expression.name.utf8.count + 1 + 3) / 4 * 4
        return all.split(separator: " ").dropFirst(1 + 2 + 2 + 1 + 1 + name / 4).joined(separator: " ")
    }

    @Test func `a table, its family in the header`() {
        #expect(payload { $0.create(table) } == "01000000 06000100 74000000")
        #expect(
            payload { $0.create(NftTable(family: .bridge, name: "abc", flags: .dormant)) }
                == "07000000 08000100 61626300 08000200 00000001")
        #expect(payload { $0.delete(table) } == "01000000 06000100 74000000")
    }

    @Test func `a chain with a hook, and one without`() {
        #expect(
            payload {
                $0.create(
                    NftChain(
                        table: table, name: "in", hook: NftHook(number: 1, priority: -5, type: "filter"),
                        policy: .drop))
            }
                == "01000000 06000100 74000000 07000300 696e0000 14000480 08000100 00000001 08000200 fffffffb "
                + "08000500 00000000 0b000700 66696c74 65720000")
        #expect(
            payload { $0.create(NftChain(table: table, name: "in")) }
                == "01000000 06000100 74000000 07000300 696e0000")
    }

    @Test func `a rule with its expressions in order and its comment`() {
        #expect(
            payload {
                $0.add(
                    NftRule(
                        table: table, chain: "c",
                        expressions: [.cmp(.eq, .r(1), [7]), .verdict(.jump("d"))], comment: "hi"))
            }
                == "01000000 06000100 74000000 06000200 63000000 "
                + "68000480 2c000180 08000100 636d7000 20000280 08000100 00000009 08000200 00000000 0c000380 "
                + "05000100 07000000 "
                + "38000180 0e000100 696d6d65 64696174 65000000 24000280 08000100 00000000 18000280 14000280 "
                + "08000100 fffffffd 06000200 64000000 "
                + "09000700 00036869 00000000")
    }

    @Test(
        arguments: [
            (.meta(.mark, .r(0)), "14000280 08000100 00000008 08000200 00000003"),
            (.metaSet(.mark, .r(0)), "14000280 08000200 00000003 08000300 00000008"),
            (
                .payload(base: .network, offset: 12, length: 4, .r(2)),
                "24000280 08000100 0000000a 08000200 00000001 08000300 0000000c 08000400 00000004"
            ),
            (.ct(.state, .r(0)), "14000280 08000100 00000008 08000200 00000000"),
            (.ctSet(.mark, .r(0)), "14000280 08000200 00000003 08000400 00000008"),
            (
                .range(.neq, .r(0), [0, 80], [0, 90]),
                "2c000280 08000100 00000008 08000200 00000001 0c000380 06000100 00500000 0c000480 06000100 005a0000"
            ),
            (
                .bitwise(source: .r(0), destination: .r(1), mask: [255], xor: [0]),
                "34000280 08000100 00000008 08000200 00000009 08000300 00000001 0c000480 05000100 ff000000 "
                    + "0c000580 05000100 00000000"
            ),
            (.lookup(set: "s", key: .r(0)), "14000280 06000100 73000000 08000200 00000008"),
            (
                .lookup(set: "s", key: .r(0), destination: .verdict),
                "1c000280 06000100 73000000 08000200 00000008 08000300 00000000"
            ),
            (
                .lookup(set: "s", key: .r(0), inverted: true),
                "1c000280 06000100 73000000 08000200 00000008 08000500 00000001"
            ),
            (.immediate(.r(15), [1, 2, 3, 4]), "18000280 08000100 00000017 0c000280 08000100 01020304"),
            (.verdict(.accept), "1c000280 08000100 00000000 10000280 0c000280 08000100 00000001"),
            (.verdict(.return), "1c000280 08000100 00000000 10000280 0c000280 08000100 fffffffb"),
            (.counter, "04000280"),
            (
                .limit(rate: 5, unitSeconds: 60, burst: 9, kind: .bytes, over: true),
                "34000280 0c000100 00000000 00000005 0c000200 00000000 0000003c 08000300 00000009 08000400 00000001 "
                    + "08000500 00000001"
            ),
            (
                .dynset(set: "s", operation: .update, key: .r(0), timeoutMs: 1000, expressions: [.counter]),
                "3c000280 06000100 73000000 08000300 00000001 08000400 00000008 0c000600 00000000 000003e8 "
                    + "14000780 0c000100 636f756e 74657200 04000280"
            ),
            (
                .log(group: 5, prefix: "no", snaplen: 64),
                "1c000280 06000100 00050000 07000200 6e6f0000 08000300 00000040"
            ),
            (.notrack, "04000280"), (.masquerade, "04000280"),
            (.reject(.icmpx(code: 3)), "14000280 08000100 00000002 05000200 03000000"),
            (.reject(.tcpReset), "0c000280 08000100 00000001"),
        ] as [(NftExpression, String)])
    func `expressions are encoded with every attribute in its place`(_ value: NftExpression, _ bytes: String)
    {
        #expect(expression(value) == bytes)
    }

    @Test func `several expressions of a dynamic set's element go in a list of their own`() {
        let two: NftExpression = .dynset(
            set: "s", operation: .add, key: .r(0),
            expressions: [.counter, .limit(rate: 1, unitSeconds: 1, burst: 0, kind: .packets, over: false)])
        // NFTA_DYNSET_FLAGS with NFT_DYNSET_F_EXPR, then NFTA_DYNSET_EXPRESSIONS.
        #expect(expression(two).contains("08000900 00000002 5c000a80 14000180 0c000100 636f756e 74657200"))
    }

    @Test func `a hash map of a concatenated key says so in its type and not in its flags`() {
        let set = NftSet(
            table: table, name: "s", keyType: [.ipv4Addr, .mark], keyLength: 8,
            data: .value(.mark, length: 4),
            flags: .concat, size: 9)
        // 7 << 6 | 19; NFT_SET_MAP alone; the notes: key order 0, value order 1 (host).
        #expect(
            payload { $0.create(set) }
                == "01000000 06000100 74000000 06000200 73000000 08000300 00000008 08000400 000001d3 "
                + "08000500 00000008 08000600 00000013 08000700 00000004 08000a00 00000001 0c000980 08000100 00000009 "
                + "10000d00 00040000 00000104 01000000")
    }

    @Test func `ranges behind a prefix are bytes to nft, with the parts in the comment`() {
        let set = NftSet(
            table: table, name: "s", keyType: [.mark, .ipv4Addr], keyLength: 8,
            data: .value(.mark, length: 4),
            flags: .interval)
        let encoded = payload { $0.create(set) }
        #expect(encoded.contains("08000300 0000000c 08000400 00000009 08000500 00000008"))
        // The notes: key order 2 (network), value order 1, then kind 7: 17 bytes of text.
        #expect(encoded.hasSuffix("00040200 00000104 01000000 07116d61 726b202e 20697076 345f6164 64720000"))
    }

    @Test func `ranges in every part describe the parts`() {
        let set = NftSet(
            table: table, name: "s", keyType: [.ipv4Addr, .inetService], keyLength: 8,
            flags: [.interval, .concat])
        // NFTA_SET_DESC_CONCAT: fields of 4 and of 2 bytes.
        #expect(
            payload { $0.create(set) }.contains(
                "08000300 00000084 08000400 000001cd 08000500 00000008 08000a00 00000001 "
                    + "20000980 1c000280 0c000180 08000100 00000004 0c000180 08000100 00000002"))
    }

    @Test func `sets made in one batch are numbered`() {
        let batch = payload {
            $0.create(NftSet(table: table, name: "a", keyType: [.mark], keyLength: 4))
            $0.create(NftSet(table: table, name: "b", keyType: [.mark], keyLength: 4, data: .verdict))
        }.split(separator: "\n")
        #expect(batch[0].contains("08000a00 00000001") && batch[1].contains("08000a00 00000002"))
        // NFT_DATA_VERDICT, and no length.
        #expect(batch[1].contains("08000600 ffffff00 08000a00"))
    }

    @Test func `elements bring key, end, value, time to live and comment; to remove them the key is enough`()
    {
        let set = NftSet(table: table, name: "s", keyType: [.ipv4Addr], keyLength: 4)
        let element = NftElement(key: [10, 0, 0, 1], data: [7, 0, 0, 0], timeoutMs: 1000, comment: "x")
        #expect(
            payload { $0.add([element], to: set) }
                == "01000000 06000100 74000000 06000200 73000000 34000380 30000180 0c000180 08000100 0a000001 "
                + "0c000280 08000100 07000000 0c000400 00000000 000003e8 08000600 00027800")
        #expect(
            payload { $0.remove([element], from: set) }
                == "01000000 06000100 74000000 06000200 73000000 14000380 10000180 0c000180 08000100 0a000001"
        )
        #expect(
            payload { $0.add([NftElement(key: [1], isIntervalEnd: true)], to: set) }.hasSuffix(
                "18000180 0c000180 05000100 01000000 08000300 00000001"))
        #expect(
            payload { $0.add([NftElement(key: [1], verdict: .goto("c"))], to: set) }.hasSuffix(
                "18000280 14000280 08000100 fffffffc 06000200 63000000"))
        #expect(payload { $0.flush(set) } == "01000000 06000100 74000000 06000200 73000000")
        #expect(payload { $0.add([], to: set) }.isEmpty)
    }

    @Test func `long lists are spread so that no nest outgrows its length field, and none is lost`() throws {
        let set = NftSet(table: table, name: "s", keyType: [.mark], keyLength: 4)
        let elements = (0..<10_000 as Range<UInt32>).map { number in
            NftElement(key: [UInt8(number >> 8), UInt8(number & 255), 0, 0])
        }
        var batch = NftBatch()
        batch.add(elements, to: set)
        #expect(batch.messages.count == 3)
        var count = 0
        for message in batch.messages {
            let list = try #require(try Attribute.parse(message.payload.dropFirst(4))[type: 3])
            #expect(list.payload.count <= 65_531)
            count += try list.nested().count
        }
        #expect(count == 10_000)
        #expect(batch.messages[0].subject == "add 4095 elements to set s")
    }

    @Test func `comments are cut between characters`() {
        let name = String(repeating: "ä", count: 200)
        let rule = payload { $0.add(NftRule(table: table, chain: "c", expressions: [], comment: name)) }
        // 63 characters of two bytes, the NUL, and the kind and length before them.
        #expect(rule.contains("85000700 007fc3a4") && rule.hasSuffix("c3a4c3a4 00000000"))
    }

    @Test func `equal batches are equal values`() {
        func make() -> NftBatch {
            var batch = NftBatch()
            batch.create(table)
            batch.add(NftRule(table: table, chain: "c", expressions: [.counter]))
            return batch
        }
        #expect(make() == make() && make().hashValue == make().hashValue && make().encodedSize > 0)
    }
}
