import Foundation
import FuzzTargets
import Testing

/// Inputs that the compiler's fuzzer found interesting, those that once broke something, and new ones.
struct CorpusTests {
    @Test func `what fuzzers found is compiled, and every promise is kept`() throws {
        let folder = URL(fileURLWithPath: #filePath).appendingPathComponent("../../../Fuzz/Corpus/compiler")
        let files = try FileManager.default.contentsOfDirectory(
            at: folder.standardized, includingPropertiesForKeys: nil)
        #expect(files.count >= 20)
        for file in files {
            let violation = FuzzTarget.compiler.violation([UInt8](try Data(contentsOf: file)))
            #expect(violation == nil, "\(file.lastPathComponent)")
        }
    }

    @Test(arguments: 0..<50) func `random changes are compiled, and every promise is kept`(seed: UInt64) {
        var state = seed
        let bytes = (0..<600).map { _ -> UInt8 in
            // Knuth's multiplier: any sequence that is the same every time will do.
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return UInt8(truncatingIfNeeded: state >> 56)
        }
        #expect(FuzzTarget.compiler.violation(bytes) == nil)
    }
}
