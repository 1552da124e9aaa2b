/// A map that is made once and searched often, by halves: no key is hashed.
struct SortedMap<Key: Comparable & Hashable & Sendable, Value: Sendable>: Sendable {
    /// Ascending.
    private let keys: [Key]
    /// Of the keys, in their order.
    private let values: [Value]

    init(_ values: [Key: Value]) {
        let sorted = values.sorted { $0.key < $1.key }
        keys = sorted.map(\.key)
        self.values = sorted.map(\.value)
    }

    var isEmpty: Bool { keys.isEmpty }

    subscript(key: Key) -> Value? {
        let index = keys.firstIndex(notBelow: key)
        return index < keys.count && keys[index] == key ? values[index] : nil
    }
}

extension Array where Element: Comparable {
    /// In ascending elements, the index of the first that is not below a bound; `count` if there is none.
    func firstIndex(notBelow bound: Element) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if self[middle] < bound { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
