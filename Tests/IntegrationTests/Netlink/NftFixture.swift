import Netlink

/// What tests of rulesets begin with.
enum NftFixture {
    static let table = NftTable(family: .inet, name: "forge")

    /// The table, with an empty chain on the output hook that lets everything pass.
    static func output() -> NftBatch {
        var batch = NftBatch()
        batch.create(table)
        batch.create(
            NftChain(
                table: table, name: "out", hook: NftHook(number: 3, priority: 0, type: "filter"),
                policy: .accept))
        return batch
    }
}

/// A name as the kernel loads it into registers.
func ifname(_ name: String) -> [UInt8] {
    Array(name.utf8) + [UInt8](repeating: 0, count: 16 - name.utf8.count)
}

/// A number in host order, as the kernel holds marks.
func native(_ value: UInt32) -> [UInt8] {
    let ascending = (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    return value.littleEndian == value ? ascending : ascending.reversed()
}
