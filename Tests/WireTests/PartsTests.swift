import Testing
import Wire

struct PartsTests {
    @Test(arguments: [0, 1, 4, 5, 6, 10, 11])
    func `parts are the whole, none is too large, and one is the last`(count: Int) {
        let parts = Array(0..<count).parts(of: 5)
        #expect(parts.flatMap(\.part) == Array(0..<count))
        #expect(parts.allSatisfy { $0.part.count <= 5 })
        #expect(parts.map(\.isLast) == Array(repeating: false, count: parts.count - 1) + [true])
        #expect(parts.count == max(1, (count + 4) / 5))
    }
}
